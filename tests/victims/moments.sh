#!/bin/bash
# SIGQUIT at odd moments: in a child of fork and during fork, as a thread ends, before main, after exit has begun.
. "$(dirname "$0")/../real/lib.sh"
bound=60

# lives WHAT [VAR=VALUE]... -- ARG...: ends with 42: the signal ignored, without tarn; and, as nobody ignores it, with tarn.
lives() {
    local what=$1 settings=(); shift
    while [ "$1" != -- ]; do settings+=("$1"); shift; done
    shift
    plain moments --ignore-signal=QUIT "$victims/moments" "$@"
    expect "$what: ignored, without tarn" same_text "$(cat moments.plain.status)" 42
    run_as tarn moments LD_PRELOAD="$library" TARN_DUMP="$scratch/dump" ${SETTINGS:-} "${settings[@]}" "$victims/moments" "$@"
    expect "$what" same_text "$(cat moments.tarn.status)" 42
    expect "  without a word" empty_file moments.tarn.err
    dumps=$(grep -c '^Dumping pools usage' dump)
    whole=$(grep -c '^  - not ours' dump)
    rm -f dump
}
# answered N: the last one's signals, each by a whole dump.
answered() { expect "  each is answered" same_text "$dumps $whole" "$1 $1"; }

lives "a constructor of the program" -- constructor
answered 2
lives "a library preloaded before tarn, as it begins and ends" LD_PRELOAD="$victims/libmoments.so:$library" -- main
answered 2
lives "  and after" LD_PRELOAD="$library:$victims/libmoments.so" -- main
answered 2
lives "any time from a constructor on, until the end of main" -- born 20 main
lives "any time after execve, before tarn's handler stands or later" -- unborn 30
expect "  ($(head -n 1 moments.tarn.out))" at_least "$(awk '{ print $1 }' moments.tarn.out)" 1

# Before the handler stands the action is the default one, with tarn as without.
for how in plain tarn; do
    [ $how = plain ] && preload= || preload=$library
    run_as $how audit LD_PRELOAD="$preload" TARN_DUMP="$scratch/dump" LD_AUDIT="$victims/libmoments.so" "$victims/moments" main
    expect "before all constructors it kills: $how" same_text "$(cat audit.$how.status)" 131
done

lives "a fork's child, by itself and by its parent" -- child 10
lives "  of a parent with threads" -- child-threads 3
lives "  of vfork, which has its parent's memory" -- vfork 20
answered 40
lives "from outside, while it forks" -- forking 10
lives "  a parent with threads" -- forking-threads 5
lives "as a thread ends: variables, keys, and behind them" -- thread 20

for how in exit quick-exit; do
    lives "$how: in handlers, as stdio writes, in destructors" -- $how
    answered $([ $how = exit ] && echo 6 || echo 2)
    lives "  and any time" -- born 10 $how
done
lives "exit in a thread, while others allocate" -- born 10 exit-thread
lives "_exit, while others allocate" -- born 10 _exit

exit $failed
