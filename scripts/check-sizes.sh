#!/bin/bash
# check-sizes.sh: no file over 450 lines, no function over 60.
# .clang-format puts a function's braces, and nothing else's that is as long, alone in the first column.
set -eu
cd "$(dirname "$0")/.."

awk '
FNR > 450 && !long[FILENAME]++ { complain(FILENAME ": over 450 lines") }
/^{/ { begun = FNR }
/^}$/ {
    if (begun && FNR - begun - 1 > 60) complain(FILENAME ":" begun ": a function of " FNR - begun - 1 " lines")
    begun = 0
}
function complain(what) { print what; bad = 1 }
END { exit bad }' include/* src/* preload/*
