#!/bin/bash
# bootstrap.sh [run|demo|test|bench]: installs the Debian packages that a purpose needs and that are missing.
#
#   run     build the library and run programs under it (the default)
#   demo    run, and redis for `scripts/tarn run`
#   test    demo, and all that scripts/test.sh uses
#   bench   test, and the other allocators and the programs that bench.sh compares
#
# Says nothing and needs no rights when nothing is missing.
set -eu

run='gcc libc6-dev binutils cmake ninja-build libjemalloc-dev libunwind-dev'
demo="$run redis-server redis-tools"
test="$demo g++ clang libclang-rt-dev clang-format clang-tidy libcriterion-dev python3 sqlite3 perl git procps"
bench="$test libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4 libtbbmalloc2
    ruby lua5.4 nodejs ghostscript memcached postgresql"

fail()
{
    echo "tarn: $*" >&2
    exit 1
}

case "${1:-run}" in
run | demo | test | bench) purpose=${1:-run} ;;
*) fail "bootstrap.sh knows run, demo, test and bench, not '$1'" ;;
esac
wanted=${!purpose}

command -v dpkg-query >/dev/null ||
    fail "this is not Debian; please install what corresponds to: $wanted"
installed=" $(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $wanted 2>/dev/null |
    awk '$2 == "installed" { printf "%s ", $1 }') "
missing=
for package in $wanted; do
    case "$installed" in
    *" $package "*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || fail "not root, and no sudo without a password; as root: apt-get install$missing"
    exec sudo -n "$0" "$purpose"
fi

log=$(mktemp)
guard=
trap 'rm -f "$log" $guard' EXIT
trap 'exit 1' INT TERM HUP

# Packages with a daemon start it when they are installed, in a chroot too; Debian asks this file first.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    guard=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 755 "$guard"
fi

install()
{
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@"
}

# A release of Debian that lacks one of bench's packages still gives the others.
install_what_there_is()
{
    [ "$purpose" = bench ] || return 1
    refused=
    for package in $missing; do
        install "$package" || refused="$refused $package"
    done
    missing=$refused
    [ -z "$missing" ]
}

echo "tarn: installing$missing" >&2
{ install $missing || { apt-get update -q && { install $missing || install_what_there_is; }; }; } >"$log" 2>&1 </dev/null ||
    fail "can't install$missing (offline?): $(grep -m 1 -e 'Failed to fetch' "$log" || tail -n 1 "$log")"
