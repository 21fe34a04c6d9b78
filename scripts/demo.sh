#!/bin/bash
# demo.sh: Debian's redis-server under redis-benchmark, without and with tarn; then what kill -QUIT prints.
# Started by `scripts/tarn run`. Uses a socket in a folder of its own, and leaves nothing behind.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
"$top/scripts/bootstrap.sh" demo

room=$(mktemp -d)
server=
clean()
{
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$room"
}
trap clean EXIT
trap 'exit 1' INT TERM HUP

rounds=3
load='-n 300000 -c 50 -P 16 -d 100 -r 100000 -t set,get,lpush'

# start NAME [RUNNER…]: a server on $room/NAME, its pid in $server.
start()
{
    name=$1
    shift
    "$@" redis-server --port 0 --unixsocket "$room/$name" --dir "$room" --save '' --appendonly no \
        >"$room/$name.log" 2>"$room/$name.err" &
    server=$!
    for _ in $(seq 100); do
        [ "$(redis-cli -s "$room/$name" ping 2>/dev/null)" != PONG ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    echo "tarn: redis-server did not start:" >&2
    cat "$room/$name.log" "$room/$name.err" >&2
    exit 1
}

# measure NAME: loads the server; adds a line "what value" for each figure to $room/NAME.figures.
measure()
{
    redis-benchmark -s "$room/$1" $load --csv |
        awk -F'"' '$2 != "test" { printf "%s_requests/s %d\n", $2, $4 }' >>"$room/$1.figures"
    awk '$1 == "VmRSS:" { print "RSS_kB", $2 }' "/proc/$server/status" >>"$room/$1.figures"
}

stop()
{
    kill "$server"
    wait "$server" || true
    server=
}

echo "Debian's redis-server, whose own malloc is jemalloc, loaded by: redis-benchmark $load"
echo "The most of $rounds rounds in turn."
for round in $(seq $rounds); do
    start without
    measure without
    stop
    start with "$top/scripts/tarn" run --
    measure with
    [ "$round" = $rounds ] || stop
done
kill -QUIT "$server"
for _ in $(seq 20); do
    sleep 0.1
    [ ! -s "$room/with.err" ] || break
done
stop

echo
printf '%-24s %12s %12s %8s\n' '' 'without tarn' 'with tarn' 'ratio'
paste "$room/without.figures" "$room/with.figures" | awk '
    !($1 in without) { order[++count] = $1 }
    $2 > without[$1] { without[$1] = $2 }
    $4 > with[$1] { with[$1] = $4 }
    END {
        for (i = 1; i <= count; i++) {
            what = order[i]; name = what; sub("_", " ", name)
            printf "%-24s %12d %12d %8.2f\n", name, without[what], with[what], with[what] / without[what]
        }
    }'
echo
echo "kill -QUIT, with tarn:"
cat "$room/with.err"
