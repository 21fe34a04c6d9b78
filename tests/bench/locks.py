#!/usr/bin/env python3
"""What the pools' locks cost, counted on this machine and simulated for bigger ones.

    scripts/build.sh && tests/bench/locks.py [LINE...]      (build/bench/micro is made by scripts/bench.sh)

Each line of micro runs once on libtarn_locks.so, which counts how often a lock is taken, how long it is held, and how
often somebody waits for it. From that a machine with more processors is simulated: each works for a while, takes a
pool's lock, holds it, and works again; whoever comes meanwhile waits in line. What can't be counted here is assumed: what
it takes to fetch the lines that another processor wrote (TRANSFER, REMOTE). A processor per thread, and no sleep.

The table says how much longer an operation takes than if nobody ever waited: with one depot for all, and with one for
each NODE of processors.
"""
import argparse
import heapq
import random
import subprocess
import sys

PROCESSORS = (2, 8, 16, 32, 64, 128)
NODE = 16        # processors that share a last-level cache
TRANSFER = 40    # ns more that a lock is held if another processor of the node had it last
REMOTE = 150     # the same for one of another node
TRIPS = 30000    # simulated at each size
LINES = ("handoff-64-64t", "handoff-mixed-64t", "xmalloc-8to8", "remote-64t", "remote-2t", "swap-mixed-64t",
         "churn-mixed-64t", "larson-8t")


def count(build, line):
    """ns of an operation, operations, and {lock: (taken, ns held, waited for)}"""
    run = subprocess.run([f"{build}/bench/micro", line], env={"LD_PRELOAD": f"{build}/libtarn_locks.so"},
                         capture_output=True, text=True, check=True)
    row = run.stdout.splitlines()[-1].split("\t")
    locks = {}
    for text in run.stderr.splitlines():
        if not text.startswith("#"):
            name, taken, held, _, _, waited = text.split("\t")[:6]
            locks[name] = (int(taken), int(held), int(waited))
    return float(row[5]), int(row[4]), locks


def simulate(processors, nodes, work, pools):
    """ns from one trip to the next; `work` ns lie between them, `pools` is a list of (share, ns held)."""
    rng = random.Random(1)
    shares, held = [p[0] for p in pools], [p[1] for p in pools]
    free_at, owner = {}, {}
    ready = [(rng.expovariate(1 / work), p) for p in range(processors)]
    heapq.heapify(ready)
    done = 0
    while done < TRIPS:
        now, p = heapq.heappop(ready)
        node = p * nodes // processors
        pool = rng.choices(range(len(pools)), shares)[0]
        lock = (pool, node if nodes > 1 else 0)
        last = owner.get(lock, p)
        transfer = 0 if last == p else TRANSFER if last // NODE == p // NODE else REMOTE
        end = max(now, free_at.get(lock, 0)) + held[pool] + transfer
        free_at[lock], owner[lock] = end, p
        heapq.heappush(ready, (end + rng.expovariate(1 / work), p))
        done += 1
    return ready[0][0] * processors / done


def factors(ns, ops, locks):
    """For each number of processors: the factor on an operation's time, with one depot and with one per node."""
    pools = [(taken, held) for name, (taken, held, _) in locks.items() if name.startswith("size-")]
    trips = sum(taken for taken, _ in pools)
    held = sum(taken * ns_held for taken, ns_held in pools) / trips
    work = max(ns * ops / trips - held, held)
    alone = work + held
    return [tuple(simulate(n, nodes, work, pools) / alone for nodes in sorted({1, max(1, n // NODE)}))
            for n in PROCESSORS]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="*", default=LINES)
    parser.add_argument("--build", default="build", help="the folder with libtarn_locks.so and bench/micro")
    options = parser.parse_args()
    print("| line | pool locks per 10⁶ ops | the busiest's | held, ns | waited for, % | "
          + " | ".join(f"{n} cpus" for n in PROCESSORS) + " |")
    print("| --- |" + " ---: |" * (4 + len(PROCESSORS)))
    for line in options.lines:
        ns, ops, locks = count(options.build, line)
        pools = [v for k, v in locks.items() if k.startswith("size-")]
        taken = sum(p[0] for p in pools)
        cells = [f"{taken * 1e6 / ops:.0f}", f"{max(p[0] for p in pools) * 1e6 / ops:.0f}",
                 f"{sum(p[0] * p[1] for p in pools) / taken:.0f}", f"{sum(p[2] for p in pools) * 100 / taken:.1f}"]
        for pair in factors(ns, ops, locks):
            cells.append(" / ".join(f"{f:.2f}" for f in pair))
        print(f"| {line} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
