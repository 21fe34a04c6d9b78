#!/bin/bash
# libtarn_locks.so counts what locks cost: each process ends with a table of them, and one with threads has them all.
. "$(dirname "$0")/../real/lib.sh"

library=$(dirname "$library")/libtarn_locks.so
bound=60
tarn cross "$victims/threads" cross
expect "the program ends as ever" same_text "$(cat cross.tarn.status) $(tail -n 1 cross.tarn.out)" "0 done"

# taken NAME: by how many a lock of that name was taken, held for a nanosecond at least, and waited for no more often.
taken() { awk -F '\t' -v name="^$1\$" '$1 ~ name && $3 > 0 && $6 <= $2 { n += $2 } END { print n + 0 }' cross.tarn.err; }
expect "a pool's lock was taken for each magazine" at_least "$(taken "size-[0-9]*")" 100
expect "the registry's twice for each thread" at_least "$(taken threads)" 4
expect "the bookkeeping's" at_least "$(taken meta)" 10

exit $failed
