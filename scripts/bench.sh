#!/bin/sh
# Measures tarn against glibc and Debian's jemalloc, mimalloc and tcmalloc, and prints a Markdown table.
# Six minutes at most; --quick takes a quarter. Options: ./scripts/bench.sh --help
# --programs measures whole programs instead: CPU seconds and peak memory.
# TARN_LIB=path measures that library instead of building one.
set -eu

# micro is linked with libc alone; micro-null is the same program on an allocator that does nothing.
build_micro() {
    flags='-std=gnu17 -D_GNU_SOURCE -Wall -Wextra -O2 -fno-builtin -fno-plt -pthread -Wl,-z,now'
    renamed='-Dmalloc=null_malloc -Dfree=null_free -Dcalloc=null_calloc -Drealloc=null_realloc'
    mkdir -p build/bench
    # shellcheck disable=SC2086 # the flags are words
    ${CC:-cc} $flags tests/bench/micro*.c -o build/bench/micro
    # shellcheck disable=SC2086
    ${CC:-cc} $flags $renamed tests/bench/micro*.c tests/bench/null.c -o build/bench/micro-null
    # The lines in C++ are the same harness with another table.
    command -v "${CXX:-c++}" >/dev/null || return 0
    # shellcheck disable=SC2086
    ${CC:-cc} $flags -c tests/bench/micro.c -o build/bench/harness.o
    ${CXX:-c++} -std=c++17 -D_GNU_SOURCE -O2 -fno-builtin -fno-plt -pthread -Wl,-z,now \
        tests/bench/containers.cc build/bench/harness.o -o build/bench/containers
}

command="./scripts/bench.sh${*:+ $*}"
cd "$(dirname "$0")/.."
# A peer that can't be had is left out by compare.py: a comparison with three is better than none.
./scripts/bootstrap.sh bench >&2 || echo "bench: going on with the peers that are here" >&2
build_micro
tarn=${TARN_LIB:-$(./scripts/tarn lib)}
if [ "${1-}" = --programs ]; then
    shift
    exec python3 tests/bench/programs.py --tarn "$tarn" "$@"
fi
exec python3 tests/bench/compare.py --micro build/bench/micro --null build/bench/micro-null --tarn "$tarn" \
    --command "$command" "$@"
