#!/bin/bash
# The examples do what they say, and the README's line compiles one of them.
# Environment: LIBTARN (the library; the examples are in the folder examples beside it).
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/real/lib.sh"
examples=$(dirname "$library")/examples

# run NAME [VAR=VALUE]... COMMAND: it must succeed, silent on stderr.
run() {
    plain "$@"
    expect "$1: succeeds" same_text "$(cat "$1.plain.status")" 0
    expect "$1: without a complaint" empty_file "$1.plain.err"
}

run fifteen "$examples/fifteen"
expect "fifteen: one of its two blocks is used" matches 'Pool session (208 bytes) .* 1 used,' fifteen.plain.out

cp "$top/tests/examples/fifteen.c" app.c
build=$(dirname "$library")
expect "the README's command compiles it" ${CC:-cc} -I "$top/include" app.c -L "$build" -ltarn -Wl,-rpath,"$build"
run app ./a.out
expect "app: the same" matches 'Pool session (208 bytes) .* 1 used,' app.plain.out

run server "$examples/server"
for pool in 'connection (16 bytes)' 'request (112 bytes)'; do
    expect "server: shows its pool $pool, nothing of it used" matches "Pool $pool .* 0 used," server.plain.out
done

if [ -x "$examples/names" ]; then
    run names TARN_STATS_AT_EXIT=1 TARN_DUMP="$scratch/names.dump" "$examples/names"
    expect "names: two classes, one pool" matches '^one pool, 2 used; aligned, 1 used$' names.plain.out
    for said in 'Pool circle (304 bytes) .* 2 used,' square 'Pool row (192 bytes) .* 1 used,' names.cc; do
        expect "names: its dump says $said" matches "$said" names.plain.out
    done
    expect "names: the dump at exit has its pool" matches 'Pool circle ' names.dump
    expect "  and malloc's" matches 'Pool size-' names.dump
else
    echo "skipped: names: no C++ compiler"
fi

exit $failed
