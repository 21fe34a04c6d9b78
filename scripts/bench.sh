#!/bin/sh
# Measures tarn against glibc and Debian's jemalloc, mimalloc, tcmalloc and tbbmalloc, side by side: small workloads,
# whole programs and start-up. Tables in Markdown on stdout; --tsv, --svg and --readme write more.
# Three quarters of an hour; --quick does an eighth of the work in five minutes. Options: ./scripts/bench.sh --help
# --pools measures named pools instead, against malloc and against pools with a lock each: a minute.
# --crimes commits those of tests/victims/crimes.c under each allocator instead, and says what was noticed.
# TARN_LIB=path measures that library instead of building one.
set -eu

out=build/bench
c="${CC:-cc} -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -O2"
micro='-fno-builtin -fno-plt -pthread -Wl,-z,now'

# micro is linked with libc alone; micro-null is the same program on an allocator that does nothing. containers is
# micro's harness with lines in C++, bank a program in C++: without a C++ compiler they are left out.
# timed is static: it mustn't load what it measures.
build_tools()
{
    renamed='-Dmalloc=null_malloc -Dfree=null_free -Dcalloc=null_calloc -Drealloc=null_realloc'
    mkdir -p $out
    # shellcheck disable=SC2086 # the flags are words
    {
        $c $micro tests/bench/micro*.c -o $out/micro
        $c $micro $renamed tests/bench/micro*.c tests/bench/null.c -o $out/micro-null
        $c -static tests/bench/timed.c -o $out/timed
        $c tests/bench/hello.c -o $out/hello
        command -v "${CXX:-c++}" >/dev/null || return 0
        $c $micro -c tests/bench/micro.c -o $out/micro.o
        ${CXX:-c++} -std=c++17 -O2 $micro tests/bench/containers.cc $out/micro.o -o $out/containers
        ${CXX:-c++} -std=c++17 -O2 tests/bench/work/bank.cc -o $out/bank
    }
}

# pools-DESIGN-SIZE is micro on a pool. Those of tarn are linked with it, before libc: malloc is tarn's too.
build_pools()
{
    mkdir -p $out
    for design in tarn malloc mutex seed; do
        linked=
        case $design in
        tarn | malloc) linked="-Wl,--no-as-needed $tarn -Wl,-rpath,$(dirname "$tarn")" ;;
        esac
        for size in 64 256; do
            # shellcheck disable=SC2086 # the flags are words
            $c $micro -DBLOCK=$size -I include -include tests/bench/pools_$design.h tests/bench/micro*.c $linked \
                -o $out/pools-$design-$size
        done
    done
}

command="./scripts/bench.sh${*:+ $*}"
cd "$(dirname "$0")/.."
if [ "${1-}" = --pools ]; then
    shift
    ./scripts/bootstrap.sh test >&2
    tarn=$(realpath "${TARN_LIB:-$(./scripts/tarn lib)}")
    build_pools
    exec python3 tests/bench/pools.py --tarn "$tarn" --folder $out --command "$command" "$@"
fi
if [ "${1-}" = --crimes ]; then
    shift
    tarn=$(realpath "${TARN_LIB:-$(./scripts/tarn lib)}")
    mkdir -p $out
    ${CC:-cc} -O1 -fno-builtin -w -rdynamic tests/victims/crimes.c -o $out/crimes
    exec python3 tests/bench/crimes.py --tarn "$tarn" --victim $out/crimes --command "$command" "$@"
fi
# Who can't be had is left out by bench.py: a comparison with three is better than none.
./scripts/bootstrap.sh bench >&2 || echo "bench: going on with what is here" >&2
build_tools
exec python3 tests/bench/bench.py --build $out --tarn "${TARN_LIB:-$(./scripts/tarn lib)}" \
    --command "$command" "$@"
