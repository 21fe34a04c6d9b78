#!/bin/bash
# soak.sh [SECONDS]: tests/victims/soak.sh, which the tests run for 8 seconds, for half an hour or so long.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
"$top/scripts/bootstrap.sh" run
folder=$("$top/scripts/build.sh" release)
LIBTARN=$folder/libtarn.so VICTIMS=$folder/victims exec "$top/tests/victims/soak.sh" "${1:-1800}"
