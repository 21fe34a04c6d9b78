#!/bin/bash
# How the dump shows pools (TARN_POOLS), for a program that knows nothing of it.
. "$(dirname "$0")/../real/lib.sh"

# names NAME: the pools that have a line in the dump of the run NAME, in its order. numbers NAME: theirs.
names() { sed -n 's/^  - Pool \([^ ]*\) .*/\1/p' "$1".dump.*; }
numbers() { sed -n 's/^  - Pool .* : *\([0-9]*\) allocated *(\([0-9]*\) bytes), *\([0-9]*\) used.*/\1 \2 \3/p' "$1".dump.*; }
lines() { names "$1" | wc -l; }
total() { sed -n 's/^Total: \([0-9]*\) pools, \([0-9]*\) bytes allocated.*/'"$2"'/p' "$1".dump.*; }
# The sum of the bytes in the lines is the total's.
adds_up() { same_text "$(numbers "$1" | awk '{ sum += $2 } END { print sum + 0 }')" "$(total "$1" '\2')"; }
ascends() { same_text "$(names "$1" | sort -c "${@:2}" 2>&1)" ""; }

tarn all ls -l /usr/bin
expect "a program under tarn" same_text "$(cat all.tarn.status)" 0
expect "  has pools to show" at_least "$(lines all)" 6
expect "  by size" ascends all -t- -k2n
expect "  that add up" adds_up all
expect "  without a word on stderr" empty_file all.tarn.err

tarn few TARN_POOLS=byusage,5 ls -l /usr/bin
used=$(sed -n 's/^  - Pool [^ ]* (\([0-9]*\) bytes) .* \([0-9]*\) used.*/\1 \2/p' few.dump.* | awk '{ print $1 * $2 }')
expect "TARN_POOLS=byusage,5: five lines" same_text "$(lines few)" 5
expect "  the most used first" same_text "$used" "$(sort -rn <<<"$used")"
expect "  of more pools" at_least "$(total few '\1')" 6
expect "  which are in the total" at_least "$(total few '\2')" "$(($(numbers few | awk '{ sum += $2 } END { print sum }') + 1))"
expect "  and the rest of the dump is there" matches '^  - not ours' few.dump.*

tarn name TARN_POOLS="byname match size-1" ls -l /usr/bin
expect "TARN_POOLS=byname,match=size-1: those" same_text "$(names name | grep -vc '^size-1')" 0
expect "  and they are some" at_least "$(lines name)" 3
expect "  by name" ascends name
expect "  with a total of their own" adds_up name

tarn whole TARN_POOLS=detailed ls -l /usr/bin
expect "TARN_POOLS=detailed: a second line for each" same_text \
    "$(grep -c '^      blocks of [0-9]* bytes, align 16, [0-9]* slabs, limit none, 0 limit hits, minavail 0$' whole.dump.*)" \
    "$(lines whole)"

bound=30 run_as tarn asked LD_PRELOAD="$library" TARN_POOLS=byusage,1 "$victims/info" stats
expect "malloc_stats, too" same_text "$(grep -c '^  - Pool' asked.tarn.err)" 1

exit $failed
