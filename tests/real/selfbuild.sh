#!/bin/bash
# tarn builds tarn: cmake, ninja, gcc and ld under the library make the same library, and tests that pass, run under it.
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/lib.sh"
need cmake ninja gcc objcopy cmp
bound=300
tests='unit_heap unit_slab unit_large unit_query stress_stress_threads'

tarn configure cmake -S "$top" -B build -G Ninja -DCMAKE_C_COMPILER=gcc
expect "cmake configures" same_text "$(cat configure.tarn.status)" 0
expect "  served by pools" at_least "$(pooled_bytes configure)" 65536

[ -n "$(ninja -C build -t query unit_heap 2>/dev/null)" ] || tests=stress_stress_threads # no Criterion
tarn build ninja -C build libtarn.so $tests
expect "ninja, gcc and ld build" same_text "$(cat build.tarn.status)" 0
expect "  without a word" empty_file build.tarn.err
expect "  served by pools" at_least "$(pooled_bytes build)" 1000000

# The library's code; another folder's names are in what debuggers read.
code() { objcopy -O binary -j .text -j .rodata "$1" "$2" && cmp "$2" "${3:-$2}"; }
expect "what we run under was built so" code "$library" ours
expect "the same library comes out" code build/libtarn.so theirs ours

for test in $tests; do
    tarn "$test" build/"$test"
    expect "$test passes" same_text "$(cat "$test.tarn.status")" 0
done
env LD_PRELOAD="$scratch/build/libtarn.so" TARN_STATS_AT_EXIT=1 gcc --version >version.out 2>version.err
expect "the new library serves gcc" matches "^Total: " version.err

exit $failed
