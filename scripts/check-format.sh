#!/bin/bash
# check-format.sh [--update]: every C file is as clang-format leaves it. (options.def is a table, and keeps its shape.)
set -eu
cd "$(dirname "$0")/.."
command -v clang-format >/dev/null || { echo "clang-format is not installed" && exit 77; }

bad=0
for file in $(find include src preload tests -name '*.[ch]' -o -name '*.cc'); do
    if [ "${1-}" = --update ]; then
        clang-format -i "$file"
    elif ! clang-format "$file" | cmp -s - "$file"; then
        echo "$file: not formatted; scripts/check-format.sh --update"
        bad=1
    fi
done
exit $bad
