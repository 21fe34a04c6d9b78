#!/bin/sh
# Measures tarn against glibc and Debian's jemalloc, mimalloc and tcmalloc, and prints a Markdown table.
# Six minutes at most; --quick takes a quarter. Options: ./scripts/bench.sh --help
# --programs measures whole programs instead: CPU seconds and peak memory.
# --pools measures named pools instead, against malloc and against pools with a lock each: a minute.
# TARN_LIB=path measures that library instead of building one.
set -eu

flags='-std=gnu17 -D_GNU_SOURCE -Wall -Wextra -O2 -fno-builtin -fno-plt -pthread -Wl,-z,now'

# micro is linked with libc alone; micro-null is the same program on an allocator that does nothing.
build_micro() {
    renamed='-Dmalloc=null_malloc -Dfree=null_free -Dcalloc=null_calloc -Drealloc=null_realloc'
    mkdir -p build/bench
    # shellcheck disable=SC2086 # the flags are words
    ${CC:-cc} $flags tests/bench/micro*.c -o build/bench/micro
    # shellcheck disable=SC2086
    ${CC:-cc} $flags $renamed tests/bench/micro*.c tests/bench/null.c -o build/bench/micro-null
}

# pools-DESIGN-SIZE is micro on a pool. Those of tarn are linked with it, before libc: malloc is tarn's too.
build_pools() {
    mkdir -p build/bench
    for design in tarn malloc mutex seed; do
        linked=
        case $design in
        tarn | malloc) linked="-Wl,--no-as-needed $tarn -Wl,-rpath,$(dirname "$tarn")" ;;
        esac
        for size in 64 256; do
            # shellcheck disable=SC2086 # the flags are words
            ${CC:-cc} $flags -DBLOCK=$size -I include -include tests/bench/pools_$design.h tests/bench/micro*.c \
                $linked -o build/bench/pools-$design-$size
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
    exec python3 tests/bench/pools.py --tarn "$tarn" --folder build/bench --command "$command" "$@"
fi
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
