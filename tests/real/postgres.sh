#!/bin/bash
# PostgreSQL under tarn: processes by fork, shared memory, many small contexts; its own answer to SIGQUIT, immediate
# shutdown, is unchanged. Run as somebody else where we are root, which it refuses.
. "$(dirname "$0")/lib.sh"

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
[ -x "$bin/postgres" ] && [ -x "$bin/initdb" ] && [ -x "$bin/psql" ] || skip "no postgres here"
as=()
if [ "$(id -u)" -eq 0 ]; then
    need setpriv
    as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
    chmod 777 "$scratch"
    "${as[@]}" test -r "$library" || skip "nobody can't read $library"
fi
"${as[@]}" "$bin/initdb" -D "$scratch/data" -U me -A trust --no-sync >initdb.out 2>&1 || skip "initdb: $(tail -n 1 initdb.out)"

cat >work.sql <<'END'
CREATE TABLE person AS SELECT i AS id, 'name-' || i * 7919 % 100003 AS name, repeat('x', i % 90) AS note
    FROM generate_series(1, 60000) i;
CREATE INDEX ON person(name);
UPDATE person SET note = note || name WHERE id % 3 = 0;
SELECT count(*), sum(length(note)), md5(string_agg(name || note, ',' ORDER BY id)) FROM person;
SELECT left(name, 6), count(*), array_agg(id ORDER BY id) FILTER (WHERE id < 300) FROM person GROUP BY 1 ORDER BY 1 LIMIT 20;
SELECT md5(json_agg(row_to_json(p) ORDER BY id)::text) FROM person p WHERE id % 7 = 0;
SELECT count(*) FROM person a JOIN person b ON left(a.name, 7) = left(b.name, 7) AND a.id < 2000;
DO $$ DECLARE t text := ''; BEGIN FOR i IN 1..5000 LOOP t := t || i; END LOOP; RAISE NOTICE '%', md5(t); END $$;
DROP TABLE person;
END

psql() { "$bin/psql" -h "$scratch" -U me -X -q postgres "$@"; }
says_one() { [ "$(psql -Atc 'SELECT 1')" = 1 ]; }

is_served() { at_least "$(pooled_bytes work)" 500000; }

# serve HOW [VAR=VALUE]...: starts, works with three clients at once, and is sent SIGQUIT.
serve() {
    local how=$1; shift
    env --default-signal=QUIT "$@" "${as[@]}" "$bin/postgres" -D "$scratch/data" -k "$scratch" -c listen_addresses= \
        -c fsync=off >"$how.log" 2>&1 &
    server=$!
    started=("$server")
    until_true 60 says_one || { echo "FAILED: $how: postgres does not answer"; cat "$how.log"; exit 1; }
    psql -f work.sql >"$how.out" 2>&1
    # what served us ends after psql does; it tells of its pools then, unless the shutdown comes first
    [ "$how" = plain ] || until_true 30 is_served
    postmaster=$(head -n 1 "$scratch/data/postmaster.pid")
    kill -QUIT "$postmaster"
    wait "$server"; status=$?
    started=()
    echo "status $status" >>"$how.out"
    grep -c 'received immediate shutdown request' "$how.log" >>"$how.out"
}
serve plain
serve tarn LD_PRELOAD="$library" TARN_STATS_AT_EXIT=1 TARN_DUMP="$scratch/work.dump.%p"

expect "the answers are the same, and the end" same_file plain.out tarn.out
expect "SIGQUIT is postgres' immediate shutdown" same_text "$(tail -n 1 tarn.out)" 1
expect "and no dump of tarn's" eval '! grep -q "SIGQUIT also" tarn.log work.dump.*'
expect "served by pools" is_served

exit $failed
