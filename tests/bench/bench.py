#!/usr/bin/env python3
"""Compare allocators on micro's lines, whole programs and start-up. scripts/bench.sh is the way in."""
import argparse
import os
import re
import sys
import tempfile

import allocators
import lines
import picture
import programs
import report
import runner
import servers
import startup
from figures import FIELDS
from workload import Timed

TIMES = ("cpu", "wall")


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__.split(" scripts", maxsplit=1)[0])
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH",
                        help="one more allocator; NAME='VARIABLE=VALUE PATH' sets something for it")
    parser.add_argument("--only", default="", metavar="NAMES", help="just these allocators, comma-separated")
    parser.add_argument("--groups", default="", metavar="NAMES",
                        help="just these groups of lines, comma-separated; 'long' is run only so")
    parser.add_argument("--tests", default="", metavar="REGEX", help="just the lines that match")
    parser.add_argument("--programs", dest="groups", action="store_const", const="programs", help="--groups programs")
    parser.add_argument("--list", action="store_true", help="tell the lines and their groups, and measure nothing")
    parser.add_argument("--rounds", type=int, metavar="N", help="measured rounds (3; with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="an eighth of the work, fewer rounds")
    parser.add_argument("--show", default="cpu,peak,held", metavar="FIELDS",
                        help=f"what the tables show, of {', '.join(FIELDS)}; the TSV has all")
    parser.add_argument("--relative-to", metavar="NAME", help="figures as ratios to this allocator's")
    parser.add_argument("--floor", action="store_true", help="add a column for the harness itself")
    parser.add_argument("--tsv", metavar="FILE", help="write every sample")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables here instead of to stdout")
    parser.add_argument("--svg", metavar="FILE", help="write the picture of every line")
    parser.add_argument("--readme", metavar="FILE", nargs="?", const="README.md",
                        help="put the tables between FILE's marks, and the pictures beside this program")
    for internal in ("--build", "--tarn", "--command"):
        parser.add_argument(internal, default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)  # some programs run elsewhere
    options.show, options.only = options.show.split(","), list(filter(None, options.only.split(",")))
    options.groups = list(filter(None, options.groups.split(",")))
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    for field in options.show:
        if field not in FIELDS:
            parser.error(f"--show knows {', '.join(FIELDS)}, not {field}")
    for peer in options.peer:
        if not re.fullmatch(r"[^=,|\s]+=(\w+=\S* )*[^=\s]+", peer):
            parser.error(f"--peer wants NAME=PATH, not {peer}")
    return options


def workloads(options, folder):
    build = options.build
    wanted = lines.lines(os.path.join(build, "micro")) + lines.lines(os.path.join(build, "containers"))
    wanted += startup.starts(os.path.join(build, "hello"))
    wanted += programs.commands(folder, os.path.join(build, "bank")) + servers.servers(folder)
    wanted = [workload for workload in wanted if re.search(options.tests, workload.name) and
              (workload.group in options.groups if options.groups else workload.group != "long")]
    return [workload for workload in wanted if ready(workload)]


def ready(workload):
    """Whether what it needs is here; a line tells when not."""
    missing = workload.missing()
    if missing:
        allocators.note(f"{workload.name} is left out: there is no {' and no '.join(missing)}")
    return not missing


def deliver(options, made):
    """The report, to wherever it was asked for."""
    text = made.markdown()
    fields = (next((field for field in options.show if field in TIMES), "cpu"), "peak")
    if options.svg:
        picture.write(options.svg, made, fields, every_line=True)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as markdown:
            markdown.write(text)
    if options.readme:
        pictures = os.path.dirname(os.path.abspath(__file__))
        for name, every_line in (("overview", False), ("lines", True)):
            picture.write(os.path.join(pictures, name + ".svg"), made, fields, every_line)
        shown = ("![Time and memory by group, relative to the best peer](tests/bench/overview.svg)\n\n"
                 "[Every line as a picture](tests/bench/lines.svg)\n\n")
        report.write_readme(options.readme, "bench", shown + text)
    if not options.markdown and not options.readme:
        print(text, end="")


def main():
    options = arguments()
    if options.readme:
        report.readme_parts(options.readme, "bench")  # a missing mark is told before the minutes are spent
    Timed.tool = os.path.join(options.build, "timed")
    chosen = allocators.find(options.tarn, options.peer, options.only)
    if options.relative_to and options.relative_to not in [allocator.name for allocator in chosen]:
        sys.exit(f"bench: {options.relative_to} doesn't take part")
    if options.floor:
        chosen.append(allocators.Allocator("floor", os.path.join(options.build, "micro-null"), {},
                                           "no allocator: the loop, the calls and the write"))
    with tempfile.TemporaryDirectory() as folder:
        wanted = workloads(options, folder)
        if options.list:
            print("\n".join(f"{workload.name}\t{workload.group}" for workload in wanted))
            return
        if not chosen or not wanted:
            sys.exit("bench: nothing to measure: no allocator, or no line, matches")
        run = runner.Runner(chosen, wanted, 8 if options.quick else 1)
        run.measure(options.rounds or (2 if options.quick else 3))
    if not run.samples:
        sys.exit("bench: nothing was measured")
    if options.tsv:
        report.write_tsv(options.tsv, run)
    deliver(options, report.Report(run, options.show, options.relative_to, bool(options.relative_to), options.command))
    sys.exit(1 if run.failures else 0)


if __name__ == "__main__":
    main()
