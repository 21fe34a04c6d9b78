#!/bin/bash
# test.sh [CONFIGURATION…]: installs what the tests need, builds, runs them, and counts. Without a word: all configurations.
#
#   release    every test, with gcc
#   clang      what depends on the compiler: the core, the victims, real programs
#   debug      what tarn's own checks (lock order, invariants) can find: the core, threads, forks, signals, limits
#   asan ubsan tsan    the tests of the core under a sanitizer
#   checked hardened   real programs, and what C and POSIX ask, under TARN_DEBUG=integrity,tag,poison and TARN_HARDEN=1
#   fuzz       the fuzzers, some seconds each, with clang; tests/fuzz/run.sh for longer
#
# The last line is "N passed, N failed, N skipped". A Criterion program counts as its tests; a script as the lines
# "ok: WHAT", "FAILED: WHAT" and "skipped: WHAT" that it prints, or as a last line like ours; any other test as one.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- release checked hardened clang debug asan ubsan tsan fuzz

# What the caller's shell happens to have set is no part of the test: a preload, settings, ignored signals.
unset LD_PRELOAD "${!TARN_@}"
export LC_ALL=C.UTF-8
ulimit -c 0

scripts/bootstrap.sh test
passed=0 failed=0 skipped=0

# Out of ctest's report, which has an element for each test with its output: a line for all that did not pass, with
# what the test said of it, the last that a failed one said besides, and then the three numbers.
count()
{
    awk '
    function close_test() {
        if (!told) { if (status == "run") p = 1; else if (status == "fail") f = 1; else s = 1 }
        if (status == "fail" && f == 0) f = 1
        if (f && !named) print "    failed:  " name
        if (s && !named) print "    skipped: " name ": " first
        for (i = (n > 20 ? n - 19 : 1); f && i <= n; i++) print "      | " said[i]
        passed += p; failed += f; skipped += s
    }
    /<testcase / {
        match($0, / name="[^"]*"/); name = substr($0, RSTART + 7, RLENGTH - 8)
        match($0, / status="[^"]*"/); status = substr($0, RSTART + 9, RLENGTH - 10)
        p = f = s = told = named = n = 0; first = ""
    }
    sub(/^.*<system-out>/, "") { output = 1 }
    { closed = sub(/<\/system-out>.*/, ""); gsub(/&apos;/, "\047"); gsub(/&quot;/, "\"") }
    { gsub(/&lt;/, "<"); gsub(/&gt;/, ">"); gsub(/&amp;/, "\\&") }
    output && first == "" { first = $0 }
    output && !/^(ok|FAILED|skipped): |^\[PASS\]|^\[RUN/ { said[++n] = $0 }
    closed { output = 0 }
    /^ok: / { p++; told = 1 }
    /^FAILED: / { f++; told = named = 1; print "    failed:  " name ": " substr($0, 9) }
    /^skipped: / { s++; told = named = 1; print "    skipped: " name ": " substr($0, 10) }
    /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { p = $1; f = $3; s = $5; told = 1 }
    /Synthesis: .*Tested:/ {
        gsub(/[^0-9|]/, ""); split($0, counts, "|")
        p += counts[2]; f += counts[3] + counts[4]; told = 1
    }
    /<\/testcase>/ { close_test() }
    END { print passed + 0, failed + 0, skipped + 0 }' "$1"
}

for configuration; do
    case "$configuration" in
    clang) set -- release --compiler clang ;;
    fuzz) set -- fuzz --compiler clang ;;
    checked | hardened) set -- release ;;
    *) set -- "$configuration" ;;
    esac
    # The whole must end within 15 minutes on CI: what release has shown, and another build can't show otherwise, is
    # left out by name.
    settings= which=. leave_out='^source$' but_not='^$'
    case "$configuration" in
    release) leave_out='^$' ;;
    clang) but_not='[.](crimes|fault_.*|gc|gcc|limits|refused|selfbuild|soak)$' ;; # the kernel's doing, or minutes
    debug) leave_out='^(source|real)$' but_not='[.](crimes|gc|loaded|refused|settings|show|soak|uaf)$' ;;
    checked | hardened)
        # Not those whose scripts have settings of their own (crimes, debug, refused, settings, soak, uaf); what takes minutes
        # (gc, gcc, selfbuild, storm, threads); and what counts bytes (family, limits, locks): here blocks take more, and those that
        # wait in quarantine are in use.
        which='^(real|examples|victims)[.]'
        but_not='[.](crimes|debug|family|gc|gcc|limits|locks|refused|selfbuild|settings|soak|storm|threads|uaf'
        ;;&
    checked) settings=TARN_DEBUG=integrity,tag,poison but_not+='|idle)$' ;; # what notes take is not given back
    hardened) settings=TARN_HARDEN=1 but_not+=')$' ;;
    esac
    begun=$SECONDS
    if ! folder=$(scripts/build.sh "$@"); then
        echo "$configuration: the build failed"
        failed=$((failed + 1))
        continue
    fi
    report=$folder/report-$configuration.xml said=$folder/report-$configuration.txt
    rm -f "$report"
    env --default-signal SETTINGS="$settings" ctest --test-dir "$folder" -j "$(nproc)" -LE "$leave_out" \
        -R "$which" -E "$but_not" --no-tests=error \
        --output-junit "$report" --test-output-size-passed 4000000 --test-output-size-failed 4000000 \
        --output-on-failure --progress >"$said" 2>&1 </dev/null || true
    if [ ! -s "$report" ]; then
        tail -n 5 "$said"
        failed=$((failed + 1))
        continue
    fi
    lines=$(count "$report")
    read -r p f s <<<"${lines##*$'\n'}"
    printf '%-8s %4d passed, %d failed, %d skipped (%d s)\n' "$configuration" "$p" "$f" "$s" $((SECONDS - begun))
    [ "$lines" = "${lines%$'\n'*}" ] || echo "${lines%$'\n'*}"
    [ "$f" = 0 ] || echo "    see $said"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
