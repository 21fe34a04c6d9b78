#!/usr/bin/env python3
"""Run micro's lines under several allocators, by turns, and write the table. scripts/bench.sh is the way in.

Each round visits the lines in a new random order, and on each line all allocators in a new random order, so that
a machine that slows down slows all of them. A round of short runs comes first and is thrown away.
"""
import argparse
import collections
import datetime
import glob
import math
import os
import random
import re
import statistics
import subprocess
import sys
import time

DEBIAN = {  # name: (package, file)
    "jemalloc": ("libjemalloc2", "libjemalloc.so.2"),
    "mimalloc": ("libmimalloc2.0", "libmimalloc.so.2.0"),
    "tcmalloc": ("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4"),
}
RATIO_WANTED = 1.1  # a line where tarn's ratio to the best peer is above this is shown in bold
MANY_LIVE = 100_000  # memory is compared where it isn't mostly the harness's own

Line = collections.namedtuple("Line", "name size live threads ops baseline help")
Sample = collections.namedtuple("Sample", "cpu wall kib")
Allocator = collections.namedtuple("Allocator", "name micro preload version")


class Failed(Exception):
    """A run that gave no figure."""


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def output_of(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip()


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH", help="one more allocator")
    parser.add_argument("--only", metavar="NAMES", help="just these allocators, comma-separated")
    parser.add_argument("--tests", default="", metavar="REGEX", help="just the lines that match (see micro --list)")
    parser.add_argument("--rounds", type=int, metavar="N", help="measured rounds (5; with --quick 3)")
    parser.add_argument("--quick", action="store_true", help="a quarter of the operations, fewer rounds")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu", help="which time the table shows (cpu)")
    parser.add_argument("--floor", action="store_true", help="add a column for the harness itself")
    parser.add_argument("--tsv", metavar="FILE", help="write every sample")
    parser.add_argument("--markdown", metavar="FILE", help="write the table here instead of to stdout")
    parser.add_argument("--readme", metavar="FILE", nargs="?", const="README.md", help="put it between FILE's marks")
    for internal in ("--micro", "--null", "--tarn", "--command"):
        parser.add_argument(internal, default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    for peer in options.peer:
        if not re.fullmatch(r"[^=,|]+=.+", peer):
            parser.error(f"--peer wants NAME=PATH, not {peer}")
    return options


def allocators(options):
    """Who takes part. A peer whose library is missing is left out with a line, so the rest is still compared."""
    wanted = [("tarn", options.tarn, output_of("git", "describe", "--always", "--dirty") or "?")]
    wanted.append(("glibc", "", output_of("dpkg-query", "-W", "-f", "${Version}", "libc6") or "?"))
    for name, (package, file) in DEBIAN.items():
        found = glob.glob(f"/usr/lib/*/{file}")
        version = output_of("dpkg-query", "-W", "-f", "${Version}", package)
        wanted.append((name, found[0] if found else file, version))
    for peer in options.peer:
        name, path = peer.split("=", 1)
        wanted.append((name, path, path))
    only = options.only.split(",") if options.only else [name for name, _, _ in wanted]
    chosen = []
    for name, path, version in wanted:
        if name not in only or (name == "tarn" and not path):
            continue
        if path and not os.path.isfile(path):
            note(f"{name} is left out: there is no {path}")
            continue
        chosen.append(Allocator(name, options.micro, os.path.abspath(path) if path else "", version))
    if options.floor:
        chosen.append(Allocator("floor", options.null, "", "no allocator: the loop, the calls and the write"))
    return chosen


def lines_of(options):
    rows = [row.split("\t") for row in output_of(options.micro, "--list").splitlines() if not row.startswith("#")]
    lines = [Line(row[0], *map(int, row[1:6]), row[6]) for row in rows]
    return [line for line in lines if re.search(options.tests, line.name)]


def measure(allocator, line, divisor):
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    if allocator.preload:
        environment["LD_PRELOAD"] = allocator.preload
    command = [allocator.micro, line.name, "--ops", str(max(line.ops // divisor, line.threads))]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise Failed("no end after 120 s") from None
    if done.returncode != 0:
        raise Failed(f"status {done.returncode} {done.stderr.strip()[:200]}")
    fields = done.stdout.splitlines()[-1].split("\t")
    if allocator.preload and os.path.realpath(fields[8]) != os.path.realpath(allocator.preload):
        raise Failed(f"malloc came from {fields[8]}, not from {allocator.preload}")
    return Sample(float(fields[5]), float(fields[6]), int(fields[7]))


class Progress:
    """The time left on stderr: rewritten in place on a terminal, a line a round elsewhere."""

    def __init__(self, rounds, per_round):
        self.total, self.done, self.per_round = rounds * per_round, 0, per_round
        self.start, self.live = time.monotonic(), sys.stderr.isatty()

    def step(self, text):
        self.done += 1
        left = (time.monotonic() - self.start) / self.done * (self.total - self.done)
        if self.live:
            end = "\n" if self.done == self.total else ""
            print(f"\rbench: {100 * self.done // self.total:3} %, {left:4.0f} s left  {text:32.32}",
                  end=end, file=sys.stderr, flush=True)
        elif self.done % self.per_round == 0:
            note(f"{100 * self.done // self.total} %, {left:.0f} s left")


def run_rounds(options, chosen, lines):
    """All samples, by (line, allocator); a pair that failed once is not run again and holds the reason instead."""
    rounds, divisor = options.rounds or (3 if options.quick else 5), 4 if options.quick else 1
    samples, failures = collections.defaultdict(list), {}
    visits = [(line, allocator) for line in lines for allocator in chosen]
    for line, allocator in visits:  # the warm-up: the libraries are read in, the processor leaves its sleep
        try:
            measure(allocator, line, 16 * divisor)
        except Failed as reason:
            failures[line.name, allocator.name] = str(reason)
            note(f"{allocator.name}, {line.name}: {reason}")
    progress = Progress(rounds, len(visits))
    for _ in range(rounds):
        for line in random.sample(lines, len(lines)):
            for allocator in random.sample(chosen, len(chosen)):
                key = line.name, allocator.name
                progress.step(f"{line.name} {allocator.name}")
                if key in failures:
                    continue
                try:
                    samples[key].append(measure(allocator, line, divisor))
                except Failed as reason:
                    failures[key] = str(reason)
                    note(f"{allocator.name}, {line.name}: {reason}")
    for key in failures:
        samples.pop(key, None)
    return samples, failures


def geomean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


class Table:
    """Medians by (line, allocator), and the table made of them."""

    def __init__(self, chosen, lines, samples, field):
        self.lines, self.columns = lines, [allocator.name for allocator in chosen]
        self.peers = [name for name in self.columns if name not in ("tarn", "floor")]
        self.value = {key: statistics.median(getattr(sample, field) for sample in taken)
                      for key, taken in samples.items()}

    def ratio(self, line):
        """tarn's to the best of its peers."""
        others = [self.value[line.name, peer] for peer in self.peers if (line.name, peer) in self.value]
        ours = self.value.get((line.name, "tarn"))
        return ours / min(others) if ours and others and not line.baseline else None

    def ratios(self):
        return [ratio for ratio in map(self.ratio, self.lines) if ratio is not None]

    def markdown(self, scale=1.0, digits=1):
        compared = "tarn" in self.columns and self.peers
        rows = [["line", *self.columns, *(["tarn / best"] if compared else [])]]
        for line in self.lines:
            cells = [self.value.get((line.name, name)) for name in self.columns]
            row = [line.name, *("failed" if cell is None else f"{cell * scale:.{digits}f}" for cell in cells)]
            if compared:
                ratio = self.ratio(line)
                text = "–" if ratio is None else f"{ratio:.2f}"
                row.append(f"**{text}**" if ratio is not None and ratio > RATIO_WANTED else text)
            rows.append(row)
        whole = [line for line in self.lines
                 if not line.baseline and all((line.name, name) in self.value for name in self.columns)]
        if whole:
            means = [geomean(self.value[line.name, name] * scale for line in whole) for name in self.columns]
            rows.append(["geometric mean", *(f"{mean:.{digits}f}" for mean in means)])
            if compared:
                rows[-1].append(f"{geomean(self.ratios()):.2f}")
        rows.insert(1, ["---", *["---:"] * (len(rows[0]) - 1)])
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def spread_text(samples, field):
    """How far apart the samples of one cell are: what a difference must exceed to mean something."""
    spreads = {}
    for key, taken in samples.items():
        values = [getattr(sample, field) for sample in taken]
        if len(values) >= 3:
            low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
            spreads[key] = (high - low) / middle
    if not spreads:
        return ""
    worst = max(spreads, key=spreads.get)
    return (f" Half of a cell's samples lie within {100 * statistics.median(spreads.values()):.0f} % of each other in "
            f"the median cell, {100 * spreads[worst]:.0f} % in the worst ({worst[0]}, {worst[1]}).")


def machine_text():
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        model = re.search(r"^model name\s*: (.*)$", cpuinfo.read(), re.MULTILINE)
    with open("/proc/meminfo", encoding="utf-8") as meminfo:
        gib = int(re.search(r"MemTotal:\s+(\d+)", meminfo.read()).group(1)) / 2**20
    name = model.group(1) if model else os.uname().machine
    return f"{name}, {os.cpu_count()} cores, {gib:.0f} GiB, Linux {os.uname().release}"


def report(options, chosen, lines, samples):
    clock = "CPU time of the process" if options.clock == "cpu" else "wall time"
    times = Table(chosen, lines, samples, options.clock)
    rounds = max(map(len, samples.values()), default=0)
    text = [f"Nanoseconds of {clock} per operation, medians of {rounds} rounds, least is best."
            + spread_text(samples, options.clock), "", times.markdown(), ""]
    ratios = times.ratios()
    if ratios:
        slower = sum(ratio > RATIO_WANTED for ratio in ratios)
        text += [f"tarn takes {geomean(ratios):.2f} of the best peer's time on the geometric mean of {len(ratios)} "
                 f"lines, at worst {max(ratios):.2f}; {slower} of them above {RATIO_WANTED}.", ""]
    large = [line for line in lines if line.live >= MANY_LIVE and not line.baseline]
    if large:
        text += ["Peak RSS in MiB where many blocks are live (the harness's own tables are in it):", "",
                 Table(chosen, large, samples, "kib").markdown(1 / 1024), ""]
    text += [f"{machine_text()}; {datetime.date.today()}; "
             + "; ".join(f"{allocator.name} {allocator.version}" for allocator in chosen) + ".",
             f"Made by `{options.command}`; what each line does is told by `micro --list`.", ""]
    return "\n".join(text)


def readme_parts(path, name):
    """What stands before, with the first mark, and after, with the second one."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->\n"
    with open(path, encoding="utf-8") as readme:
        text = readme.read()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        sys.exit(f"bench: {path} needs {begin.strip()} and {end.strip()}, once each, in this order")
    return text[:text.index(begin)] + begin, text[text.index(end):]


def readme_write(path, name, text):
    before, after = readme_parts(path, name)
    with open(path, "w", encoding="utf-8") as readme:
        readme.write(before + text + after)


def write_tsv(path, samples):
    with open(path, "w", encoding="utf-8") as tsv:
        print("line", "allocator", "round", "cpu_ns", "wall_ns", "peak_kib", sep="\t", file=tsv)
        for (line, allocator), taken in samples.items():
            for number, sample in enumerate(taken, 1):
                print(line, allocator, number, *sample, sep="\t", file=tsv)


def main():
    options = arguments()
    if options.readme:
        readme_parts(options.readme, "bench")  # a missing mark is told before the minutes are spent
    chosen, lines = allocators(options), lines_of(options)
    if not chosen or not lines:
        sys.exit("bench: nothing to measure: no allocator, or no line, matches")
    samples, failures = run_rounds(options, chosen, lines)
    text = report(options, chosen, lines, samples)
    if options.tsv:
        write_tsv(options.tsv, samples)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as markdown:
            markdown.write(text)
    if options.readme:
        readme_write(options.readme, "bench", text)
    if not options.markdown and not options.readme:
        print(text, end="")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
