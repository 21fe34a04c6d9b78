#!/bin/bash
# Little memory: programs start and run, what can't be had is NULL, and what was freed can be had again as something else.
. "$(dirname "$0")/../real/lib.sh"
need prlimit

M=$((1 << 20))
bound=200

# ---- ordinary programs within limits print what they print without them
cat >work.sh <<'END'
for ((i = 0; i < 3000; i++)); do a[i]=$((i * i)); done
echo "${#a[@]} ${a[2999]} $(echo nested $(seq 1 200 | sort -rn | head -3))"
END
cat >work.pl <<'END'
my %h; $h{$_ % 1009} .= "v$_," for 1 .. 10000; my $n = 0; $n += length $h{$_} for keys %h; print "$n\n";
END
cat >work.py <<'END'
d = {str(i): [i] * (i % 7) for i in range(5000)}
print(sum(len(v) for v in d.values()), len("x" * 300000))
END
echo 'create table t(x); with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
insert into t select i from n; select sum(x), count(*) from t;' >work.in

# within LIMIT NAME COMMAND...: a command whose output under tarn within prlimit's LIMIT is that without both. Where the
# limit is too small for the command without tarn, there is nothing to compare.
within() {
    local limit=$1 name=$2; shift 2
    command -v "$1" >/dev/null || { echo "skipped: no $1"; return; }
    plain "$name" "$@"
    mv "$name.plain.out" "$name.unlimited"
    plain "$name" prlimit "$limit" "$@"
    [ "$(cat "$name.plain.status")" -eq 0 ] || { echo "skipped: $name can't run with $limit without tarn either"; return; }
    tarn "$name" prlimit "$limit" "$@"
    expect "$name runs with $limit" same_text "$(cat "$name.tarn.status")" 0
    expect "  with the same output" same_file "$name.unlimited" "$name.tarn.out"
    expect "  and no complaint" same_file "$name.plain.err" "$name.tarn.err"
}
python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null || echo python3)
for limit in --as=$((64 * M)) --as=$((256 * M)) --as=$((4096 * M)) --data=$((8 * M)); do
    within "$limit" small "$victims/limits" work 30000
    within "$limit" large "$victims/limits" work 100000
    within "$limit" bash bash work.sh
    within "$limit" perl perl work.pl
    # Its own start takes half of 8 MB; tarn needs 2 MB more of RLIMIT_DATA than glibc (README, limits).
    case "$limit" in --data*) echo 'print(sum(range(1000)))' >work.py ;; esac
    within "$limit" python3 env PYTHONMALLOC=malloc "$python" -I -S work.py
    cp work.in sqlite3.in; within "$limit" sqlite3 sqlite3 :memory:
done

# ---- at the end of memory. victim WHAT [SETTING=VALUE]... COMMAND...: must exit 0; its stderr says what it met.
victim() {
    local what=$1; shift
    tarn victim "$@"
    expect "$what" eval 'cat victim.tarn.err; [ "$(cat victim.tarn.status)" -eq 0 ]'
}
fails() {
    local what=$1; shift
    tarn victim "$@"
    expect "$what" eval 'cat victim.tarn.err; [ "$(cat victim.tarn.status)" -eq 1 ]'
}
as() { echo "prlimit --as=$(($1 * M)) $victims/limits"; }

for size in 48 600 5000 30000 100000 1000000; do
    victim "RLIMIT_AS: blocks of $size until NULL and ENOMEM, and again as many" $(as 256) exhaust $size
    victim "TARN_LIMIT: the same" TARN_LIMIT=64M "$victims/limits" exhaust $size
    expect "  and never above it" at_most "$(awk '/^peak/ { print $2 }' victim.tarn.out)" $((64 * M + 4 * M))
done
victim "RLIMIT_DATA: the same" prlimit --data=$((32 * M)) "$victims/limits" exhaust 600
victim "  and hardened, whose fences count once they are opened" TARN_HARDEN=1 prlimit --data=$((32 * M)) "$victims/limits" exhaust 600
victim "RLIMIT_AS: every call of the family refuses, and the old block stays" $(as 256) refuse
victim "TARN_LIMIT: the same" TARN_LIMIT=64M "$victims/limits" refuse

# ---- a limit that is raised once the program runs; from where the loader just finds room on
loaded=0 poor=0 ill=
for ((limit = 4 * M; limit < 12 * M && loaded < 40; limit += M / 16)); do
    LD_PRELOAD=$library timeout 60 prlimit --as=$limit:$((4096 * M)) "$victims/limits" raise >raise.out 2>raise.err
    status=$?
    ! grep -q 'preloaded\|shared libraries\|allocate TLS' raise.err || continue
    loaded=$((loaded + 1))
    case $status in
    0) ;;
    3) poor=$((poor + 1)) ;;
    *) ill="$ill $limit: status $status, $(head -c 200 raise.err);" ;;
    esac
done
expect "RLIMIT_AS, raised later: all can be had then ($loaded limits)" eval 'echo "$ill"; [ -z "$ill" ] && [ $loaded -eq 40 ]'
expect "  also where nothing could be had at the start" at_least $poor 3

# ---- what was freed in one size can be had in another, because gc takes it from caches, depots and jemalloc
for sizes in "131072 48" "1000000 5000" "48 600" "600 48" "48 20000" "48 131072" "5000 1000000"; do
    victim "TARN_LIMIT: full of one size, then of the other ($sizes)" TARN_LIMIT=64M "$victims/limits" refill $sizes
    victim "RLIMIT_AS: the same" $(as 128) refill $sizes
    [ "${sizes%% *}" -le 32768 ] || continue # jemalloc gives its memory back of itself
    # of more than 8 MB the depot gives up what it has without gc
    fails "  and without gc it fails" TARN_GC=0 TARN_LIMIT=6M "$victims/limits" refill $sizes
done
for sizes in "48 600" "600 5000" "48 20000" "1000 131072" "196608 1048576"; do
    victim "8 threads at once, within 80 % of the limit: nobody sees a NULL ($sizes)" \
        TARN_LIMIT=64M "$victims/limits" threads $sizes $((64 * M))
done

exit $failed
