#!/bin/bash
# The kernel itself refuses the Nth call: refused.c without tarn, then with it, and under the settings that call it more.
# TEST_THOROUGH=N: N times as many runs, of which 50 refuse nearly each call once.
. "$(dirname "$0")/../real/lib.sh"
runs=$((6 * ${TEST_THOROUGH:-1}))
bound=$((60 * ${TEST_THOROUGH:-1}))

# refuse CALL COUNT [VAR=VALUE | COMMAND]...: must end well, and without a word of tarn's.
refuse() {
    local call=$1 count=$2 what="$1, ${2/#0/all} from the Nth on"; shift 2
    tarn refused "$@" "$victims/refused" "$call" "$count" $runs
    expect "$what${*:+ ($*)}" eval 'cat refused.tarn.err; same_text "$(cat refused.tarn.status)" 0'
    expect "  $(cat refused.tarn.out)" empty_file refused.tarn.err
}
# counts CALL: the last run made such calls, and some were refused.
counts() { expect "  $1 is called" matches "^$1: [1-9].* [1-9][0-9]* refused" refused.tarn.out; }

plain refused "$victims/refused" all 1 $runs
[ "$(cat refused.plain.status)" -ne 77 ] || skip "$(cat refused.plain.out)"
expect "without tarn" eval 'cat refused.plain.err; same_text "$(cat refused.plain.status)" 0'

for call in mmap madvise mremap membarrier futex clone3 all; do
    refuse $call 1 && counts $call
    refuse $call 0
done
# Where a limit is set, what is free is unmapped.
refuse munmap 1 prlimit --as=$((4 << 30)) && counts munmap
refuse munmap 0 prlimit --as=$((4 << 30))
refuse all 5 prlimit --as=$((4 << 30))
refuse mprotect 1 TARN_DEBUG=uaf && counts mprotect
refuse all 3 TARN_DEBUG=uaf
refuse all 3 TARN_DEBUG=integrity,tag,backup,caller
refuse all 3 TARN_HARDEN=1
refuse all 3 TARN_HELPER=0 TARN_CACHE=0

exit $failed
