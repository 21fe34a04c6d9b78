"""Rounds: each visits the workloads in a new random order, and on each all allocators in a new random order, so that a
machine that slows down slows all of them. A round of less work comes first and is thrown away.
"""
import collections
import random
import sys
import time

from allocators import note
from workload import Failed

WARM_UP = {"programs": 4, "start-up": 4}  # a warm-up's part of a workload is one in so many; else one in:
WARM_UP_ELSE = 16


class Progress:
    """What is done and the time left, on stderr: rewritten in place on a terminal, a line a tenth elsewhere.

    A visit is expected to take what the last one of the same workload and allocator took; before there is one, the
    average of all.
    """

    BAR = 24

    def __init__(self, visits, label=""):
        """`visits`: how many of each there will be."""
        self.left = dict(visits)
        self.total, self.done = sum(visits.values()), 0
        self.took, self.spent = {}, 0.0
        self.label, self.live = label, sys.stderr.isatty()

    def show(self, text):
        """Before a visit."""
        if not self.live:
            return
        full = self.BAR * self.done // self.total
        print(f"\r\033[K{'█' * full}{'·' * (self.BAR - full)} {100 * self.done // self.total:3} %  "
              f"{self.time_left():>9} left  {self.label}{text:.40}", end="", file=sys.stderr, flush=True)

    def step(self, visit, seconds):
        """After it."""
        self.left[visit] -= 1
        self.took[visit] = seconds
        self.spent += seconds
        self.done += 1
        if not self.live and 10 * self.done // self.total > 10 * (self.done - 1) // self.total:
            note(f"{self.label}{100 * self.done // self.total} %, {self.time_left()} left")

    def end(self):
        if self.live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def time_left(self):
        if not self.done:
            return "?"
        usual = self.spent / self.done
        seconds = round(sum(rounds * self.took.get(visit, usual) for visit, rounds in self.left.items()))
        return f"{seconds // 60} min {seconds % 60:02} s" if seconds >= 60 else f"{seconds} s"


class Runner:
    """Takes the samples, by (workload's name, allocator's name). A pair that failed once is not run again and is in
    `failures`, with the reason; so is everything of a workload that couldn't be prepared."""

    def __init__(self, allocators, workloads, divisor):
        self.allocators, self.workloads, self.divisor = allocators, workloads, divisor
        self.samples, self.failures = collections.defaultdict(list), {}

    def prepare(self):
        for workload in list(self.workloads):
            try:
                workload.prepare()
            except Exception as reason:  # pylint: disable=broad-except; whatever it is, the others can be measured
                note(f"{workload.name} is left out: {reason}")
                self.workloads.remove(workload)

    def visit(self, workload, allocator, divisor):
        key = workload.name, allocator.name
        if key in self.failures or (allocator.name == "floor" and workload.unit != "ns"):
            return None
        try:
            return workload.run(allocator, divisor)
        except Failed as reason:
            self.failures[key] = str(reason)
            self.samples.pop(key, None)
            note(f"{allocator.name}, {workload.name}: {reason}")
            return None

    def measure(self, rounds):
        """Ends early, with what there is, at the user's Ctrl-C."""
        try:
            self.prepare()
            warming = [workload for workload in self.workloads if workload.warms_up]
            progress = Progress({workload.name: 1 for workload in warming}, "warm-up: ")
            for workload in warming:  # the libraries are read in, the processor leaves its sleep
                begin = time.monotonic()
                progress.show(workload.name)
                for allocator in self.allocators:
                    part = WARM_UP.get(workload.group, WARM_UP_ELSE)
                    self.visit(workload, allocator, part * self.divisor)
                progress.step(workload.name, time.monotonic() - begin)
            progress.end()
            self.rounds(rounds)
        except KeyboardInterrupt:
            note("interrupted: what was measured so far follows")

    def rounds(self, rounds):
        order = [workload for workload in self.workloads for _ in range(workload.turns)]
        progress = Progress({(workload.name, allocator.name): rounds * workload.turns for workload in self.workloads
                             for allocator in self.allocators})
        try:
            for _ in range(rounds):
                for workload in random.sample(order, len(order)):
                    for allocator in random.sample(self.allocators, len(self.allocators)):
                        progress.show(f"{workload.name} {allocator.name}")
                        begin = time.monotonic()
                        sample = self.visit(workload, allocator, self.divisor)
                        if sample:
                            self.samples[workload.name, allocator.name].append(sample)
                        progress.step((workload.name, allocator.name), time.monotonic() - begin)
        finally:
            progress.end()
