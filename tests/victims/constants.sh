#!/bin/bash
# TARN_HARDEN=read-only: a stray write to what tarn knows since its start ends the process; without it, it does not.
. "$(dirname "$0")/../real/lib.sh"

need nm

# written NAME BYTES SETTING...: the victim writes so many bytes behind where NAME begins; prints its status.
written() {
    local begin
    begin=$(nm "$library" | awk -v name="$1" '$3 == name { print $1 }')
    [ -n "$begin" ] || { echo "no $1"; return; }
    { LD_PRELOAD=$library env "${@:3}" "$victims/constants" "$(printf %x $((0x$begin + $2)))" >/dev/null; } 2>/dev/null
    echo $?
}

for name in options class_map region pooled_max pooled_end class_count restart_word secret last_thread backtrace_into class_table; do
    expect "$name can be written" same_text "$(written $name 0 TARN_HARDEN=1,no-read-only)" 0
    expect "  and hardened not" same_text "$(written $name 0 TARN_HARDEN=1)" 139
done
expect "nor can the last class's size" same_text "$(written class_table $((24 * 45)) TARN_HARDEN=read-only)" 139
expect "a pool's counters can" same_text "$(written pools 300 TARN_HARDEN=1)" 0
expect "what the program may change it can" same_text "$(LD_PRELOAD=$library TARN_HARDEN=1 "$victims/constants")" 'done'
exit $failed
