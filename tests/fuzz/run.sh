#!/bin/bash
# run.sh [SECONDS [FUZZER...]]: the fuzzers (family, settings, pools), each for so long (an hour), from what corpus/
# keeps of earlier runs. What fails is left in the working directory, as crash-*: FUZZER FILE repeats it.
#
# Settings make other programs of tarn, so the time is shared among the ones below.
# FUZZERS: where they were built; build-fuzz-clang. To keep what a long run found: FUZZER -merge=1 corpus/NAME found/NAME
set -u
here=$(cd "$(dirname "$0")" && pwd)
seconds=${1:-3600}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- family settings pools
same= # a test goes the way that it went yesterday
[ "$seconds" -gt 60 ] || same=-seed=1
fuzzers=${FUZZERS:-$("$here/../../scripts/build.sh" fuzz --compiler clang)} || exit 1
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
bad=0

# fuzz NAME SECONDS [VAR=VALUE...]
fuzz() {
    local name=$1 time=$2 found=$fuzzers/found/$1; shift 2
    mkdir -p "$found"
    echo "fuzz: $name, $time s: ${*:-no settings}"
    env "$@" "$fuzzers/fuzz_$name" $same -max_total_time="$time" -max_len=600 -timeout=60 -rss_limit_mb=0 \
        -dict="$here/$name.dict" -print_final_stats=1 "$found" "$here/corpus/$name" >"$found.log" 2>&1 || {
        bad=1
        echo "FAILED: $name: ${*:-no settings}"
        tail -n 40 "$found.log"
    }
    grep 'number_of_executed_units' "$found.log"
}

for name; do
    if [ "$name" = settings ]; then
        fuzz "$name" "$seconds"
        continue
    fi
    part=$(((seconds + 4) / 5))
    fuzz "$name" "$part"
    fuzz "$name" "$part" TARN_CACHE=0
    fuzz "$name" "$part" TARN_CLASSES=48,1k,3k,64k
    fuzz "$name" "$part" TARN_HARDEN=1
    fuzz "$name" "$part" TARN_DEBUG=integrity,tag,poison,caller
done
exit $bad
