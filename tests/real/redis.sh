#!/bin/bash
# redis-server under tarn, under load: the data is what it is without tarn, SIGQUIT shows where it lies, and what is
# deleted goes back to the system.
. "$(dirname "$0")/lib.sh"
need redis-server redis-benchmark redis-cli awk

socket=$scratch/redis.sock
cli() { redis-cli -s "$socket" "$@"; }
answers() { [ "$(cli PING)" = PONG ]; }

# Commands of all data types, the same in each run; values from a byte to 40 kB.
awk 'BEGIN {
    x = 12345
    for (pad = "0123456789"; length(pad) < 40000; pad = pad pad) ;
    for (i = 0; i < 60000; i++) {
        x = (x * 16807) % 2147483647; k = x % 20000; size = x % 97; if (x % 500 == 0) size = x % 40000
        value = i substr(pad, 1, size)
        kind = i % 9
        if (kind == 0) print "SET s:" k " " value
        else if (kind == 1) print "APPEND s:" k " " value
        else if (kind == 2) print "LPUSH l:" k % 700 " " value
        else if (kind == 3) print "HSET h:" k % 900 " f" k " " value
        else if (kind == 4) print "ZADD z:" k % 300 " " k " m" i
        else if (kind == 5) print "SADD t:" k % 400 " " value
        else if (kind == 6) print "DEL s:" x % 19997
        else if (kind == 7) print "SETRANGE r:" k % 50 " " x % 30000 " " value
        else print "RPOP l:" k % 700
    }
}' >commands

# serve HOW [VAR=VALUE]...: starts the server, with the default of SIGQUIT, which bash ignores for what it sends to the
# background; loads; leaves the files HOW.*. Database 0 holds the commands' data, 1 the benchmark's.
serve() {
    local how=$1; shift
    rm -f dump.rdb # or it would be loaded
    env --default-signal=QUIT "$@" redis-server --port 0 --unixsocket "$socket" --save "" --appendonly no --dir "$scratch" \
        --enable-debug-command yes --io-threads 2 >"$how.log" 2>"$how.err" &
    server=$!
    started=("$server")
    until_true 60 answers || { echo "FAILED: $how: redis-server does not answer"; cat "$how.log" "$how.err"; exit 1; }
    cli --pipe <commands >"$how.pipe"
    redis-benchmark -s "$socket" --dbnum 1 -q -r 30000 -n 30000 -P 16 -c 20 -d 100 \
        -t set,get,incr,lpush,rpush,lpop,sadd,hset,zadd,lrange_100 | tr '\r' '\n' | grep 'per second' >"$how.benchmark"
    redis-benchmark -s "$socket" --dbnum 1 -q -r 1500 -n 3000 -c 20 -d 5000 -t set,get |
        tr '\r' '\n' | grep 'per second' >>"$how.benchmark"
    cli BGSAVE >"$how.save" # its child forks off a server with threads
    until_true 60 eval 'cli INFO persistence | grep -q "rdb_bgsave_in_progress:0"'
    cli INFO persistence | grep -E '^rdb_last_bgsave_status' >>"$how.save"
    examine "$how"
}

examine() {
    {
        cli DEBUG DIGEST-VALUE s:1 s:2 l:3 h:7 z:1 t:9 r:4
        cli SCAN 0 COUNT 100000 | sed 1d | sort | cksum
        cli DBSIZE
        cli MGET s:3 s:5 s:7 s:11 r:1
        cli LRANGE l:1 0 -1
        cli HGETALL h:1 | sort
        cli ZRANGE z:1 0 -1 WITHSCORES
    } >"$1.data"
}

leave() {
    cli SHUTDOWN NOSAVE 2>/dev/null
    wait "$server"; status=$?
    started=()
}

serve plain
plain_rss=$(anonymous_rss "$server")
cli -n 1 FLUSHDB >flush; cli DEBUG DIGEST >plain.digest
leave

serve tarn LD_PRELOAD="$library"
tarn_rss=$(anonymous_rss "$server")
echo "info: redis RSS: plain $plain_rss, tarn $tarn_rss"
paste -d ' ' plain.benchmark tarn.benchmark | sed 's/^/info: /'

expect "all commands were taken" matches 'errors: 0, replies: 60000' tarn.pipe
expect "the data is the same" same_file plain.data tarn.data
expect "a background save works" matches 'rdb_last_bgsave_status:ok' tarn.save
if command -v redis-check-rdb >/dev/null; then
    expect "and saved a good file" redis-check-rdb dump.rdb
fi
expect "nothing is printed unasked" empty_file tarn.err

kill -QUIT "$server"
expect "redis answers after SIGQUIT" answers
expect "a dump came" until_true 30 grep -q 'not ours' tarn.err
expect "which says why" matches 'SIGQUIT also flushes' tarn.err
expect "many pools hold the data" at_least "$(grep -c 'Pool size-.* [1-9][0-9]* used' tarn.err)" 12
used=$(awk '/^Total:/ { print $7; exit }' tarn.err)
expect "megabytes of it" at_least "$used" 15000000
cli DEBUG RELOAD >reload
expect "all data survives a save and load" matches OK reload
examine tarn
expect "with every value" same_file plain.data tarn.data
cli -n 1 FLUSHDB >flush
cli DEBUG DIGEST >tarn.digest
expect "the digest of everything is the same" same_file plain.digest tarn.digest

full=$(anonymous_rss "$server")
cli FLUSHALL SYNC >flush
kill -QUIT "$server"
until_true 30 eval '[ "$(grep -c "not ours" tarn.err)" -eq 2 ]'
gave_back() { answers; at_most "$(anonymous_rss "$server")" $((tarn_rss / 3)); }
until_true 10 gave_back
expect "a second SIGQUIT gives back what was deleted" gave_back
echo "info: RSS $tarn_rss loaded, $full before FLUSHALL, $(anonymous_rss "$server") after SIGQUIT"
expect "two dumps in all" same_text "$(grep -c '^Dumping' tarn.err)" 2
expect "redis answers still" answers
expect "and takes data" same_text "$(cli SET a b)" OK
leave
expect "redis ends as asked" same_text "$status" 0

exit $failed
