# What the scripts share that run one victim at a time and look at how it ended and what it said; the rest is in
# tests/real/lib.sh.
. "$(dirname "$0")/../real/lib.sh"

# bare VICTIM [ARG...], preloaded [VAR=VALUE | env's option=VALUE]... VICTIM [ARG...]: runs it; sets $status, and files
# `out` and `err`.
bare() {
    { timeout 60 "$victims/$1" "${@:2}" >out 2>err; } 2>shell # the shell's remark on a victim that died
    status=$?
}
preloaded() {
    local settings=()
    while [[ $1 == *=* ]]; do settings+=("$1"); shift; done
    { timeout -k 5 "${bound:-60}" env ${SETTINGS:-} env "${settings[@]}" LD_PRELOAD="$library" "$victims/$1" "${@:2}" >out 2>err
    } 2>shell
    status=$?
}

# expect WHAT COMMAND...: the command must succeed; else the victim's words are shown.
expect() {
    local what=$1; shift
    if "$@"; then
        echo "ok: $what"
    else
        failed=1
        echo "FAILED: $what"
        echo "  $* (status $status, out: $(head -c 300 out))"
        head -c 1500 err | sed 's/^/  | /'
    fi
}

exits() { [ "$status" -eq "$1" ]; }
lives() { exits 0 && grep -qx 'done' out; }
silent() { [ ! -s "${1:-err}" ]; }
