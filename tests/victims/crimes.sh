#!/bin/bash
# The crimes of crimes.c, one at a time on a small, a medium and a large block: what tarn says of each as it comes, under
# TARN_HARDEN=1, and for blocks of a sample. Where it says nothing, that is expected too.
# Environment: LIBTARN or TARN_LIB (the library), VICTIMS or TARN_BUILD/victims (the victims' directory).
set -u

library=${LIBTARN:-${TARN_LIB:-}}
victims=${VICTIMS:-${TARN_BUILD:-}/victims}
[ -f "$library" ] && [ -x "$victims/crimes" ] || { echo "crimes.sh: no library or no victims"; exit 77; }

unset "${!TARN_@}" # the library would call TARN_LIB an unknown setting
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
ulimit -c 0
sizes=(40 3000 300000)
declare -A bin=([40]=48 [3000]=3072)
crashed=139

# An unoptimised tarn takes itself for the caller (preload/family.h).
from() { [[ $library = *-debug* ]] && echo '.*' || echo "$1\\+0x[0-9a-f]+ \\(.*/crimes\\)"; }

# commits CRIME SIZE SETTING...: runs it; sets $status, $block, and $said, what tarn said but for the callers.
commits() {
    { timeout 100 env "${@:3}" LD_PRELOAD="$library" "$victims/crimes" "$1" "$2" >"$scratch/out" 2>"$scratch/err"; } 2>"$scratch/shell"
    status=$?
    block=$(sed -n 's/^block //p' "$scratch/out")
    said=$(grep '^tarn: ' "$scratch/err")
}

# expect WHAT COMMAND...: the command must succeed.
expect() {
    local what=$1; shift
    if "$@"; then
        echo "ok: $what"
    else
        failed=1
        echo "FAILED: $what"
        echo "  $* (status $status, out: $(tr '\n' ' ' <"$scratch/out"))"
        head -c 1500 "$scratch/err" | sed 's/^/  | /'
    fi
}

lives() { [ "$status" = 0 ] && grep -qx 'done' "$scratch/out"; }
saw() { grep -qx "saw $1" "$scratch/out"; }
# says REGEX: the first line; BLOCK is the block's address, POOL what is said of its pool.
says() {
    local wanted=${1//BLOCK/$block}
    [[ ${said%%$'\n'*} =~ ^tarn:\ ${wanted//POOL/$pool}$ ]]
}
names() { grep -qE "^  $1 by $(from "$2")" "$scratch/err"; }

# ---- as tarn comes: what frees wrongly is found and does no harm; the rest is the program's

# tells CRIME SMALL-AND-MEDIUM LARGE: these are said, and the program lives.
tells() {
    for size in "${sizes[@]}"; do
        pool="block of pool \"size-${bin[$size]:-}\" \\(${bin[$size]:-} bytes\\)"
        wanted=$2
        [ "$size" != 300000 ] || wanted=$3
        commits "$1" "$size"
        expect "$1 of $size" eval 'lives && says "$wanted"'
    done
}
foreign="not a block of this process's malloc \\(foreign pointer\\); ignored"
gone="in tarn's memory, but no block is there now; ignored"
at_flush='\(found at flush\)'

tells double-free "free\\(BLOCK\\): POOL was free already $at_flush; ignored" "free\\(BLOCK\\): $gone"
tells double-free-between "free\\(BLOCK\\): POOL was free already $at_flush; ignored" "free\\(BLOCK\\): $gone"
tells realloc-freed "free\\(BLOCK\\): POOL was free already $at_flush; ignored" "realloc\\(BLOCK\\): $gone"
tells free-inside "free\\(0x[0-9a-f]+\\): inside a POOL that starts at BLOCK $at_flush; ignored" \
    'free\(0x[0-9a-f]+10\): inside a large block; ignored'
tells free-misaligned "free\\(0x[0-9a-f]+3\\): inside a POOL that starts at BLOCK $at_flush; ignored" \
    'free\(0x[0-9a-f]+3\): inside a large block; ignored'
for crime in foreign stack unmapped small; do
    tells free-$crime "free\\(0x[0-9a-f]+\\): $foreign" "free\\(0x[0-9a-f]+\\): $foreign"
done
tells sized-delete 'delete\(0x[0-9a-f]+\): POOL was given back as one of (120|9000) bytes; going on' \
    'delete\(0x[0-9a-f]+\): large block was given back as one of 40 bytes; going on'
tells pool-mismatch 'tarn_pool_free\(0x[0-9a-f]+\): block of pool "one" \([0-9]+ bytes\) was given to pool "two"; ignored' \
    'tarn_pool_free\(0x[0-9a-f]+\): block of pool "one" \([0-9]+ bytes\) was given to pool "two"; ignored'
for crime in over-1 over-8 under-1 under-8 uaf-read uaf-write uninitialised; do
    for size in "${sizes[@]}"; do
        commits $crime "$size"
        expect "$crime of $size is not seen" eval 'lives && [ -z "$said" ]'
    done
done
commits double-free 40 TARN_MISUSE=ignore
expect "TARN_MISUSE=ignore says nothing" eval 'lives && [ -z "$said" ]'
commits double-free 300000 TARN_MISUSE=abort
expect "TARN_MISUSE=abort ends the process" eval '[ "$status" = 134 ] && says "free\\(BLOCK\\): .*; aborting"'

# ---- hardened: everything is found, at once or at the block's next turn

# A crime on the first or last block of a slab is met by its fence, or by a large block's, and the process ends.
fenced() { [ "$status" = $crashed ] && [[ $said =~ ^tarn:\ (read|write|access)\(0x[0-9a-f]+\):\ at\ offset\ .*\;\ the\ process\ ends$ ]]; }

# finds CRIME REGEX [WHAT FUNCTION]: said of a small and a medium block, and so a caller.
finds() {
    local wanted=$2 line=${3:-} who=${4:-}
    for size in 40 3000; do
        pool="block of pool \"size-${bin[$size]}\" \\($((bin[$size] - 8)) bytes\\)"
        commits "$1" $size TARN_HARDEN=1
        expect "hardened: $1 of $size" eval 'fenced || { lives && says "$wanted" && { [ -z "$line" ] || names $line $who; }; }'
    done
}
# strikes CRIME REGEX: of a large block, and the process ends.
strikes() {
    local wanted=$2
    commits "$1" 300000 TARN_HARDEN=1
    expect "hardened: $1 of 300000 ends the process" eval '[ "$status" = $crashed ] && says "$wanted" && grep -q "^  touched by" "$scratch/err" &&
        names allocated allocate && ! grep -q committed "$scratch/out"'
}
# large CRIME REGEX [WHAT FUNCTION]: of a large block, and the program lives.
large() {
    local wanted=$2 line=${3:-} who=${4:-}
    commits "$1" 300000 TARN_HARDEN=1
    expect "hardened: $1 of 300000" eval 'lives && says "$wanted" && { [ -z "$line" ] || names $line $who; }'
}
neighbour='(\(the next one, 0x[0-9a-f]+, is (in use|free)\))?'
for crime in over-1 over-8 over-neighbour over-page; do
    finds $crime "free\\(0x[0-9a-f]+\\): POOL was written at offset (40|3000|3064), behind its end ?$neighbour; going on" called release
    strikes $crime '(read|write|access)\(0x[0-9a-f]+\): at offset 300000 of the large block at BLOCK, which is in use; the process ends'
done
for crime in under-1 under-8 under-page; do # the one before it is what is damaged
    finds $crime "free\\(0x[0-9a-f]+\\): POOL was written at offset (40|3000|30[0-9][0-9]), behind its end ?$neighbour; going on" called release
done
for crime in under-1 under-8; do
    large $crime 'free\(BLOCK\): large block was written at offset -1, in front of its start; going on' allocated allocate
done
strikes under-page '(read|write|access)\(0x[0-9a-f]+\): at offset -4096 of the large block at BLOCK, which is in use; the process ends'

finds uaf-write 'BLOCK: POOL was written at offset 16 while it was free; going on' called allocate
for crime in uaf-write uaf-read; do
    strikes $crime '(read|write|access)\(0x[0-9a-f]+\): at offset 16 of the large block at BLOCK, which was free already; the process ends'
done
for size in 40 3000; do
    commits uaf-read $size TARN_HARDEN=1
    expect "hardened: uaf-read of $size sees zeroes" eval 'lives && saw zeroes'
done
for size in "${sizes[@]}"; do
    commits uninitialised "$size" TARN_HARDEN=1
    expect "hardened: recycled memory of $size is zero" eval 'lives && saw zeroes && [ -z "$said" ]'
done

for crime in double-free double-free-between; do
    finds $crime 'free\(BLOCK\): POOL was free already; ignored' called release
    large $crime 'free\(BLOCK\): large block was free already; ignored' freed release
done
finds realloc-freed 'realloc\(BLOCK\): POOL was free already; ignored' called realloc_freed
large realloc-freed 'realloc\(BLOCK\): large block was free already; ignored' freed release
for crime in free-inside free-misaligned; do
    finds $crime 'free\(0x[0-9a-f]+\): inside a POOL that starts at BLOCK; ignored' called release
    large $crime 'free\(0x[0-9a-f]+\): inside a large block that starts at BLOCK; ignored' called release
done
for crime in foreign stack unmapped small; do
    finds free-$crime "free\\(0x[0-9a-f]+\\): $foreign" called release
done
finds sized-delete 'delete\(0x[0-9a-f]+\): POOL was given back as one of (120|9000) bytes; going on' called sized_delete
large sized-delete 'delete\(0x[0-9a-f]+\): large block was given back as one of 40 bytes; going on' called sized_delete
finds pool-mismatch 'tarn_pool_free\(0x[0-9a-f]+\): block of pool "one" \([0-9]+ bytes\) was given to pool "two"; ignored'

commits double-free 40 TARN_HARDEN=1 TARN_DEBUG=caller
expect "with TARN_DEBUG=caller both callers are named" eval 'lives && names called release && names allocated allocate && names freed release'

# ---- the parts, one by one: each finds what it is for, and no other does

# part WORD CRIME REGEX
part() {
    local wanted=$3
    pool='block of pool "size-48" \(4[08] bytes\)'
    commits "$2" 40 "TARN_HARDEN=$1"
    expect "$1 finds $2" says "$wanted"
    commits "$2" 40 "TARN_HARDEN=1,no-$1"
    expect "the others do not find $2" eval '! says "$wanted"'
}
part double-free double-free 'free\(BLOCK\): POOL was free already; ignored'
part canary over-1 "free\\(BLOCK\\): POOL was written at offset 40, behind its end $neighbour; going on"
commits uaf-write 40 TARN_HARDEN=zero
expect "zero finds uaf-write" says 'BLOCK: block of pool "size-48" \(48 bytes\) was written at offset 16 while it was free; going on'
commits over-1 300000 TARN_HARDEN=guard-pages
expect "guard-pages find over-1 of 300000" says '[a-z]+\(0x[0-9a-f]+\): at offset 300000 of the large block at BLOCK, which is in use; the process ends'
commits over-1 300000 TARN_HARDEN=1,no-guard-pages
expect "the others do not find over-1 of 300000" eval 'lives && [ -z "$said" ]'

# The first window's place: of 16 starts no two are alike, nor at multiples of 4 GiB.
places() {
    for _ in {1..16}; do
        commits double-free 300000 "TARN_HARDEN=$1"
        echo $((block >> 22))
    done | sort -u
}
expect "with aslr 16 starts are at 16 places, not all of 4 GiB" \
    eval 'places aslr >"$scratch/places"; [ "$(wc -l <"$scratch/places")" = 16 ] && [ "$(awk "{print \$1 % 1024}" "$scratch/places" | sort -u | wc -l)" -gt 8 ]'

# ---- a sample: here of all blocks

# sampled CRIME SIZE REGEX
sampled() {
    local wanted=$3
    commits "$1" "$2" TARN_GUARD_SAMPLE=1
    expect "sampled: $1 of $2" eval 'says "$wanted" && names allocated allocate'
    [[ $library = *-debug* ]] || expect "with the stack" grep -qE '^    called by main\+' "$scratch/err"
}
pool='block of pool "size-[0-9]+" \([0-9]+ bytes\)'
for size in 40 3000; do
    sampled over-1 $size "free\\(BLOCK\\): POOL was written at offset $size, behind its end; going on"
    sampled over-page $size '[a-z]+\(0x[0-9a-f]+\): at offset [0-9]+ of the POOL at BLOCK, which is in use; the process ends'
    sampled uaf-read $size '[a-z]+\(0x[0-9a-f]+\): at offset 16 of the POOL at BLOCK, which was free already; the process ends'
    sampled double-free $size 'free\(BLOCK\): POOL was free already; ignored'
    sampled free-inside $size 'free\(0x[0-9a-f]+\): inside a POOL that starts at BLOCK; ignored'
done
commits over-1 300000 TARN_GUARD_SAMPLE=1
expect "big blocks are not sampled" eval 'lives && [ -z "$said" ]'
for rate in 1 3 3 3 3 3 3 100; do # what a thread draws decides whether it would
    status=0
    env TARN_GUARD_SAMPLE=$rate LD_PRELOAD="$library" timeout 100 "$victims/starved" >"$scratch/out" 2>"$scratch/err" || status=$?
    expect "a sample of one in $rate does no harm to threads that begin without memory" eval 'lives && [ ! -s "$scratch/err" ]'
done
found=0
for _ in {1..50}; do
    commits uaf-write 40 TARN_GUARD_SAMPLE=3
    found=$((found + (status == crashed)))
done
expect "of 50 crimes about a third are met by a sample of one in 3 ($found)" test $found -ge 1 -a $found -le 40

exit $failed
