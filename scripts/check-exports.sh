#!/bin/bash
# check-exports.sh [--update]: what libtarn.so shows to the world, and what it asks of it.
#
#   - it exports tests/golden/exports.txt, no more and no less;
#   - it needs libc and the loader, and of them only what tests/golden/imports.txt lists;
#   - everything is bound at start and read-only afterwards, no text relocation, never unloaded;
#   - its thread-local storage is static, and small.
#
# LIBTARN is the library, build/libtarn.so if not given. --update rewrites the list of exports, and adds to that of
# imports: compilers differ in what they call (clang: bcmp). To start it anew, remove it and update with each.
set -euo pipefail
cd "$(dirname "$0")/.."
lib=${LIBTARN:-build/libtarn.so}
golden=tests/golden
tls_limit=4096 # of static TLS: the loader's surplus for dlopen is little more than 512, a preload's is its own
bad=0

complain()
{
    echo "$*"
    bad=1
}

names()
{
    nm -D "$1" "$lib" | awk '{ sub("@.*", "", $NF); print $NF }' | LC_ALL=C sort -u
}

touch $golden/exports.txt $golden/imports.txt # a list that is missing allows nothing
exports=$(names --defined-only)
imports=$(names --undefined-only)
[ -n "$exports" ] && [ -n "$imports" ]
if [ "${1-}" = --update ]; then
    echo "$exports" >$golden/exports.txt
    echo "$imports" | LC_ALL=C sort -u -o $golden/imports.txt $golden/imports.txt -
fi
diff $golden/exports.txt <(echo "$exports") || complain "exports differ from $golden/exports.txt"
more=$(echo "$imports" | LC_ALL=C comm -13 $golden/imports.txt -)
[ -z "$more" ] || complain "imports that are not in $golden/imports.txt:" $more

dynamic=$(readelf -dW "$lib")
needed=$(echo "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
for object in $needed; do
    case "$object" in
    libc.so.6 | ld-linux*) ;;
    *) complain "needs $object" ;;
    esac
done
echo "$dynamic" | grep -q 'FLAGS_1.*NOW.*NODELETE' || complain "not linked with -z now -z nodelete"
! echo "$dynamic" | grep -q TEXTREL || complain "text relocations"

segments=$(readelf -lW "$lib")
echo "$segments" | grep -q GNU_RELRO || complain "not linked with -z relro"
! echo "$segments" | grep -q 'GNU_STACK.*RWE' || complain "asks for an executable stack"
tls=$(($(echo "$segments" | awk '$1 == "TLS" { print $6 }') + 0))
echo "static TLS: $tls bytes"
[ "$tls" -le $tls_limit ] || complain "static TLS is over $tls_limit bytes"
! echo "$imports" | grep -q __tls_get_addr || complain "thread-local storage is not initial-exec"
exit $bad
