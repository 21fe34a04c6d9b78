"""What allocators make of the crimes of tests/victims/crimes.c. scripts/bench.sh --crimes is the way in."""
import argparse
import datetime
import os
import re
import subprocess

from allocators import Allocator, find, from_option, output_of
from report import readme_parts, write_readme

SIZES = ("40", "3000", "300000")
COMPARED = ("tarn", "glibc", "jemalloc", "mimalloc")
SECONDS = 20

# What may happen, the best first, as one letter for the table.
TOLD, STOPPED, HARMLESS, ENDED, CRASHED, HANGS, NOTHING = "told", "stopped", "zeroes", "ended", "crash", "hangs", "–"
ORDER = (TOLD, ENDED, STOPPED, HARMLESS, NOTHING, CRASHED, HANGS)
LEGEND = (f"**{TOLD}**: the report names the block (and the program goes on, but for an access that hits a guard page); "
          f"*{ENDED}*: the allocator ends the process with a word on what it found; *{STOPPED}*: the access faults; "
          f"*{HARMLESS}*: what was read, or left to read, is cleared; *{CRASHED}*: a fault "
          f"inside the allocator or later; {NOTHING}: nothing is noticed.")


def outcome(crime, status, out, err):
    """Of one run. A fault at the access itself was a guard page, if the crime is an access."""
    access = crime.startswith(("over", "under", "uaf"))
    if re.search(r"^tarn: .*0x[0-9a-f]+", err, re.M):
        return TOLD
    if status == -6 and err:
        return ENDED
    if status < 0:
        return STOPPED if access and "committed" not in out else CRASHED
    if "saw zeroes" in out:
        return HARMLESS
    return NOTHING


def commit(victim, allocator, crime, size):
    try:
        done = subprocess.run([victim, crime, size], env=allocator.environment(), capture_output=True, text=True,
                              errors="replace", timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return HANGS
    return outcome(crime, done.returncode, done.stdout, done.stderr)


def cell(victim, allocator, crime, rounds):
    """The worst of some runs for each size; one word where all sizes fare alike."""
    worst = [max((commit(victim, allocator, crime, size) for _ in range(rounds)), key=ORDER.index) for size in SIZES]
    shown = [f"**{word}**" if word == TOLD else word for word in worst]
    return shown[0] if len(set(shown)) == 1 else " / ".join(shown)


def crimes_of(victim):
    names = output_of(victim).split()
    return [name for name in names if name != "pool-mismatch"]  # nobody else has pools


def table(victim, allocators, rounds):
    lines = ["| crime | " + " | ".join(a.name for a in allocators) + " |",
             "| --- |" + " --- |" * len(allocators)]
    for crime in crimes_of(victim):
        cells = [cell(victim, allocator, crime, rounds) for allocator in allocators]
        lines.append(f"| {crime} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh --crimes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each crime; the worst counts")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=LIBRARY", help="as bench.sh's")
    parser.add_argument("--readme", nargs="?", const="README.md", metavar="FILE", help="put it between FILE's marks")
    for internal in ("--tarn", "--victim", "--command"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.readme:
        readme_parts(options.readme, "crimes")
    tarn = os.path.realpath(options.tarn)
    chosen = find(tarn, [], COMPARED)
    chosen.insert(1, Allocator("hardened", tarn, {"TARN_HARDEN": "1"}, ""))
    chosen += map(from_option, options.peer)
    text = "\n".join([
        f"On a block of {', '.join(SIZES[:-1])} and {SIZES[-1]} bytes, in this order where they differ; of {options.rounds} "
        "runs the worst.", "", table(options.victim, chosen, options.rounds), "", LEGEND, "",
        f"{datetime.date.today()}; tarn {chosen[0].version}; " +
        "; ".join(f"{a.name} {a.version}" for a in chosen[2:]) + f". Made by `{options.command}`.", ""])
    if options.readme:
        write_readme(options.readme, "crimes", text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
