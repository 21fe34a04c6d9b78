#!/bin/bash
# Programs in narrow or odd surroundings: confined.c without tarn, then with it. What the machine does not allow is
# skipped, and says why.
. "$(dirname "$0")/../real/lib.sh"
bound=60
chmod 755 "$scratch" # some of them become nobody

# why FILE: the reason that a skipped run gave.
why() { head -n 1 "$1"; }

# lives WHAT NAME COMMAND...: ends with "done", without tarn and with it, and without a complaint.
lives() {
    local what=$1 name=$2; shift 2
    plain "$name" "$@"
    if [ "$(cat "$name.plain.status")" -eq 77 ]; then echo "skipped: $what: $(why "$name.plain.out")"; return 1; fi
    expect "$what: without tarn" same_text "$(cat "$name.plain.status") $(tail -n 1 "$name.plain.out")" "0 done"
    run_as tarn "$name" LD_PRELOAD="$library" "$@"
    if [ "$(cat "$name.tarn.status")" -eq 77 ]; then echo "skipped: $what: $(why "$name.tarn.out")"; return 1; fi
    expect "$what" eval 'cat "$name.tarn.err"; same_text "$(cat "$name.tarn.status") $(tail -n 1 "$name.tarn.out")" "0 done"'
}
quiet() { lives "$@" && expect "  without a word" empty_file "$2.tarn.err"; }
confined=$victims/confined

quiet "RLIMIT_NPROC: threads are refused, also the helper" nproc "$confined" nproc
quiet "RLIMIT_STACK: 96 KiB" stack "$confined" stack
quiet "max_map_count used up, then nearly" maps "$confined" maps
if quiet "seccomp: calls for memory and waiting alone, the others are ENOSYS" seccomp "$confined" seccomp enosys; then
    # Not without tarn: glibc's free looks in /proc when it shrinks a heap.
    for helper in auto 0; do
        run_as tarn trapped TARN_HELPER=$helper LD_PRELOAD="$library" "$confined" seccomp trap
        expect "  and tarn tries no other (TARN_HELPER=$helper)" \
            eval 'cat trapped.tarn.err; [ "$(cat trapped.tarn.status)" -eq 0 ]'
    done
    # guard pages are made by mprotect
    [ -n "${SETTINGS:-}" ] || quiet "  and makes no thread where the program may not" alone "$confined" alone
fi
quiet "no /proc" noproc "$confined" noproc

for mode in "locked all" "locked onfault" little; do
    quiet "mlockall, $mode" "locked-$mode" "$confined" $mode || continue
    # a tag's notes are not given back, nor what is locked while it waits in quarantine
    [ -n "${SETTINGS:-}" ] || expect "  resident at most twice what glibc has" at_most "$(awk '/^locked/ { print $2 }' "locked-$mode.tarn.out")" \
        $((2 * $(awk '/^locked/ { print $2 }' "locked-$mode.plain.out")))
done

mkdir root && chmod 755 root
lives "an empty root, and another user" chroot "$confined" chroot "$scratch/root" &&
    expect "  can still be asked" matches '^Total:' chroot.tarn.err

# ---- standard descriptors closed, and taken by a file
for how in plain tarn; do
    $how closed "$confined" closed "$scratch/taken"
    expect "a file is 0, 1 and 2: $how" same_text "$(cat closed.$how.status)" 0
    expect "  and stays empty" empty_file taken
    rm -f taken
done
for fds in '<&-' '>&-' '2>&-' '<&- >&-' '<&- >&- 2>&-'; do
    eval "LD_PRELOAD=$library timeout 60 $confined work $fds" >closed.out 2>closed.err
    expect "started with $fds" same_text $? 0
    expect "  without a word" empty_file closed.err
done
if [ -w /dev/full ]; then
    LD_PRELOAD=$library TARN_SHOW=1 TARN_STATS_AT_EXIT=1 timeout 60 "$confined" work 2>/dev/full >/dev/full
    expect "nobody can read what it says" same_text $? 0
fi

# ---- set-uid: neither the library by LD_PRELOAD nor its settings count
if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
    echo "skipped: set-uid: not root, or no setpriv"
else
    as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
    cp "$confined" set-uid
    cp "$victims/../examples/fifteen" set-uid-linked # a program linked with tarn
    chmod 4755 set-uid set-uid-linked
    as_nobody env LD_PRELOAD="$library" TARN_DUMP="$scratch/root/dump" ./set-uid secure >secure.out 2>secure.err
    if [ "$(head -n 1 secure.out)" != "secure 1" ]; then
        echo "skipped: set-uid: not heeded here ($(head -n 1 secure.out secure.err | tr '\n' ' '))"
    else
        expect "set-uid: works" same_text "$(tail -n 1 secure.out)" done
        expect "  without a word of tarn's" eval '! grep tarn: secure.err'
        as_nobody ./set-uid-linked >linked.plain 2>&1
        as_nobody env TARN_SHOW=1 TARN_STATS_AT_EXIT=1 TARN_DUMP="$scratch/root/dump" TARN_NONSENSE=1 \
            ./set-uid-linked >linked.set 2>&1
        expect "set-uid, linked with tarn: settings are not heeded" eval '! grep "TARN_\|^tarn:" linked.set'
        expect "  nor is more said" same_text "$(wc -l <linked.set)" "$(wc -l <linked.plain)"
        expect "  and no file is written" same_text "$(ls root)" ""
    fi
fi

# ---- a memory cgroup of either kind
group=
leave() { [ -z "$group" ] || rmdir "$group"; cleanup; }
trap leave EXIT
if mkdir "/sys/fs/cgroup/memory/tarn-$$" 2>/dev/null; then
    group=/sys/fs/cgroup/memory/tarn-$$
    limit=$group/memory.limit_in_bytes
elif mkdir "/sys/fs/cgroup/tarn-$$" 2>/dev/null; then
    group=/sys/fs/cgroup/tarn-$$
    limit=$group/memory.max
fi
if [ -z "$group" ] || ! echo 64M 2>/dev/null >"$limit"; then
    echo "skipped: memory cgroup: none to be made in /sys/fs/cgroup"
else
    quiet "a cgroup of 64 MB: work" cgroup-work sh -c "echo \$\$ >$group/cgroup.procs; exec $confined work"
    [ -n "${SETTINGS:-}" ] || quiet "a cgroup of 64 MB: 40 MB of one size after another" cgroup-rounds \
        sh -c "echo \$\$ >$group/cgroup.procs; exec $confined rounds"
fi

# ---- strict overcommit is the whole machine's: not for a test to set. RLIMIT_DATA in limits.sh counts the same mappings.
mode=$(cat /proc/sys/vm/overcommit_memory 2>/dev/null)
if [ "$mode" = 2 ]; then
    quiet "strict overcommit" overcommit "$confined" work
else
    echo "skipped: strict overcommit: vm.overcommit_memory is $mode here, and all of the machine's"
fi

exit $failed
