#!/bin/bash
# soak.sh [SECONDS]: everything at once, for so long (8): nothing is lost, nothing is left, and memory does not grow.
. "$(dirname "$0")/../real/lib.sh"
seconds=${1:-8}
part=$(((seconds + 3) / 4))
seed=$((seconds > 60 ? $(date +%s) : 1))

# soak WHAT SECONDS NAME SLACK [VAR=VALUE...]
soak() {
    local what=$1 time=$2 name=$3 slack=$4; shift 4
    bound=$((time * 2 + 60)) tarn "$name" TARN_LIMIT=64M "$@" "$victims/soak" "$time" "$seed" "$slack"
    expect "$what (seed $seed)" same_text "$(cat "$name.tarn.status") $(tail -n 1 "$name.tarn.out")" "0 done"
    # each SIGQUIT is a dump; without TARN_DUMP they would be the complaints
    expect "  without a word" empty_file "$name.tarn.err"
    sed -n "/^round $((seconds / 20)):/p" "$name.tarn.out"
    tail -n 3 "$name.tarn.out"
    rm -f "$name".dump.*
}

plain bare "$victims/soak" 3 "$seed"
expect "the victim without tarn" same_text "$(cat bare.plain.status) $(tail -n 1 bare.plain.out)" "0 done"
soak "as tarn comes" $((part * 2)) default 4096
# what waits in quarantine counts as used
soak "hardened" "$part" hardened 300000 TARN_HARDEN=1
soak "no caches, a helper always there" "$part" nocache 4096 TARN_CACHE=0 TARN_HELPER=threads

exit $failed
