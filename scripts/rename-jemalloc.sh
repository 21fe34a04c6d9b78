#!/bin/sh
# Makes of Debian's libjemalloc_pic.a one object that tarn can link in without anybody noticing:
#
#     rename-jemalloc.sh OUT.o [CC]
#
#   - without its C++ part (operator new; it would drag in libstdc++), and without mallctl and its statistics (half of
#     its text, and 962 of its 1020 relocations, which every process would pay for at start);
#   - its public names become tarn_je_NAME, all others local (the program may have a jemalloc of its own), but for
#     a few internal ones (je_NAME) that src/large_jemalloc.h accounts for;
#   - without its constructor: it starts with the first large request;
#   - what it asks of the world, other than harmless libc calls, goes to src/large_shims.c: memory and threads'
#     ends are tarn's business; the machine is not probed; profiling (libm, libgcc_s) is not wanted.
#
# Whatever the archive needs that is in neither list below stops the build: someone must decide about it.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 OUT.o [CC]" >&2
    exit 2
fi
out=$1
cc=${2:-cc}

fail() {
    echo "rename-jemalloc: $*" >&2
    exit 1
}

# What we call, by jemalloc's name for it.
wanted='mallocx xallocx sallocx dallocx nallocx malloc_conf'

internal='opt_cache_oblivious oversize_threshold arenas arena_set_extent_hooks arena_decay arena_emap_global
          malloc_mutex_postfork_child'

# References that become large_shim_NAME. Those of the first list must be there: without them jemalloc has another
# way to memory, or to a thread's end, than the one that we look after.
must='mmap munmap madvise mprotect sbrk pthread_key_create pthread_setspecific pthread_atfork pthread_self'
may='syscall open creat close readlink secure_getenv sched_getaffinity sched_setaffinity pthread_create dlsym atexit
     abort _exit exp log round _Unwind_Backtrace _Unwind_GetIP
     gettimeofday pthread_cond_wait pthread_cond_timedwait pthread_join pthread_setname_np
     je_ctl_boot je_ctl_prefork je_ctl_postfork_parent je_ctl_postfork_child je_ctl_byname je_ctl_bymib
     je_ctl_nametomib je_ctl_mtx_assert_held
     je_stats_boot je_stats_prefork je_stats_postfork_parent je_stats_postfork_child je_stats_print
     je_stats_interval_event_handler je_stats_interval_new_event_wait je_stats_interval_postponed_event_wait
     je_opt_stats_print je_opt_stats_print_opts je_opt_stats_interval je_opt_stats_interval_opts'

# Left to libc, and to the compiler's own static library: no memory, no files, no signals, no probing.
harmless='_GLOBAL_OFFSET_TABLE_ __aarch64_* __popcountdi2 __stack_chk_fail __stack_chk_guard __ctype_b_loc
          __errno_location __sched_cpucount clock_gettime getpid sysconf sched_getcpu sched_yield
          mem[a-z]* str[a-z]* strerror_r sigfillset pthread_sigmask pthread_mutex*
          pthread_cond_* pthread_getname_np'

command -v "$cc" >/dev/null || fail "no compiler '$cc'"
tool() {
    path=$("$cc" -print-prog-name="$1")
    command -v "$path" >/dev/null || fail "no $1 (Debian: binutils)"
    echo "$path"
}
ar=$(tool ar) ld=$(tool ld) nm=$(tool nm) objcopy=$(tool objcopy) objdump=$(tool objdump)

archive=$("$cc" -print-file-name=libjemalloc_pic.a)
[ -f "$archive" ] || fail "libjemalloc_pic.a not found (Debian: libjemalloc-dev)"
archive=$(realpath "$archive")

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/members"
(cd "$dir/members" && "$ar" x "$archive" && rm -f jemalloc_cpp.* ctl.* stats.*)
"$ld" -r -o "$dir/whole.o" "$dir"/members/*.o

"$nm" -g --defined-only "$dir/whole.o" | awk 'NF == 3 { print $3 }' | sort -u >"$dir/defined"
"$nm" -u "$dir/whole.o" | awk '{ print $NF }' | sort -u >"$dir/outside"
has() { grep -qx "$2" "$dir/$1"; }

for name in $wanted $(printf 'je_%s ' $internal); do
    has defined "$name" || fail "$archive does not define $name"
done
for name in $must; do
    has outside "$name" || fail "$archive does not use $name: not the jemalloc we know"
done
constructors=$("$objdump" -h "$dir/whole.o" | awk '$2 ~ /^\.(init_array|ctors|fini_array|dtors)/ { print $2 $3 }')
[ "$constructors" = .init_array00000008 ] || fail "expected one constructor, found: ${constructors:-none}"

# Every outside reference is redirected or known to be harmless.
set -f
while read -r name; do
    known=
    for ours in $must $may; do
        [ "$ours" != "$name" ] || known=ours
    done
    if [ -n "$known" ]; then
        echo "$name large_shim_$name" >>"$dir/renames"
        continue
    fi
    for pattern in $harmless; do
        # shellcheck disable=SC2254 # a pattern is meant
        case $name in $pattern) known=yes ;; esac
    done
    [ -n "$known" ] || fail "$archive needs $name: decide in $0 who answers"
done <"$dir/outside"
set +f

# Every global name but je_NAME is a public one.
grep -v '^je_' "$dir/defined" | sed 's/.*/& tarn_je_&/' >>"$dir/renames"
printf 'je_%s ' $internal | tr ' ' '\n' | sed 's/.*/& tarn_&/' >>"$dir/renames"

"$objcopy" --strip-debug --redefine-syms="$dir/renames" --remove-section=.init_array \
    --remove-section=.rela.init_array "$dir/whole.o" "$dir/renamed.o"
# Tried for small programs' sake, and not worth it: jemalloc's .text.unlikely behind tarn's own text (not a page fault
# fewer), and no .eh_frame of jemalloc's (16 KiB less resident, and no stack through it).
# The page map has a second name, at its end.
end=$("$nm" -S "$dir/renamed.o" | awk '$4 == "tarn_je_arena_emap_global" && $3 ~ /^[Bb]$/ { print "0x" $1 " + 0x" $2 }')
[ -n "$end" ] || fail "the page map is not a variable that starts as zeroes"
"$objcopy" --wildcard --keep-global-symbol='tarn_je_*' --add-symbol "tarn_je_arena_emap_end=.bss:$(($end)),global" \
    "$dir/renamed.o" "$dir/local.o"

left=$("$nm" -g --defined-only "$dir/local.o" | awk 'NF == 3 && $3 !~ /^tarn_je_/ { print $3 }')
[ -z "$left" ] || fail "still visible: $left"
mv "$dir/local.o" "$out"
