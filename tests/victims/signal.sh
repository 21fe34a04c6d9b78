#!/bin/bash
# SIGQUIT, from outside: victims signal_*.c under the library, one line of expectation each.
. "$(dirname "$0")/lib.sh"

count() { grep -c "$1" "$2" || true; }
dumps() { [ "$(count '^Dumping pools usage' "${2:-err}")" -eq "$1" ]; }
# The pool that serves 64 bytes: a tag or a canary takes eight more. value: the nth dump's, of "allocated", "used" or "cached".
pool=size-64 most=1000
[ -z "${SETTINGS:-}" ] || pool=size-80 most=3100
value() {
    local v
    v=$(grep -o "Pool $pool .*" err | sed -n "$1p" | grep -o "[0-9]* $2" | cut -d' ' -f1)
    echo "${v:--1}"
}
# Whatever the parts are, they add up to the RSS printed above them, in every dump.
adds_up() {
    awk '/^Resident:/        { bad += rss != sum; rss = $2; sum = 0; n++ }
         /^  - [a-z ]+ : / { sub(/.* : +/, ""); sum += $1 }
         END               { exit !(n > 0 && rss > 0 && rss == sum && !bad) }' "$1"
}

preloaded signal_answer
expect "the program goes on, with its exit status" exits 42
expect "its output is its own" grep -qx finished out
expect "two signals, two dumps" dumps 2
expect "the heading says that the signal flushes" grep -q '^Dumping pools usage.* SIGQUIT also flushes them\.$' err
expect "the dump shows the state before the flush" [ "$(value 1 cached)" -gt 1000 ]
expect "the second shows the effect: blocks went" [ "$(value 2 allocated)" -lt "$(value 1 allocated)" ]
expect "  out of the caches" [ "$(value 2 cached)" -lt "$(value 1 cached)" ]
expect "used is what the program holds" [ "$(value 1 used)" -ge 100 ]
expect "  and no more, but what waits in quarantine" [ "$(value 1 used)" -lt $most ]
sizes=$(sed '/^Total/q' err | grep -o '([0-9]* bytes) *:' | tr -dc '0-9\n')
expect "pools ascend by size" [ "$sizes" = "$(sort -nu <<<"$sizes")" ]
expect "  and are more than one" [ "$(wc -l <<<"$sizes")" -gt 1 ]
expect "large memory has its line" [ "$(count '^\(Large\|Guarded\): 1 blocks, 10[0-9]* bytes' err)" -eq 2 ]
expect "no line for an unused pool" [ "$(grep -c ' 0 allocated .* 0 failures' err)" -eq 0 ]
expect "the parts of RSS add up" adds_up err

preloaded signal_own
expect "a program's own handler is kept, and the default that it sets again" exits 131
expect "  and heard" grep -qx heard out
expect "  and nothing is printed" silent

preloaded --ignore-signal=QUIT signal_answer
expect "an ignored signal stays ignored" exits 42
expect "  and nothing is printed" silent
preloaded --ignore-signal=QUIT TARN_SIGNAL=QUIT signal_answer
expect "unless the user named it" dumps 2

preloaded TARN_SIGNAL=USR2 signal_answer 12
expect "TARN_SIGNAL=USR2" dumps 2
expect "  is named in the heading" grep -q 'SIGUSR2 also flushes them' err
preloaded TARN_SIGNAL=USR2 signal_answer
expect "  and leaves SIGQUIT alone" exits 131
preloaded TARN_SIGNAL=none signal_answer
expect "TARN_SIGNAL=none installs nothing" exits 131

preloaded TARN_POOLS=match=$pool,detailed signal_answer
expect "TARN_POOLS=match=$pool,detailed" [ "$(count '^  - Pool' err),$(count "^  - Pool $pool " err)" = 2,2 ]
expect "  with limits" [ "$(count "^      blocks of ${pool#size-} bytes, .* limit none" err)" -eq 2 ]

preloaded TARN_DUMP="$scratch/dump.%p" signal_answer
expect "TARN_DUMP=file" dumps 2 "$(echo dump.*)"
expect "  with the pid for %p" grep -q "pid $(echo dump.* | cut -d. -f2)," "$(echo dump.*)"
expect "  and nothing on stderr" silent
mkfifo fifo
preloaded TARN_DUMP="$scratch/fifo" signal_answer
expect "a pipe that nobody reads does not hang the program" exits 42
preloaded TARN_DUMP=9 signal_answer
expect "a descriptor that is not open: nothing, and no harm" exits 42
env LD_PRELOAD="$library" TARN_DUMP=9 "$victims/signal_answer" 9>nine >out 2>err
expect "TARN_DUMP=9" dumps 2 nine

preloaded signal_reused data
expect "descriptor 2 reused by a data file" exits 42
expect "  which holds the program's data alone" [ "$(cat data)" = data ]

preloaded signal_unnoticed
expect "errno, mask, cancellation and a read are undisturbed" exits 42
expect "  by dumps" [ "$(count "^Dumping" err)" -ge 3 ] # signals that meet in the queue are one
preloaded signal_unnoticed closed
expect "  nor by a closed descriptor" exits 42

{
    sleep 0.2
    env LD_PRELOAD="$library" "$victims/signal_answer" 2>&1 >out
    echo $? >status
} | true
status=$(cat status)
expect "a reader who has gone is no SIGPIPE" exits 42

preloaded signal_altstack
if [ "$status" -ne 77 ]; then
    expect "the handler fits an 8 KiB alternate stack" exits 42
    expect "  and dumps there" dumps 1
fi

status=0
env LD_PRELOAD="$library" TARN_STATS_AT_EXIT=1 ls / >out 2>err
expect "TARN_STATS_AT_EXIT prints once, even for a program that closes stderr on its way out" dumps 1
preloaded TARN_STATS_AT_EXIT=1 signal_reused data
expect "  but not into a data file" [ "$(cat data)" = data ]

exit $failed
