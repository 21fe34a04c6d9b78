#!/bin/bash
# The malloc family, from outside: each victim under the library, one line of expectation each. What glibc and
# libstdc++ promise too runs without the library first: that shows that the victim itself is right.
. "$(dirname "$0")/lib.sh"

lines() { [ "$(grep -c "$2" err)" -eq "$1" ]; }
aborted() { exits 134; } # 128 + SIGABRT

# same VICTIM [ARG...]: exits 0 without a word, without the library and with it.
same() {
    [ -x "$victims/$1" ] || { echo "skipped: $1 is not built"; return; }
    bare "$@"
    if [ "$status" -eq 77 ]; then echo "skipped: $*: $(head -n 1 out)"; return; fi
    expect "$* without tarn" exits 0
    preloaded "$@"
    expect "$* with tarn" exits 0
    expect "$* prints nothing" silent
}

# ours VICTIM [ARG...]: the same, of what only tarn promises.
ours() {
    preloaded "$@"
    if [ "$status" -eq 77 ]; then echo "skipped: $*: $(head -n 1 out)"; return; fi
    expect "$* with tarn" exits 0
    expect "$* prints nothing" silent
}

# ---- what is granted, and what is refused
same family
same errors
same errors locked
ours errors tarn
ours sized

# ---- C++
same cxx_new
same cxx_replaced
same cxx_late
preloaded no_cxx_new
expect "operator new works without a C++ runtime" lives
preloaded no_cxx_new 1000000
expect "where it can't throw, it aborts" aborted
expect "and says why" lines 1 '^tarn: operator new: no memory for .* no C++ runtime'

# ---- what the heap says of itself
same info grows
for mode in parts saturates trims options; do ours info $mode; done
preloaded info stats
expect "malloc_stats" exits 0
expect "prints the dump on standard error" lines 1 'malloc_stats'
expect "with its totals" lines 1 '^Total'
expect "and nothing on standard output" [ ! -s out ]

preloaded info xml-refused
expect "malloc_info refuses options" exits 0
expect "and prints nothing" [ ! -s out ]
preloaded info xml
expect "malloc_info" exits 0
if command -v python3 >/dev/null; then
    expect "malloc_info prints XML of a <malloc>" python3 -c '
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
assert root.tag == "malloc" and root.get("version"), root.tag
assert len(list(root.iter())) > 3, "an empty tree"' out
else
    echo "skipped: no python3 to parse XML"
fi

# ---- pointers that are no block of ours
for kind in stack static glibc mapped small-integer top inside-large; do
    preloaded foreign free $kind
    expect "free of $kind" lives
    expect "is told once in three" lines 1 '^tarn: '
done
for kind in stack glibc; do
    preloaded foreign realloc $kind
    expect "realloc of $kind is NULL" lives
    expect "is told once in three" lines 1 '^tarn: '
    preloaded foreign usable $kind
    expect "usable size of $kind is 0" lives
    expect "is no news" silent
    preloaded foreign both $kind
    expect "two foreign pointers" lives
    expect "are told once" lines 1 '^tarn: '
    preloaded TARN_MISUSE=ignore foreign free $kind
    expect "TARN_MISUSE=ignore" lives
    expect "is silent" silent
    preloaded TARN_MISUSE=abort foreign free $kind
    expect "TARN_MISUSE=abort" aborted
    expect "tells first" lines 1 '^tarn: .*free'
done

# ---- the same by mallopt(M_CHECK_ACTION): 1 tells, 2 aborts
preloaded TARN_MISUSE=abort info action 0
expect "M_CHECK_ACTION 0 ignores" exits 0
expect "without a word" silent
preloaded TARN_MISUSE=ignore info action 1
expect "M_CHECK_ACTION 1 goes on" exits 0
expect "after a line" lines 1 '^tarn: '
for action in 2 3; do
    preloaded info action $action
    expect "M_CHECK_ACTION $action aborts" aborted
done

exit $failed
