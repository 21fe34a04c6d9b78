#!/bin/sh
# Measures tarn against glibc and Debian's jemalloc, mimalloc, tcmalloc and tbbmalloc, side by side: small workloads,
# whole programs and start-up. Tables in Markdown on stdout; --tsv, --svg and --readme write more.
# Three quarters of an hour; --quick does an eighth of the work in five minutes. Options: ./scripts/bench.sh --help
# TARN_LIB=path measures that library instead of building one.
set -eu

# micro is linked with libc alone; micro-null is the same program on an allocator that does nothing. containers is
# micro's harness with lines in C++, bank a program in C++: without a C++ compiler they are left out.
# timed is static: it mustn't load what it measures.
build_tools()
{
    out=build/bench
    c="${CC:-cc} -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -O2"
    micro='-fno-builtin -fno-plt -pthread -Wl,-z,now'
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

command="./scripts/bench.sh${*:+ $*}"
cd "$(dirname "$0")/.."
# Who can't be had is left out by bench.py: a comparison with three is better than none.
./scripts/bootstrap.sh bench >&2 || echo "bench: going on with what is here" >&2
build_tools
exec python3 tests/bench/bench.py --build build/bench --tarn "${TARN_LIB:-$(./scripts/tarn lib)}" \
    --command "$command" "$@"
