#!/bin/bash
# bash under tarn does what it does without: loops, arrays, subshells, pipes, traps, one of them of SIGQUIT.
. "$(dirname "$0")/lib.sh"

cat >work.sh <<'END'
declare -A seen
for ((i = 0; i < 20000; i++)); do
    list[i]=$((i * 7919 % 20011))
    seen[key$((i % 4999))]+=x
done
echo "${#list[@]} ${#seen[@]} ${#seen[key17]} ${list[19999]}"
for k in "${!seen[@]}"; do echo "$k=${seen[$k]}"; done | sort | cksum
text=
for ((i = 0; i < 3000; i++)); do text+="line $i of a growing text"$'\n'; done
echo "${#text} ${text//growing/shrinking}" | cksum
printf '%s\n' "${list[@]}" | sort -n | uniq | awk '{ n += $1 } END { print n, NR }'
for ((i = 0; i < 60; i++)); do
    x=$(echo "$i $(echo "nested $i $(printf '%*s' "$i" x)")")
    echo "$x"
done | cksum
( exit 3 ); echo "status $?"
mapfile -t lines < <(seq 1 50000); echo "${#lines[@]} ${lines[49999]}"
f() { local depth=$1; [ "$depth" -eq 0 ] && { echo bottom; return; }; f $((depth - 1)); }
f 200
x=$(printf 'a%.0s' {1..300000}); echo "${#x}"; [[ $x =~ ^a+$ ]] && echo matched
unset list seen text lines x
coproc cat; echo through >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"
trap 'echo "caught QUIT"' QUIT
trap 'echo "caught USR1"' USR1
kill -QUIT $$; kill -USR1 $$; kill -QUIT $$
( trap - QUIT; kill -QUIT "$BASHPID"; echo "the subshell ignores it, as bash does" )
trap '' QUIT; kill -QUIT $$; echo "ignored"
trap 'echo the end' EXIT
END
both work 1000000 bash work.sh
expect "the trap of QUIT was heard twice" same_text "$(grep -cx 'caught QUIT' work.tarn.out)" 2

exit $failed
