# What the scripts of tests/real, and some of tests/victims, share: where things are, a scratch directory that is the
# working directory, expectations, and one command run without tarn and with it.
# Environment: LIBTARN or TARN_LIB (the library), VICTIMS or TARN_BUILD/victims (the victims' directory), SETTINGS
# (NAME=VALUE..., of tarn, for all that runs under it).
set -u

library=${LIBTARN:-${TARN_LIB:-}}
victims=${VICTIMS:-${TARN_BUILD:-}/victims}
unset "${!TARN_@}" # the library would call TARN_LIB an unknown setting
export LC_ALL=C
ulimit -c 0

skip() { echo "$(basename "$0"): skipped: $*"; exit 77; }

[ -f "$library" ] || skip "no library"
[ -x "$victims/peak" ] || skip "no victims"

scratch=$(mktemp -d)
started=() # processes to end if the script ends before them
cleanup() {
    [ ${#started[@]} -eq 0 ] || kill -KILL "${started[@]}" 2>/dev/null
    rm -rf "$scratch"
}
trap cleanup EXIT
cd "$scratch" || exit 1
failed=0

# need PROGRAM...: a script without its program is skipped.
need() {
    local program
    for program; do command -v "$program" >/dev/null || skip "no $program here"; done
}

# expect WHAT COMMAND...: the command must succeed; what it prints says why it does not.
expect() {
    local what=$1 said; shift
    if said=$("$@" 2>&1); then
        echo "ok: $what"
    else
        failed=1
        echo "FAILED: $what"
        echo "  $*"
        head -c 1500 <<<"$said" | sed 's/^/  | /'
    fi
}

# at_most / at_least VALUE BOUND: integers; anything else fails.
at_most() { echo "$1, at most $2"; [ "$1" -le "$2" ]; }
at_least() { echo "$1, at least $2"; [ "$1" -ge "$2" ]; }
same_file() { diff -q "$1" "$2" || { diff --text "$1" "$2" | head -20; return 1; }; }
same_text() { echo "'$1' and '$2'"; [ "$1" = "$2" ]; }
empty_file() { head -c 1000 "$1"; [ ! -s "$1" ]; }
matches() { head -c 1000 "$2"; grep -q -- "$1" "$2"; }

# plain NAME COMMAND..., tarn NAME [VAR=VALUE]... COMMAND...: runs the command with the input `NAME.in`, if there is
# one, and leaves files NAME.HOW.{out,err,status,peak}, HOW being plain or tarn; under tarn also the dumps of all its
# processes, NAME.dump.PID.
run_as() {
    local how=$1 name=$2 input=/dev/null; shift 2
    [ "$how" = plain ] || set -- ${SETTINGS:-} "$@"
    [ ! -f "$name.in" ] || input=$name.in
    timeout -k 5 "${bound:-250}" "$victims/peak" "$name.$how.peak" env "$@" \
        <"$input" >"$name.$how.out" 2>"$name.$how.err"
    echo $? >"$name.$how.status"
}
plain() { run_as plain "$@"; }
tarn() {
    local name=$1; shift
    rm -f "$name".dump.*
    run_as tarn "$name" LD_PRELOAD="$library" TARN_STATS_AT_EXIT=1 TARN_DUMP="$scratch/$name.dump.%p" "$@"
}

# The most bytes that any of a command's processes had out of pools, as it exited or was asked.
pooled_bytes() {
    awk '/^Total: / { if ($4 + 0 > most) most = $4 + 0 } END { print most + 0 }' "$1".dump.* 2>/dev/null || echo 0
}

# alike NAME: both runs ended, spoke and complained alike; tarn was there, and served at least $2 bytes (64 KiB).
alike() {
    local name=$1
    [ -z "${SETTINGS:-}" ] || set -- "$1" # with a tag or a canary, fewer blocks fit into pools
    expect "$name: the same exit status" same_file "$name.plain.status" "$name.tarn.status"
    expect "$name: the same output" same_file "$name.plain.out" "$name.tarn.out"
    expect "$name: the same complaints" same_file "$name.plain.err" "$name.tarn.err"
    expect "$name: served by pools" at_least "$(pooled_bytes "$name")" "${2:-65536}"
    echo "info: $name: plain $(cat "$name.plain.peak"); tarn $(cat "$name.tarn.peak")"
}

# both NAME BYTES COMMAND...: all of the above.
both() {
    local name=$1 bytes=$2; shift 2
    plain "$name" "$@"
    tarn "$name" "$@"
    expect "$name: runs without tarn" same_text "$(cat "$name.plain.status")" 0
    alike "$name" "$bytes"
}

# Bytes of memory that are nobody's but the process's: what it allocated, and its stacks and data.
anonymous_rss() { awk '/^RssAnon/ { print $2 * 1024 }' "/proc/$1/status"; }

# until_true SECONDS COMMAND...: waits for it; false if it does not come.
until_true() {
    local turns=$(($1 * 20)); shift
    while ! "$@" >/dev/null 2>&1; do
        [ $((turns--)) -gt 0 ] || return 1
        sleep 0.05
    done
}
