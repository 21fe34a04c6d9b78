#!/bin/bash
# storm.sh [SECONDS]: SIGQUIT a thousand times a second for so long (3), while 8 threads allocate: nothing is lost, nothing
# hangs, and it goes on; and threads that come and go with it, and with tarn's own.
. "$(dirname "$0")/../real/lib.sh"
seconds=${1:-3}

# quits WHAT FILE: and what it makes of memory is no more than twice what glibc does, where nobody answers.
bound=$((seconds * 60 + 60))
plain quit --ignore-signal=QUIT "$victims/storm" 1
expect "the victim without tarn" same_text "$(cat quit.plain.status) $(tail -n 1 quit.plain.out)" "0 done"
quits() {
    local what=$1 file=$2
    run_as tarn quit LD_PRELOAD="$library" TARN_DUMP="$file" "$victims/storm" "$seconds"
    expect "$what: nothing lost, all threads come on" same_text "$(cat quit.tarn.status) $(tail -n 1 quit.tarn.out)" "0 done"
    expect "  without a word" empty_file quit.tarn.err
    expect "  at most twice glibc's memory" at_most "$(peak tarn)" $((2 * $(peak plain)))
    echo "info: plain $(head -n 1 quit.plain.out); $(cat quit.plain.peak)"
    echo "info: tarn  $(head -n 1 quit.tarn.out); $(cat quit.tarn.peak)"
}
peak() { awk '{ print $3 }' "quit.$1.peak"; }

quits "SIGQUIT $((seconds * 1000)) times" storm
heads=$(grep -c '^Dumping pools usage' storm)
expect "  and were answered ($heads dumps)" at_least "$heads" 10
expect "  one at a time, each whole" same_text "$(grep -c '^  - not ours' storm)" "$heads"
# Whatever the parts are, they add up to the RSS printed above them, in every dump.
expect "  each adding up" awk '/^Resident:/        { bad += rss != sum; rss = $2; sum = 0; n++ }
                               /^  - [a-z ]+ : / { sub(/.* : +/, ""); sum += $1 }
                               END               { exit !(n > 0 && rss > 0 && rss == sum && !bad) }' storm
rm -f storm
ulimit -S -f 64 # KiB
seconds=1 quits "SIGQUIT 1000 times, the dumps to a file that may not grow" storm
expect "  which holds what it may" same_text "$(stat -c %s storm)" 65536
ulimit -S -f unlimited

bound=30
plain relay --ignore-signal=QUIT "$victims/relay"
expect "threads whose end is our helper's, without tarn" same_text "$(cat relay.plain.status) $(tail -n 1 relay.plain.out)" "0 done"
run_as tarn relay LD_PRELOAD="$library" TARN_DUMP=/dev/null "$victims/relay" 600
expect "threads whose end is our helper's, while others make threads" same_text "$(cat relay.tarn.status) $(tail -n 1 relay.tarn.out)" "0 done"

exit $failed
