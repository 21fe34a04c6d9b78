#!/bin/bash
# check-analysis.sh: clang-tidy, which .clang-tidy tells what to look for, and gcc's -fanalyzer find nothing in src/,
# preload/ and what they include. Tests are left out: they misuse memory on purpose.
#
# Each file is looked at as gcc's release build compiles it: compile_commands.json is next to the library, which is
# LIBTARN, or build/libtarn.so if not given.
set -eu
cd "$(dirname "$0")/.."
command -v clang-tidy >/dev/null || { echo "clang-tidy is not installed" && exit 77; }
folder=$(dirname "${LIBTARN:-build/libtarn.so}")

# "clang-tidy …" and "gcc …" for each file, as one line of shell each. One file to a clang-tidy: with more it mistakes
# the second one's va_list.
jobs=$(sed -nE 's!^ *"command": "(.*) -o .* -c (.*/(src|preload)/[^/]*[.]c)",?$!\
clang-tidy -p "'"$folder"'" --quiet \2\
\1 -fanalyzer -o /dev/null -c \2!p' "$folder/compile_commands.json")
[ -n "$jobs" ] || { echo "$folder/compile_commands.json has none of our files" && exit 1; }

xargs -d '\n' -n 1 -P "$(nproc)" sh -c 'said=$(eval "$1" 2>&1) || { printf "%s\n" "$said"; exit 1; }' sh <<<"$jobs" || exit 1
