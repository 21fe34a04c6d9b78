#!/bin/bash
# TARN_DEBUG's words, from outside: for each a program that does what the word is for, under the word, where it is found
# and told with pool, address, offset and callers; and without, where it is not.
. "$(dirname "$0")/lib.sh"

# victim WORDS KIND: runs it; sets $block as it told it too.
victim() {
    preloaded TARN_DEBUG="$1" debug "$2"
    block=$(sed -n 's/^block //p' out)
}

# by WHAT FUNCTION: the line that names a caller. An unoptimised tarn takes itself for a named pool's (preload/family.h).
unoptimised() { [[ $library = *-debug* ]]; }
by() { echo "  $1 by $2\\+0x[0-9a-f]+ \\(.*/debug\\)"; }
by_named() { if unoptimised; then echo "  $1 by [a-z_]+\\+0x[0-9a-f]+ \\(.*/libtarn\\.so\\)"; else by "$@"; fi; }
allocated=$(by allocated allocate)
freed=$(by freed release)

shows() { lives && grep -qx "$1" out; }

# says REGEX...: these are all the lines on stderr, and the victim lives.
says() {
    local got line
    mapfile -t got <err
    lives && [ ${#got[@]} = $# ] || return
    for line in "${got[@]}"; do
        [[ $line =~ ^$1$ ]] || return
        shift
    done
}

# finds WORDS KIND REGEX...: under the words the victim makes tarn say this, with BLOCK for the block's address.
# misses WORDS KIND: it makes it say nothing.
finds() {
    victim "$1" "$2"
    local lines=("${@:3}")
    expect "$1 finds $2" says "${lines[@]//BLOCK/$block}"
}
misses() {
    victim "$1" "$2"
    expect "$1 has nothing to say of $2" eval 'lives && ! grep -q ^tarn err'
}
seen() {
    victim "$1" "$2"
    expect "under $1, $2 shows: $3" shows "$3"
}

of_pool='block of pool "size-48" \((48|40) bytes\)' # 8 fewer where a tag takes them

# ---- misuse
finds tag overrun "tarn: free\\(BLOCK\\): $of_pool was written at offset 42, behind its end; going on"
finds tag,caller overrun "tarn: free\\(BLOCK\\): $of_pool was written at offset 42, behind its end; going on" \
    "$allocated"
misses caller overrun
misses tag,no-tag overrun

for word in tag caller integrity backup; do
    finds $word,caller twice "tarn: free\\(BLOCK\\): $of_pool was free already; ignored" "$allocated" "$freed" later
done
misses none twice

for word in integrity backup; do
    finds $word written "tarn: BLOCK: $of_pool was written at offset 7 while it was free; going on"
    finds $word,caller written "tarn: BLOCK: $of_pool was written at offset 7 while it was free; going on" \
        "$allocated" "$freed"
done
misses tag,caller written

# What is kept for threads is not looked at; its slab sees that a block comes twice.
at_slab="tarn: free\\(BLOCK\\): $of_pool was free already \\(found at flush\\); ignored"
finds no-cache twice "$at_slab" later
TARN_CACHE=0 finds no-global twice-among-many "$at_slab" later
TARN_CACHE=0 misses none twice-among-many

finds caller wrong-pool \
    'tarn: tarn_pool_free\(BLOCK\): block of pool "one" \(48 bytes\) was given to pool "two"; ignored' \
    "$(by_named allocated wrong_pool)"
finds tag,caller named-overrun \
    'tarn: tarn_pool_free\(BLOCK\): block of pool "session" \(40 bytes\) was written at offset 40, behind its end; going on' \
    "$(by_named allocated named_overrun)"

# ---- things to see
seen poison poison 'byte 50'
seen poison=0xa5 poison 'byte a5'
seen poison=7,tag,integrity,backup poison 'byte 7'
seen none order 'order: 3 2 1'
seen cold-first order 'order: 1 2 3'
seen none merge 'one pool'
seen no-merge merge 'two pools'
seen none failures 'none none'
unoptimised || seen fail=50 failures 'half half'
seen fail=100,no-fail failures 'none none'

# ---- sound programs do not notice
for words in integrity,tag,poison,caller,backup cold-first,tag no-cache,integrity,caller no-global,tag,no-merge; do
    for program in "sh -c 'ls -l / | sort | wc -l'" "bash -c 'x=(); for i in {1..2000}; do x+=(\$i); done; echo \${#x[@]}'"; do
        bash -c "$program" >wanted
        timeout 60 env TARN_DEBUG=$words LD_PRELOAD="$library" bash -c "$program" >out 2>err
        status=$?
        expect "under $words, $program" eval '[ $status = 0 ] && cmp -s out wanted && [ ! -s err ]'
    done
done

# One that lives through refusals: the loader and the libraries' constructors met none.
preloaded TARN_DEBUG=fail=100 debug
expect "under fail=100, a program that asks for nothing runs" lives

exit $failed
