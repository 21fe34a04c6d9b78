#!/bin/bash
# git under tarn: a history made twice with fixed dates gives the same hashes; repack (threads), gc, fsck, log.
. "$(dirname "$0")/lib.sh"
need git

cat >work.sh <<'END'
set -e
export HOME=$PWD/home GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
    GIT_COMMITTER_EMAIL=a@b GIT_ADVICE=0
mkdir -p home
rm -rf repository; mkdir repository; cd repository
git init -q -b main .
git config gc.auto 0; git config pack.threads 4
for ((commit = 1; commit <= 12; commit++)); do
    awk -v c="$commit" 'BEGIN {
        for (f = 0; f < 120; f++) {
            name = "file" f ".txt"
            for (l = 0; l < 60; l++) print "commit", f % c, "file", f, "line", l, (l * 7919 * (f + 1)) % 10007 > name
            close(name)
        }
    }'
    head -c $((commit * 60000)) < <(yes "a large file that grows $((commit / 3))") >large
    git add -A
    export GIT_AUTHOR_DATE="2020-01-01T00:00:$((10 + commit))Z" GIT_COMMITTER_DATE="2020-01-01T00:00:$((10 + commit))Z"
    git commit -q -m "commit $commit"
done
git checkout -q -b side HEAD~5
echo side >side.txt; git add side.txt; git commit -q -m side
git checkout -q main; git merge -q -m merge side
git repack -q -a -d -f --depth=20 --window=30
git fsck --full --strict 2>&1
git log --all --stat --format='%H %T %s' | cksum
git log -p --format=%H | cksum
git rev-parse HEAD
git ls-tree -r HEAD | cksum
git blame file7.txt | cksum
git diff HEAD~7 HEAD | cksum
git clone -q . ../copy.$$ 2>&1; git -C ../copy.$$ rev-parse HEAD; rm -rf ../copy.$$
git archive HEAD | cksum
git grep -c "line 5" | cksum
END
both work 100000 bash work.sh
expect "the history ends in a hash" matches '^[0-9a-f]\{40\}$' work.tarn.out

exit $failed
