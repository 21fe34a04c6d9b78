#!/bin/bash
# What the manual says of the malloc family and of operator new, case by case: tables in conform_*.c and .cc. Each case
# runs without tarn first, which shows that the case is right; then with it.
. "$(dirname "$0")/../real/lib.sh"
bound=300

# case_by_case VICTIM: every line of its table holds, or is said to differ, without tarn and with it.
case_by_case() {
    local name=$1
    [ -x "$victims/$name" ] || { echo "skipped: $name is not built"; return; }
    plain "$name" "$victims/$name"
    expect "$name holds without tarn" eval 'cat $name.plain.err; [ "$(cat $name.plain.status)" -eq 0 ]'
    run_as tarn "$name" LD_PRELOAD="$library" "$victims/$name"
    expect "$name holds with tarn" eval 'cat $name.tarn.err; [ "$(cat $name.tarn.status)" -eq 0 ]'
    if [ -z "${SETTINGS:-}" ]; then # under which it has been run before
        run_as sampled "$name" TARN_GUARD_SAMPLE=20 LD_PRELOAD="$library" "$victims/$name"
        expect "$name holds under TARN_GUARD_SAMPLE=20" eval 'cat $name.sampled.err; [ "$(cat $name.sampled.status)" -eq 0 ]'
    fi
    grep -v '^ok' "$name.plain.out" | sed "s/^/$name, plain: /"
    sed "s/^/$name: /" "$name.tarn.out"
    expect "$name: the same cases" same_text "$(wc -l <"$name.plain.out")" "$(wc -l <"$name.tarn.out")"
}
for name in conform_sizes conform_aligned conform_threads conform_new; do
    case_by_case $name
done

exit $failed
