#!/bin/bash
# check-hotpath.sh [--update]: malloc and free as compiled: no call and no locked instruction from the entry to the
# first return, where no conditional jump is taken but one that skips a jump (preload/hit.S), and as many instructions as
# tests/golden/hotpath.txt says.
#
# Only for x86-64 and the release build by gcc. LIBTARN is the library, build/libtarn.so if not given.
set -eu
cd "$(dirname "$0")/.."
lib=${LIBTARN:-build/libtarn.so}
golden=tests/golden/hotpath.txt
[ "$(uname -m)" = x86_64 ] || { echo "only for x86-64" && exit 77; }

# "NAME COUNT", or what is wrong.
walk()
{
    start=$(nm -D "$lib" | awk -v name="$1" '{ sub("@.*", "", $3) } $3 == name { print $1 }')
    [ -n "$start" ] || { echo "$1 is not in $lib" >&2 && return 1; }
    objdump -d --no-show-raw-insn --start-address="0x$start" --stop-address=$((0x$start + 1024)) "$lib" |
        awk -v name="$1" '
        /^ *[0-9a-f]+:\t/ {
            address = $1; sub(":", "", address)
            text = $0; sub("^[^\t]*\t", "", text)
            order[address] = ++last; code[last] = text
        }
        function fail(why) { print name ": " why ": " code[at] > "/dev/stderr"; failed = 1; exit 1 }
        END {
            if (failed) exit 1
            for (at = 1; at <= last; at++) {
                split(code[at], word)
                if (++count > last) fail("goes in a circle")
                if (word[1] ~ /^(bnd|notrack|repz|rep)$/) word[1] = word[2]
                if (word[1] ~ /^ret/) { print name, count; exit 0 }
                if (word[1] ~ /^(call|syscall)/) fail("a call on the straight path")
                if (word[1] ~ /^(lock|xchg|[lms]fence)/ && code[at] !~ /^xchg +%[a-z0-9]+,%[a-z0-9]+$/)
                    fail("a locked instruction on the straight path")
                if (word[1] ~ /^j/ && (word[1] ~ /^jmp/ || code[at + 1] ~ /^jmp/)) {
                    if (!(word[2] in order)) fail("leaves the straight path")
                    at = order[word[2]] - 1
                }
            }
            at = last; fail("no return")
        }'
}

counts=$(walk malloc && walk free)
if [ "${1-}" = --update ]; then
    echo "$counts" >$golden
fi
echo "$counts"
diff $golden <(echo "$counts") || { echo "differs from $golden; if meant: scripts/check-hotpath.sh --update" && exit 1; }
