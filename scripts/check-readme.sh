#!/bin/bash
# check-readme.sh [--update]: the README's example is tests/examples/fifteen.c, and has fifteen lines.
set -eu
cd "$(dirname "$0")/.."
source=tests/examples/fifteen.c
[ "$(wc -l <$source)" = 15 ] || { echo "$source: not fifteen lines" && exit 1; }

grep -q '^<!-- fifteen:begin -->$' README.md && grep -q '^<!-- fifteen:end -->$' README.md ||
    { echo "README.md: no lines <!-- fifteen:begin --> and <!-- fifteen:end -->" && exit 1; }
new=$(mktemp)
trap 'rm -f "$new"' EXIT
awk -v source=$source '
/^<!-- fifteen:end -->$/ { inside = 0 }
!inside { print }
/^<!-- fifteen:begin -->$/ {
    inside = 1
    print "```c"
    while ((getline line <source) > 0) print line
    print "```"
}' README.md >"$new"
if [ "${1-}" = --update ]; then
    cat "$new" >README.md
fi
diff README.md "$new" || { echo "README.md is behind: scripts/check-readme.sh --update" && exit 1; }
