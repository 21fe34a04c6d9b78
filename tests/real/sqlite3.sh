#!/bin/bash
# sqlite3 under tarn: a large database in memory, indexes, joins, updates, deletes, text; its dump compared.
. "$(dirname "$0")/lib.sh"
need sqlite3

cat >work.in <<'END'
PRAGMA temp_store = memory;
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, town INTEGER, note TEXT);
CREATE TABLE town (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
    INSERT INTO town SELECT i, 'town-' || (i * 7919 % 100003) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
    INSERT INTO person SELECT i, 'name-' || (i * 104729 % 1000003), i * 31 % 2000 + 1,
        substr(hex(zeroblob(200)) || 'x', 1, i * 13 % 120) FROM n;
CREATE INDEX by_name ON person(name);
CREATE INDEX by_town ON person(town, name);
UPDATE person SET note = note || name || note WHERE id % 5 = 0;
DELETE FROM person WHERE id % 7 = 3;
SELECT count(*), sum(length(note)), min(name), max(name) FROM person;
SELECT t.name, count(*) AS c, group_concat(substr(p.name, 6, 2), '') FROM person p JOIN town t ON t.id = p.town
    GROUP BY t.name ORDER BY c DESC, t.name LIMIT 50;
SELECT count(*) FROM (SELECT DISTINCT substr(name, 1, 8) || note FROM person);
SELECT count(*) FROM person a JOIN person b ON a.name = b.name;
CREATE TABLE blobs (b);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO blobs SELECT zeroblob(i * 50000) FROM n;
SELECT count(*), sum(length(b)) FROM blobs;
DROP TABLE blobs;
BEGIN; DELETE FROM person WHERE id > 100000; ROLLBACK;
VACUUM;
PRAGMA integrity_check;
.dump
END
both work 1000000 sqlite3 -batch :memory:
expect "the database is whole" matches '^ok$' work.tarn.out
expect "and is all there" at_least "$(grep -c 'INSERT INTO person' work.tarn.out)" 128000

exit $failed
