#!/bin/bash
# Settings, from outside: a program under the library with TARN_* variables, and exactly what it then says on stderr.
# Environment: LIBTARN or TARN_LIB (the library).
set -u

library=${LIBTARN:-${TARN_LIB:-}}
[ -f "$library" ] || { echo "settings.sh: no library"; exit 77; }
library=$(realpath "$library")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
passed=0 failed=0
ulimit -c 0

# preloaded [VAR=VALUE...]: a program under the library, in an environment of these alone; sets $status, and files
# `out` and `err`. `command` is what runs, if not echo.
command=(echo done)
preloaded() {
    env -i PATH="$PATH" LD_PRELOAD="$library" "$@" "${command[@]}" >out 2>err
    status=$?
}

# verdict WHAT CONDITION...: the command must succeed.
verdict() {
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $what: status $status"
        sed 's/^/  out: /' out
        sed 's/^/  err: /' err
    fi
}

same() { printf '%s' "$1" | cmp -s - "$2"; }
ran() { [ "$status" = 0 ] && same $'done\n' out && same "$1" err; }
stopped() { [ "$status" != 0 ] && same '' out && same "$1" err; }

# says LINES VAR=VALUE...: the program runs, and these lines are all that is said.
says() {
    local lines=$1
    shift
    preloaded "$@"
    verdict "$*" ran "$lines"
}

# ---- nothing is said unasked

says ''
says '' TARN_CACHE=64k TARN_MAX_POOLED=16k TARN_MINAVAIL=64:10 TARN_LIMIT=1G TARN_SIGNAL=USR2 TARN_DUMP=/dev/null \
    TARN_STATS_AT_EXIT=0 TARN_POOLS=byusage,5 TARN_MISUSE=ignore TARN_GC=1 TARN_STRICT=1 TARN_SHOW=0 TARN_HELP=0
says '' TARN_CLASSES=16-128/16,192,256,1k-8k/1k TARN_STRICT=1
says '' TARN_CLASSES=16-976/16 TARN_STRICT=1
says '' TARN_CLASSES=64k TARN_STRICT=1
says '' TARN_CLASSES=16 TARN_CACHE=0 TARN_STRICT=1
says '' TARN_MISUSE=abort

# ---- a bad value is one line

says $'tarn: TARN_CACHE=12q: expected a size from 0 to 1G (k, M, G); using 1M\n' TARN_CACHE=12q
says $'tarn: TARN_CACHE=: expected a size from 0 to 1G (k, M, G); using 1M\n' TARN_CACHE=
says $'tarn: TARN_CACHE=-1: expected a size from 0 to 1G (k, M, G); using 1M\n' TARN_CACHE=-1
says $'tarn: TARN_CACHE=99999999999G: expected a size from 0 to 1G (k, M, G); using 1M\n' TARN_CACHE=99999999999G
says $'tarn: TARN_MAX_POOLED=1M: expected a size from 16 to 64k; using 32k\n' TARN_MAX_POOLED=1M
says $'tarn: TARN_LIMIT=1k: expected none, or a size from 1M up (k, M, G, T); using none\n' TARN_LIMIT=1k
says $'tarn: TARN_CLASSES=16,24: expected default, or up to 61 ascending multiples of 16 up to 64k: sizes and FROM-TO/STEP; using default\n' \
    TARN_CLASSES=16,24
says $'tarn: TARN_MINAVAIL=64: expected none, or SIZE:BLOCKS,... with sizes up to 64k; using none\n' TARN_MINAVAIL=64
says $'tarn: TARN_SIGNAL=KILL: expected none, a name such as USR2 or RTMIN+1, or a number; not KILL, STOP, or one that reports a crash; using QUIT\n' \
    TARN_SIGNAL=KILL
says $'tarn: TARN_DUMP=/tmp/%d: expected a descriptor\'s number, or a file\'s path (%p is the pid, %% is %); using 2\n' \
    TARN_DUMP=/tmp/%d
says $'tarn: TARN_STATS_AT_EXIT=yes: expected 0 or 1; using 0\n' TARN_STATS_AT_EXIT=yes
says $'tarn: TARN_POOLS=bycolour: expected byname, bysize or byusage, match=PREFIX, detailed, a number of lines; using bysize\n' \
    TARN_POOLS=bycolour
says $'tarn: TARN_MISUSE=die: expected ignore, warn or abort; using warn\n' TARN_MISUSE=die
says $'tarn: TARN_DEBUG=tags: expected none, help, or words as in integrity,tag,poison=0x50,no-cache; using none\n' \
    TARN_DEBUG=tags
says $'tarn: TARN_GC=\\x1b[2J\\x0a: expected 0 or 1; using 1\n' TARN_GC=$'\e[2J\n'

# ---- names

says $'tarn: TARN_CASHE is not a setting; did you mean TARN_CACHE?\n' TARN_CASHE=1M
says $'tarn: TARN_FOO is not a setting; TARN_HELP=1 lists them\n' TARN_FOO=1
says '' XTARN_FOO=1 tarn_cache=1 TARN=1 LIBTARN=/lib

# ---- settings that contradict each other

says $'tarn: TARN_MAX_POOLED=8k: TARN_CLASSES ends at 4k; using TARN_CLASSES\n' TARN_MAX_POOLED=8k TARN_CLASSES=16,4k
says $'tarn: TARN_MINAVAIL=8k:1: no pool serves more than 4k; left out\n' TARN_CLASSES=16,4k TARN_MINAVAIL=8k:1,16:1

# ---- strict: all the lines, and the program does not begin

preloaded TARN_CACHE=12q TARN_STRICT=1 TARN_GC=2 TARN_CASHE=1
verdict "TARN_STRICT=1" stopped 'tarn: TARN_CASHE is not a setting; did you mean TARN_CACHE?
tarn: TARN_CACHE=12q: expected a size from 0 to 1G (k, M, G)
tarn: TARN_GC=2: expected 0 or 1
'

# ---- what took effect; each program of a pipeline says so, as it has the same environment

settings() {
    cat <<-END
	tarn: settings in effect (* from the environment)
	* TARN_CLASSES        16,32,48,4k
	  TARN_MAX_POOLED     4k
	  TARN_CACHE          1M
	* TARN_MINAVAIL       16:7
	* TARN_LIMIT          256M
	* TARN_SIGNAL         RTMIN+2
	* TARN_DUMP           /tmp/dump.%p
	  TARN_STATS_AT_EXIT  0
	* TARN_POOLS          byname,match=size
	* TARN_MISUSE         ignore
	* TARN_DEBUG          integrity,tag
	  TARN_HARDEN         none
	  TARN_GUARD_SAMPLE   0
	  TARN_GC             1
	  TARN_HELPER         auto
	  TARN_STRICT         0
	* TARN_SHOW           1
	  TARN_HELP           0
	END
}
says "$(settings)"$'\n' TARN_SHOW=1 TARN_CLASSES=16-48/16,4k TARN_MINAVAIL=16:7 TARN_LIMIT=256m TARN_SIGNAL=sigrtmin+2 \
    TARN_DUMP=/tmp/dump.%p TARN_MISUSE=ignore TARN_POOLS=byname,match=size TARN_DEBUG=tag,integrity
command=(bash -c '(echo done)')
preloaded TARN_SHOW=1
verdict "TARN_SHOW=1 says it once a program, not once a fork" test "$(grep -c 'settings in effect' err)" = 1
command=(echo done)

# ---- the table

preloaded TARN_HELP=1
verdict "TARN_HELP=1 lets the program run" test "$status,$(cat out)" = "0,done"
for name in CLASSES MAX_POOLED CACHE MINAVAIL LIMIT SIGNAL DUMP STATS_AT_EXIT POOLS MISUSE DEBUG HARDEN GUARD_SAMPLE GC HELPER STRICT SHOW HELP; do
    verdict "TARN_HELP=1 has TARN_$name" test "$(grep -c "^  TARN_$name  *[^ ]*  *[^ ]" err)" = 1
done
verdict "TARN_HELP=1 has 2 lines a setting" test "$(wc -l <err)" = 38

preloaded TARN_DEBUG=help,no-merge
verdict "TARN_DEBUG=help lets the program run" test "$status,$(cat out)" = "0,done"
verdict "TARN_DEBUG=help has a line a word" test "$(wc -l <err)" = 12
verdict "TARN_DEBUG=help marks what is on" test "$(grep '^\*' err | cut -c1-10)" = '* no-merge'

# ---- the lines do no harm

command=(sh -c 'sleep 0.1; exec env TARN_FOO=1 echo done >out')
env -i PATH="$PATH" LD_PRELOAD="$library" "${command[@]}" 2> >(exec true)
status=$?
: >err
verdict "a closed pipe for stderr does not end the program by SIGPIPE" ran ''
env -i PATH="$PATH" LD_PRELOAD="$library" TARN_FOO=1 echo done >out 2>&-
status=$?
verdict "nor does a closed stderr" ran ''

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
