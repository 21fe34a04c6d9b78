#!/bin/bash
# build.sh [PRESET] [--compiler gcc|clang] [--target TARGET]: configures and builds; prints the build's folder.
#
# PRESET is release (the default), debug, asan, ubsan, tsan or fuzz (clang's). The folder is build/ for release by gcc, and
# build-PRESET/ or build-PRESET-clang/ otherwise.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
preset=release compiler=gcc target=all

while [ $# -gt 0 ]; do
    case "$1" in
    --compiler) compiler=${2:?--compiler gcc or clang} && shift ;;
    --target) target=${2:?--target NAME} && shift ;;
    *) preset=$1 ;;
    esac
    shift
done
case "$compiler" in
gcc) cxx=g++ suffix= ;;
clang) cxx=clang++ suffix=-clang ;;
*) echo "tarn: compiler '$compiler' is unknown; accepted are gcc and clang" >&2 && exit 2 ;;
esac
folder=$top/build-$preset$suffix
[ "$preset$suffix" != release ] || folder=$top/build

# The compiler is not to run under tarn, nor under any other library.
unset LD_PRELOAD "${!TARN_@}"

# An unknown preset is CMake's to refuse: it has the list.
set -- -S "$top" -B "$folder" -G Ninja -DPRESET="$preset" -DCMAKE_C_COMPILER="$compiler"
if command -v "$cxx" >/dev/null; then
    set -- "$@" -DCMAKE_CXX_COMPILER="$cxx"
fi
# One at a time: two programs may be started under tarn at once before it is built.
exec 9<"$top/CMakeLists.txt"
flock 9
cmake "$@" --log-level=NOTICE >/dev/null
output=$(cmake --build "$folder" --target "$target" -- --quiet 2>&1) || { echo "$output" >&2 && exit 1; }
echo "$folder"
