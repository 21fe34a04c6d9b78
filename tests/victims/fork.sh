#!/bin/bash
# fork.sh [FORKS]: fork (so often; 100), vfork, posix_spawn, popen and system in a storm of allocation by 8 threads.
. "$(dirname "$0")/../real/lib.sh"

bound=100
# lives WHAT VICTIM ARG...: the victim, first without tarn (is it right?), then with it: "done", and no complaint.
lives() {
    local what=$1 name=$2-${3:-}; shift
    plain "$name" "$victims/$1" "${@:2}"
    expect "$what: without tarn" same_text "$(cat "$name.plain.status") $(cat "$name.plain.out")" "0 done"
    tarn "$name" "$victims/$1" "${@:2}"
    expect "$what" same_text "$(cat "$name.tarn.status") $(cat "$name.tarn.out")" "0 done"
    expect "  without a word" empty_file "$name.tarn.err"
    expect "  served by pools" at_least "$(pooled_bytes "$name")" 65536
    echo "info: $name: plain $(cat "$name.plain.peak"); tarn $(cat "$name.tarn.peak")"
}
forks=${1:-100}
bound=$((forks / 2 + 100)) lives "$forks forks" fork storm "$forks"
lives "forks from four threads at once, and in forks" fork nested 12
lives "posix_spawn, vfork and exec, popen, system" fork spawn 15
lives "atfork handlers that allocate" fork handlers 15

# Their prepare runs after tarn's, their parent and child before it: as those of a library that a program is linked with.
bound=30 tarn early LD_PRELOAD="$library:$victims/libfork_early.so" "$victims/fork" handlers 40
expect "atfork handlers registered before tarn's" same_text "$(cat early.tarn.status) $(cat early.tarn.out)" "0 done"

lives "clone with CLONE_VM, as children and as vfork" clone

exit $failed
