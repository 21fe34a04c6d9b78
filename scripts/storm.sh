#!/bin/bash
# storm.sh [SECONDS [FORKS]]: tests/victims/storm.sh and fork.sh, which the tests run for 3 seconds and 100 forks, for ten and
# 10000, or as asked.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
"$top/scripts/bootstrap.sh" run
folder=$("$top/scripts/build.sh" release)
export LIBTARN=$folder/libtarn.so VICTIMS=$folder/victims
"$top/tests/victims/storm.sh" "${1:-10}"
"$top/tests/victims/fork.sh" "${2:-10000}"
