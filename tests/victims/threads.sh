#!/bin/bash
# Threads: many at once, many in a row, their destructors, their cancellation; what they had comes back.
. "$(dirname "$0")/../real/lib.sh"

# lives WHAT VICTIM [ARG...]: as it says, without tarn and with it. What it prints besides "done" is information.
lives() {
    local what=$1 name=$2-${3:-}; shift
    [ -x "$victims/$1" ] || { echo "skipped: $1 is not built"; return; }
    plain "$name" "$victims/$@"
    [ "$(cat "$name.plain.status")" -ne 77 ] || { echo "skipped: $what: not allowed here"; return; }
    expect "$what: without tarn" same_text "$(cat "$name.plain.status") $(tail -n 1 "$name.plain.out")" "0 done"
    tarn "$name" "$victims/$@"
    expect "$what" same_text "$(cat "$name.tarn.status") $(tail -n 1 "$name.tarn.out")" "0 done"
    expect "  without a word" empty_file "$name.tarn.err"
    expect "  served by pools" at_least "$(pooled_bytes "$name")" 65536
    echo "info: $name: plain $(head -n 1 "$name.plain.out"), $(cat "$name.plain.peak")"
    echo "info: $name: tarn  $(head -n 1 "$name.tarn.out"), $(cat "$name.tarn.peak")"
}

bound=60
lives "2000 threads at once" threads alive 2000
bound=200 lives "100000 threads, a few at a time" threads short 100000
lives "blocks freed by another thread" threads cross
lives "key destructors allocate, in all rounds" threads destructors
lives "thread_local destructors allocate" tls
lives "cancellation in a storm" threads cancel 100
lives "all keys taken before the first thread" threads keys
lives "the process ends before its threads do" threads detached 1000

exit $failed
