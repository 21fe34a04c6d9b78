#!/bin/bash
# A program with one thread that idles: the helper comes and goes, and nobody notices.
. "$(dirname "$0")/../real/lib.sh"

bound=60
# lives WHAT [VAR=VALUE]... MODE
lives() {
    local what=$1 name=${*: -1}; shift
    tarn "$name" "${@:1:$#-1}" "$victims/idle" "$name"
    if [ "$(cat "$name.tarn.status")" -eq 77 ]; then echo "skipped: $what: $(tail -n 1 "$name.tarn.out")"; return; fi
    expect "$what" same_text "$(cat "$name.tarn.status") $(tail -n 1 "$name.tarn.out")" "0 done"
    expect "  without a word" empty_file "$name.tarn.err"
}
lives "what was freed goes back, and so does the helper, twice" back
lives "a fork's child gets its own helper, later" fork
lives "a fork without handlers, as it works" _Fork
lives "none is made in a child of vfork" vfork
lives "the process exits while it works" exit
lives "the process ends with its own last thread" last
lives "a thread is refused" refused
lives "a user namespace is for who is alone, its own or another's" unshare
tarn nodefer "$victims/nodefer"
expect "a handler with SA_NODEFER strikes pthread_create" same_text "$(cat nodefer.tarn.status) $(tail -n 1 nodefer.tarn.out)" "0 done"
expect "  and none is made there" matches '^1 threads' nodefer.tarn.out
lives "TARN_HELPER=threads: none for one thread" TARN_HELPER=threads alone
lives "TARN_HELPER=0: none" TARN_HELPER=0 alone

exit $failed
