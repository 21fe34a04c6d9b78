#!/bin/bash
# A steady load does not grow: what is resident in its last third is what it was in the second.
. "$(dirname "$0")/../real/lib.sh"

for threads in 1 4; do
    tarn steady "$victims/leaks" 4 "$threads"
    echo "info: $threads threads with tarn: $(cat steady.tarn.out)"
    expect "$threads threads: memory stays" same_text "$(cat steady.tarn.status)" 0
    expect "  without a word" empty_file steady.tarn.err
    expect "  served by pools" at_least "$(pooled_bytes steady)" 1000000
done

exit $failed
