#!/bin/bash
# What is loaded beside tarn, before it, after it, or in its place: plugins, auditors, other mallocs, sanitizers, valgrind.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../real/lib.sh"
bound=200
loaded=$victims/loaded confined=$victims/confined own=$victims/libown_malloc.so

# ends HOW NAME STATUS: the run's status and last line.
ends() { same_text "$(cat "$2.$1.status") $(tail -n 1 "$2.$1.out")" "$3"; }

# works WHAT NAME [VAR=VALUE]... COMMAND...: ends with "done", without tarn and with it. A variable LD_PRELOAD says what
# else is preloaded, with @ for tarn. lives: and without a complaint.
works() {
    local what=$1 name=$2; shift 2
    plain "$name" "${@//@/}"
    expect "$what: without tarn" ends plain "$name" "0 done"
    case "$*" in
    *LD_PRELOAD=*) run_as tarn "$name" "${@//@/$library}" ;;
    *) run_as tarn "$name" LD_PRELOAD="$library" "$@" ;;
    esac
    expect "$what" eval 'head -c 500 "$name.tarn.err"; ends tarn "$name" "0 done"'
}
lives() { works "$@" && expect "  without a word" empty_file "$2.tarn.err"; }

# ---- dlopen
lives "libraries that allocate as they come and go" plugins "$loaded" plugins 30
lives "RTLD_DEEPBIND: its own pairs" deep "$loaded" deep
run_as tarn deep-cross LD_PRELOAD="$library" "$loaded" deep-cross
# It has glibc's malloc, and frees there what libc had of ours: as under every other malloc that is preloaded. With which word
# glibc ends it, or whether it comes to one, hangs on what lies before the block: under TARN_HARDEN that is a secret.
case $(cat deep-cross.tarn.status) in
134 | 139) echo "differs: RTLD_DEEPBIND: blocks that cross: $(head -n 1 deep-cross.tarn.err)" ;;
*) expect "RTLD_DEEPBIND: blocks that cross are said to end the program" false ;;
esac
lives "tarn loads where it is already" itself "$loaded" itself "$library"
expect "  as it is" matches '^came' itself.tarn.out
plain itself-late "$loaded" itself "$library"
expect "tarn comes late: refused, for its thread-local memory" matches 'static TLS' itself-late.plain.out
expect "  and the program goes on" ends plain itself-late "0 done"
room=GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096
plain itself-room $room "$loaded" itself "$library"
expect "tarn comes late where there is room: its pools work" matches '^came' itself-room.plain.out
expect "  and the program's malloc stays" ends plain itself-room "0 done"

# ---- an auditor: the loader then lays out thread-local memory before it knows what is preloaded
auditor=LD_AUDIT=$victims/libaudit.so
lives "LD_AUDIT" audit $room $auditor "$loaded" plugins 10
lives "LD_AUDIT, in a program with threads" audit-work $room $auditor "$confined" work

# ---- other mallocs
lives "another malloc preloaded before" other-first LD_PRELOAD="$own:@" "$confined" work
lives "another malloc preloaded after" other-last LD_PRELOAD="@:$own" "$confined" work
lives "another malloc, and plugins" other-plugins LD_PRELOAD="$own:@" "$loaded" plugins 10
tracer=$victims/libtracer.so
for preload in "$tracer:@" "@:$tracer"; do
    lives "functions that malloc calls allocate themselves, ${preload//$victims\//}" tracer LD_PRELOAD="$preload" "$confined" work
done
buffer=/usr/libexec/coreutils/libstdbuf.so
[ ! -f $buffer ] || for preload in "$buffer:@" "@:$buffer"; do
    lives "stdbuf's library, $preload" stdbuf _STDBUF_O=0 LD_PRELOAD="$preload" "$confined" work
done

# built NAME COMPILER ARG...: compiles for a test; what can't be compiled here is skipped.
built() {
    local name=$1; shift
    command -v "$1" >/dev/null || { echo "skipped: $name: no $1"; return 1; }
    "$@" -O1 -g -w -D_GNU_SOURCE -pthread -fno-builtin -I"$here" "$here/confined.c" -o "$name" 2>build.err && return
    echo "skipped: $name can't be built: $(head -n 1 build.err)"
    return 1
}
! built own cc -rdynamic "$here/libown_malloc.c" || lives "a program with its own malloc" own ./own work
! built static cc -static || lives "a static program" static ./static work

# ---- sanitizers. Their own malloc serves where the runtime is part of the program; as a library it is hidden by ours.
for kind in address thread; do
    ! built clang-$kind clang -fsanitize=$kind || lives "clang's -fsanitize=$kind" clang-$kind ./clang-$kind work
done
# Its runtime remarks that tarn installs a signal handler before it has started itself.
! built clang-undefined clang -fsanitize=undefined || works "clang's -fsanitize=undefined" ub ./clang-undefined work
! built gcc-undefined gcc -fsanitize=undefined || lives "gcc's -fsanitize=undefined" gcc-undefined ./gcc-undefined work
for kind in address thread; do
    built gcc-$kind gcc -fsanitize=$kind || continue
    run_as tarn gcc-$kind LD_PRELOAD="$library" ./gcc-$kind work
    expect "gcc's -fsanitize=$kind: ends before it starts" [ "$(cat gcc-$kind.tarn.status)" -ne 0 ]
    expect "  with one line" same_text "$(wc -l <gcc-$kind.tarn.err)" 1
    runtime=$(ldd gcc-$kind | awk '/lib[at]san/ { print $3 }')
    lives "  but with its library before" gcc-$kind LD_PRELOAD="$runtime:@" ./gcc-$kind work
done

if readelf -p .comment "$library" | grep -q clang; then
    echo "skipped: valgrind: it can't read what clang tells debuggers"
elif command -v valgrind >/dev/null; then
    lives "valgrind, no tool" none valgrind -q --tool=none "$confined" work
    lives "valgrind" memcheck valgrind -q --error-exitcode=9 "$loaded" plugins 3
else
    echo "skipped: valgrind: none here"
fi

exit $failed
