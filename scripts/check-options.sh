#!/bin/bash
# check-options.sh [--update]: the README's table of settings is the one that the program has.
# The program is the one next to the library, which is LIBTARN, or build/libtarn.so.
set -eu
cd "$(dirname "$0")/.."
library=${LIBTARN:-build/libtarn.so}
table=$("$(dirname "$library")/options_table")
[ -n "$table" ]

grep -q '^<!-- options:begin -->$' README.md && grep -q '^<!-- options:end -->$' README.md ||
    { echo "README.md: no lines <!-- options:begin --> and <!-- options:end -->" && exit 1; }
new=$(mktemp)
trap 'rm -f "$new"' EXIT
TABLE=$table awk '
/^<!-- options:end -->$/ { inside = 0 }
!inside { print }
/^<!-- options:begin -->$/ { inside = 1; print ENVIRON["TABLE"] }' README.md >"$new"
if [ "${1-}" = --update ]; then
    cat "$new" >README.md
fi
diff README.md "$new" || { echo "README.md is behind: scripts/check-options.sh --update" && exit 1; }
