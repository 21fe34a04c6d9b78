#!/bin/bash
# TARN_DEBUG=uaf, from outside: victim uaf.c under the library, one crime each, at sizes that end on a page's end and
# sizes that do not, of pools and large.
. "$(dirname "$0")/lib.sh"

# guarded [VAR=VALUE...] CRIME [ARG...]: runs it under the word; sets $block too, its address.
guarded() {
    local settings=()
    while [[ $1 == *=* ]]; do settings+=("$1"); shift; done
    preloaded TARN_DEBUG=uaf "${settings[@]}" uaf "$@"
    block=$(sed -n '1s/^0x/0x/p' out)
}

crashed() { exits 139; } # 128 + SIGSEGV
says() { [ "$(grep -c "^tarn: $1" err)" -eq 1 ] && [ "$(grep -c '^tarn: ' err)" -eq 1 ]; }
# names DONE WHERE: the report says who did it; an unoptimised library remembers a function of its own (preload/family.h).
names() { [ -n "$unoptimised" ] || grep -q "^  $1 by .*$2" err; }
at() { printf '0x%x' $((block + $1)); }

# The pool that a size is of, as the report says it.
declare -A owner=([16]='block of pool "size-16" (16 bytes)' [100]='block of pool "size-112" (112 bytes)'
    [5000]='block of pool "size-5120" (5120 bytes)' [40000]='large block')

guarded read-freed
unoptimised=$(grep 'allocated by malloc' err)
[ -z "$unoptimised" ] || echo "skipped: callers: the library is not optimised"

for size in 16 100 5000 40000; do
    whose=${owner[$size]} last=$((size - 1)) slack=$(((16 - size % 16) % 16))

    guarded innocent $size
    expect "innocent use at $size" lives
    expect "  without a word" silent

    for crime in "read-freed 0" "read-freed $last" "write-freed 0" "write-freed $last" "read-freed-late 0"; do
        read -r name offset <<<"$crime"
        guarded "$name" $size "$offset"
        expect "$name at $offset of $size" crashed
        expect "  is told, with pool, address and offset" \
            says "${name%%-*}($(at "$offset")): at offset $offset of the $whose at $block, which was free already; "
        expect "  by whom it was allocated" names allocated maker
        expect "  by whom it was freed" names freed killer
        expect "  and where it was touched" names touched /uaf
    done

    # By one byte: at once where the block ends with its page, at its free where alignment forbids that.
    guarded write-beyond $size $size
    if [ $slack = 0 ]; then
        expect "overflow by one byte at $size" crashed
        expect "  is told" says "write($(at $size)): at offset $size of the $whose at $block, which is in use; "
        guarded read-beyond $size $size
        expect "overread by one byte at $size" crashed
        expect "  is told" says "read($(at $size)): at offset $size of the $whose at $block, which is in use; "
    else
        expect "overflow by one byte at $size" lives
        expect "  is told at its free" says "free($block): $whose was written at offset $size, behind its end; "
        expect "  by whom it was freed" names freed killer
        guarded read-beyond $size $((size + slack))
        expect "overread by $((slack + 1)) bytes at $size" crashed
        expect "  is told" says "read.* at offset $((size + slack)) of the $whose at $block, which is in use; "
    fi
    expect "  by whom it was allocated" names allocated maker

    guarded write-beyond $size -1
    expect "underflow by one byte at $size" lives
    expect "  is told at its free" says "free($block): $whose was written at offset -1, in front of its start; "
    guarded write-beyond $size -4096
    expect "underflow by a page at $size" crashed
    expect "  is told" says "write($(at -4096)): at offset -4096 of the $whose at $block, which is in use; "

    guarded free-twice $size
    expect "double free at $size" lives
    expect "  is told" says "free($block): $whose was free already; "
    expect "  by whom it was allocated" names allocated maker
    expect "  by whom it was freed" names freed killer
    guarded free-inside $size 8
    expect "free of an address in a block at $size" lives
    expect "  is told" says "free($(at 8)): inside a $whose that starts at $block; "
    guarded realloc-freed $size
    expect "realloc of a freed block at $size" lives
    expect "  is told" says "realloc($block): $whose was free already; "
done

# ---- as TARN_MISUSE says
guarded TARN_MISUSE=ignore read-freed
expect "TARN_MISUSE=ignore: use after free" crashed
expect "  without a word" silent
guarded TARN_MISUSE=abort read-freed
expect "TARN_MISUSE=abort: use after free" exits 134
expect "  is told" says 'read'

# ---- crashes that are none of ours
for crime in null-pointer sent stack-overflow stack-overflow-altstack; do
    bare uaf $crime
    expect "$crime without tarn" crashed
    guarded $crime
    expect "  with tarn too" crashed
    expect "  and without a word" silent
done
guarded own-handler
expect "a program's own handler is asked" exits 42
expect "  and alone" silent
{ (trap '' SEGV; exec env TARN_DEBUG=uaf LD_PRELOAD="$library" "$victims/uaf" sent >out 2>err & sleep 0.3; kill $!; wait $!)
} 2>shell
status=$?
expect "an ignored SIGSEGV stays ignored" exits 143 # 128 + SIGTERM

# ---- more blocks than there are mappings
guarded many
expect "100000 blocks and a thread" lives
expect "  without a word" silent

# ---- where memory is short, what waits to be used again is given up
guarded TARN_LIMIT=16M churn
expect "10000 blocks, and then a big one, within 16 MiB" lives
expect "  without a word" silent

exit $failed
