#!/usr/bin/env python3
"""Run whole programs under several allocators, by turns: CPU seconds and peak memory. scripts/bench.sh --programs.

CPU is user and system time of the process that works (for redis the server's, under the same load); memory is its
peak resident set, as the kernel tells at its end. Every round visits the programs, and on each the allocators, in a
new random order.
"""
import argparse
import glob
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from compare import DEBIAN, geomean, machine_text, readme_parts, readme_write

SQL = """create table t(a,b);
with recursive c(x) as (select 1 union all select x+1 from c where x<300000)
insert into t select x, hex(randomblob(20)) from c;
create index i on t(b); select count(distinct b) from t;"""

PYTHON = """import json, re
d = [{str(i): list(range(i % 7)), 'k': 'x' * (i % 50)} for i in range(120000)]
s = json.dumps(d); json.loads(s); print(len(re.findall('x+', s)))"""

PERL = """my %h; for my $i (1..600000) { $h{"key$i"} = 'v' x ($i % 40) }
my $s = 0; for my $k (sort keys %h) { $s += length $h{$k} } print $s;"""

REDIS_LOAD = "-n 400000 -c 50 -P 16 -d 100 -r 100000 -t set,get,lpush,hset -q".split()


def c_source(path):
    """A file that keeps gcc's own structures busy."""
    body = ("int f%d(int a, int b) { int s = 0; for (int i = 0; i < a; i++) { if (i %% %d == 0) s += b * %d; else "
            "s ^= i << %d; switch (s & 7) { case 0: s += a; break; case 1: s -= b; break; default: s++; } } return s; }\n")
    with open(path, "w", encoding="utf-8") as source:
        for i in range(1500):
            source.write(body % (i, i % 8 + 2, i % 97 + 1, i % 5 + 1))


def environment(preload):
    env = dict(os.environ, PYTHONMALLOC="malloc")
    env.pop("LD_PRELOAD", None)
    return dict(env, LD_PRELOAD=preload) if preload else env


def run(command, preload):
    """CPU seconds and peak KiB of one run."""
    process = subprocess.Popen(command, env=environment(preload), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status != 0:
        sys.exit(f"bench: {command[0]} failed under {preload or 'glibc'}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def run_redis(folder, preload):
    address = os.path.join(folder, "redis")
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", address, "--save", "", "--dir", folder],
                              env=environment(preload), stdout=subprocess.DEVNULL)
    for _ in range(100):
        time.sleep(0.1)
        if os.path.exists(address):
            break
    subprocess.run(["redis-benchmark", "-s", address, *REDIS_LOAD], stdout=subprocess.DEVNULL, check=True)
    server.send_signal(signal.SIGTERM)
    _, server.returncode, usage = os.wait4(server.pid, 0)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def programs(folder):
    source = os.path.join(folder, "many.c")
    c_source(source)
    commands = {
        "gcc -O1": [cc1(), "-quiet", "-O1", source, "-o", "/dev/null"],
        "sqlite3": ["sqlite3", ":memory:", SQL],
        "python3": ["python3", "-c", PYTHON],
        "perl": ["perl", "-e", PERL],
    }
    chosen = {name: lambda preload, c=command: run(c, preload) for name, command in commands.items()}
    chosen["redis-server"] = lambda preload: run_redis(folder, preload)
    return chosen


def cc1():
    """The compiler proper: the driver's own memory is nobody's concern."""
    return subprocess.run(["gcc", "-print-prog-name=cc1"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def allocators(tarn):
    found = {name: glob.glob(f"/usr/lib/*/{file}") for name, (_, file) in DEBIAN.items()}
    return {"tarn": tarn, "glibc": "", **{name: paths[0] for name, paths in found.items() if paths}}


def table(results, order, names, scale, digits):
    """Markdown rows of medians, and the geometric mean."""
    medians = {program: [statistics.median(results[program, name]) / scale for name in names] for program in order}
    rows = [f"| {program} | " + " | ".join(f"{value:.{digits}f}" for value in row) + " |"
            for program, row in medians.items()]
    means = [geomean(column) for column in zip(*medians.values())]
    head = "| | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names)
    return "\n".join([head, *rows, "| geometric mean | " + " | ".join(f"{m:.{digits}f}" for m in means) + " |"])


def measure(chosen, peers, rounds):
    cpu, peak = {}, {}
    for number in range(rounds + 1):
        for program in random.sample(list(chosen), len(chosen)):
            for name in random.sample(list(peers), len(peers)):
                seconds, kib = chosen[program](peers[name])
                if number > 0:  # the first round warms up
                    cpu.setdefault((program, name), []).append(seconds)
                    peak.setdefault((program, name), []).append(kib)
        print(f"bench: round {number} of {rounds}", file=sys.stderr, flush=True)
    return cpu, peak


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh --programs", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--readme", nargs="?", const="README.md", metavar="FILE")
    parser.add_argument("--tarn", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.readme:
        readme_parts(options.readme, "programs")  # a missing mark is told before the minutes are spent
    with tempfile.TemporaryDirectory() as folder:
        peers = allocators(os.path.abspath(options.tarn))
        chosen = programs(folder)
        cpu, peak = measure(chosen, peers, options.rounds)
    order, names = list(chosen), list(peers)
    text = (f"\nCPU seconds, medians of {options.rounds}:\n\n{table(cpu, order, names, 1, 2)}\n\n"
            f"Peak resident memory, MiB:\n\n{table(peak, order, names, 1024, 1)}\n\n"
            f"{machine_text()}; made by `./scripts/bench.sh --programs --readme`. redis-server's \"glibc\" is Debian's\n"
            "redis as it comes, which is linked with jemalloc.\n\n")
    if options.readme:
        readme_write(options.readme, "programs", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
