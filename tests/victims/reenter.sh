#!/bin/bash
# malloc, realloc and free in signal handlers that interrupt them: some 30 000 signals a second and thread.
. "$(dirname "$0")/../real/lib.sh"

[ "$(uname -m)" = x86_64 ] || { echo "only where there are restartable sequences: x86-64" && exit 77; }
bound=120
# survives WHAT ARG...: the victim ends, with its blocks intact, and enough signals struck in malloc's own code.
survives() {
    local what=$1; shift
    tarn reenter "$victims/reenter" "$@"
    expect "$what" same_text "$(cat reenter.tarn.status)" 0
    expect "  without a word" empty_file reenter.tarn.err
    expect "  ($(cat reenter.tarn.out))" at_least "$(awk '{ print $5 }' reenter.tarn.out)" 1000
}
survives "one thread" 3 1
survives "two threads" 3 2
survives "more threads than processors" 3 8
survives "handlers that fork" 3 1 100
tarn births "$victims/reenter" births 1000
expect "handlers in the first call of jemalloc" same_text "$(cat births.tarn.status)" 0
expect "  without a word" empty_file births.tarn.err
expect "  ($(cat births.tarn.out))" at_least "$(awk '{ print $3 }' births.tarn.out)" 300

exit $failed
