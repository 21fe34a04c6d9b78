#!/usr/bin/env python3
"""Run micro on named pools and on what they stand against, by turns, and write the table. scripts/bench.sh --pools.

Each design is a build of micro whose malloc and free are the pool's (tests/bench/pools_*.h), one for each block size.
Every round visits the lines, and on each the designs, in a new random order; a round of short runs comes first and is
thrown away. A design with one lock does fewer operations: it takes longer for each, eight threads on two processors
many times longer.
"""
import argparse
import collections
import datetime
import os
import random
import statistics
import subprocess
import sys
import time

from allocators import output_of
from figures import geomean
from report import machine_text, readme_parts, table, write_readme
from runner import Progress
from workload import Failed

Design = collections.namedtuple("Design", "name title on_tarn ops ops_shared")  # operations of one thread, of more
Row = collections.namedtuple("Row", "title size threads words")

DESIGNS = [
    Design("tarn", "named pool", True, 10_000_000, 10_000_000),
    Design("malloc", "malloc on tarn", True, 10_000_000, 10_000_000),
    Design("mutex", "list and mutex", False, 3_000_000, 1_000_000),
    Design("seed", "HAProxy of 2017", False, 3_000_000, 1_000_000),
]
WORKLOADS = {  # what it does: micro's line for it, and the numbers of threads
    "freed at once": (["pair-64"], (1, 2, 8)),
    "100, the last freed first": (["lifo-64-1k", "--live", "100"], (1, 2, 8)),
    "freed by another thread": (["handoff-64-2t"], (2, 8)),
}
SIZES = 64, 256
MANY = 8  # the number of threads that HAProxy's design is compared at


def rows():
    return [Row(title, size, threads, (*words, "--threads", str(threads)))
            for title, (words, counts) in WORKLOADS.items() for size in SIZES for threads in counts]


def measure(folder, tarn, design, row, divisor):
    """Nanoseconds of CPU time of the process for an operation."""
    ops = (design.ops if row.threads == 1 else design.ops_shared) // divisor
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [os.path.join(folder, f"pools-{design.name}-{row.size}"), *row.words, "--ops", str(ops)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: status {done.returncode} {done.stderr.strip()[:200]}")
    fields = done.stdout.splitlines()[-1].split("\t")
    if (os.path.realpath(fields[8]) == tarn) != design.on_tarn:
        raise Failed(f"{' '.join(command)}: malloc came from {fields[8]}")
    return float(fields[5])


def run_rounds(folder, tarn, rounds):
    """Medians by (row, design)."""
    lines, samples = rows(), collections.defaultdict(list)
    for row in lines:
        for design in DESIGNS:
            measure(folder, tarn, design, row, 16)
    progress = Progress({(row, design.name): rounds for row in lines for design in DESIGNS})
    for _ in range(rounds):
        for row in random.sample(lines, len(lines)):
            for design in random.sample(DESIGNS, len(DESIGNS)):
                progress.show(f"{row.title} {row.threads} {design.name}")
                begin = time.monotonic()
                samples[row.title, row.size, row.threads, design.name].append(measure(folder, tarn, design, row, 1))
                progress.step((row, design.name), time.monotonic() - begin)
    progress.end()
    return {key: statistics.median(taken) for key, taken in samples.items()}


def ratios(value, over, under, chosen):
    return [value[row.title, row.size, row.threads, over] / value[row.title, row.size, row.threads, under]
            for row in chosen]


def markdown(value):
    head = ["blocks", "bytes", "threads", *(design.title for design in DESIGNS),
            "malloc / pool", "HAProxy / pool"]
    cells = [head]
    for row in rows():
        times = [f"{value[row.title, row.size, row.threads, design.name]:.1f}" for design in DESIGNS]
        compared = [ratios(value, name, "tarn", [row])[0] for name in ("malloc", "seed")]
        cells.append([row.title, str(row.size), str(row.threads), *times, *(f"{ratio:.2f}" for ratio in compared)])
    return table(cells)


def report(value, rounds, command):
    many, two = ([row for row in rows() if row.threads == threads] for threads in (MANY, 2))
    seed = ratios(value, "seed", "tarn", many)
    return "\n".join([
        f"Nanoseconds of CPU time of the process for a block's way out and back, medians of {rounds} rounds.", "",
        markdown(value), "",
        f"With {MANY} threads on {os.cpu_count()} processors HAProxy's design takes {geomean(seed):.1f} times a named "
        f"pool's time on the geometric mean, {min(seed):.1f} at least; with two threads "
        f"{geomean(ratios(value, 'seed', 'tarn', two)):.1f}. malloc takes "
        f"{geomean(ratios(value, 'malloc', 'tarn', rows())):.2f} of it over all lines.", "",
        f"{machine_text()}; {datetime.date.today()}; tarn {output_of('git', 'describe', '--always', '--dirty').strip()}. "
        f"Made by `{command}`.", ""])


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh --pools", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--readme", nargs="?", const="README.md", metavar="FILE", help="put it between FILE's marks")
    for internal in ("--tarn", "--folder", "--command"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.readme:
        readme_parts(options.readme, "pools")  # a missing mark is told before the minutes are spent
    try:
        value = run_rounds(options.folder, os.path.realpath(options.tarn), options.rounds)
    except Failed as reason:
        sys.exit(f"bench: {reason}")
    text = report(value, options.rounds, options.command)
    if options.readme:
        write_readme(options.readme, "pools", text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
