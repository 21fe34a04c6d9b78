#!/usr/bin/env python3
"""The bench's own test: medians and means, what a failed run does, and what the report tells. Takes no sample."""
import os
import subprocess
import tempfile
import unittest
from unittest import mock
from xml.dom import minidom

import allocators
import locks
import picture
import programs
import report
import runner
from figures import Figures
from workload import Failed, Sample, Timed, Workload


class Known(Workload):
    """Takes what a table says, round by round."""

    def __init__(self, name, group, taken, baseline=False):
        super().__init__(name, group)
        self.taken, self.baseline = {key: list(values) for key, values in taken.items()}, baseline

    def run(self, allocator, divisor):
        if divisor > 1:  # the warm-up
            return Sample(99, 99, 99, None, 1, 1, 1)
        value = self.taken[allocator.name].pop(0)
        if value is None:
            raise Failed("as it was told")
        return Sample(value, value, value * 1024, None, 1, 0, 0)


def measured(workloads, names=("tarn", "glibc", "other"), rounds=3):
    run = runner.Runner([allocators.Allocator(name) for name in names], workloads, 1)
    with mock.patch("runner.note"):
        run.measure(rounds)
    return run


class Tests(unittest.TestCase):

    def setUp(self):
        self.run_ = measured([
            Known("one", "a", {"tarn": [3, 1, 2], "glibc": [4, 4, 4], "other": [8, 8, 8]}),
            Known("two", "a", {"tarn": [8, 8, 8], "glibc": [8, 8, 8], "other": [4, 4, 4]}),
            Known("broken", "b", {"tarn": [1, 1, 1], "glibc": [1, None], "other": [2, 2, 2]}),
            Known("empty", "b", {"tarn": [1, 1, 1], "glibc": [1, 1, 1], "other": [1, 1, 1]}, baseline=True)])
        self.one, self.two, self.broken, self.empty = self.run_.workloads
        self.figures = Figures(self.run_, "cpu")

    def test_medians(self):
        self.assertEqual(self.figures.get(self.one, "tarn"), 2)
        self.assertEqual(self.figures.spread["one", "tarn"], 0.5)
        self.assertEqual(self.figures.uncertainty(self.one), 0.5)

    def test_ratio_is_to_the_best_peer(self):
        self.assertEqual(self.figures.ratio(self.one), 0.5)
        self.assertEqual(self.figures.ratio(self.two), 2)
        self.assertIsNone(self.figures.ratio(self.empty))

    def test_means_are_of_lines_that_all_did(self):
        count, means = self.figures.means([self.one, self.two, self.broken], "glibc")
        self.assertEqual(count, 2)
        self.assertAlmostEqual(means["tarn"], 0.5 ** 0.5)
        self.assertAlmostEqual(means["other"], 1)

    def test_a_failure_is_told_and_costs_one_cell(self):
        self.assertEqual(list(self.run_.failures), [("broken", "glibc")])
        self.assertEqual(self.figures.ratio(self.broken), 0.5)
        self.assertIn("broken under glibc: as it was told", self.markdown())

    def markdown(self):
        return report.Report(self.run_, ["cpu", "peak"], "", False, "x").markdown()

    def test_losing_lines_are_told(self):
        self.assertIn("CPU time: on 1 of 3 lines tarn is above 1.05 of the best peer there: two 2.00.", self.markdown())
        self.assertIn("| a | two, s | 8.00 | 8.00 | 4.00 | **2.00** | 0 |", self.markdown())

    def test_picture_is_xml(self):
        made = report.Report(self.run_, ["cpu", "peak"], "", False, "x")
        path = os.path.join(self.folder(), "a.svg")
        picture.write(path, made, ("cpu", "peak"), True)
        dots = [dot for dot in minidom.parse(path).getElementsByTagName("circle")
                if dot.getAttribute("class") == "tarn"]
        self.assertGreater(len(dots), 6)

    def folder(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return made.name

    def test_readme_keeps_what_is_around_the_marks(self):
        path = os.path.join(self.folder(), "README.md")
        with open(path, "w", encoding="utf-8") as readme:
            readme.write(f"before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n")
        report.write_readme(path, "bench", "new\n")
        with open(path, encoding="utf-8") as readme:
            self.assertEqual(readme.read(), f"before\n<!-- bench:begin -->\nnew\n<!-- bench:end -->\nafter\n")

    def test_peer_with_settings(self):
        peer = allocators.from_option("quiet=A=1 B=x=y lib.so")
        self.assertEqual((peer.name, peer.path, peer.settings), ("quiet", "lib.so", {"A": "1", "B": "x=y"}))
        self.assertEqual(peer.environment()["B"], "x=y")

    def test_simulated_locks(self):
        alone, taken = 900 + 100, 100 + locks.TRANSFER
        self.assertAlmostEqual(locks.simulate(1, 1, 900, [(1, 100)]) / alone, 1, delta=0.02)
        self.assertAlmostEqual(locks.simulate(16, 1, 10, [(1, 100)]) / (16 * taken), 1, delta=0.05)  # all wait in line
        self.assertAlmostEqual(locks.simulate(16, 1, 90000, [(1, 100)]) / (90000 + taken), 1, delta=0.02)
        each = locks.simulate(4 * locks.NODE, 4, 10, [(1, 100)])
        self.assertAlmostEqual(each / (locks.NODE * taken), 1, delta=0.05)  # no node waits for another
        self.assertGreater(locks.simulate(4 * locks.NODE, 1, 10, [(1, 100)]), 4 * each)

    def test_other_output_fails(self):
        program = programs.Program("p", self.folder())
        program.compare(allocators.Allocator("a"), 1, b"same")
        program.compare(allocators.Allocator("b"), 1, b"same")
        program.compare(allocators.Allocator("b"), 4, b"less")
        with self.assertRaisesRegex(Failed, "not what it is under a"):
            program.compare(allocators.Allocator("c"), 1, b"other")

    def test_timed(self):
        Timed.tool = os.path.join(self.folder(), "timed")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "timed.c")
        subprocess.run(["cc", "-D_GNU_SOURCE", "-static", source, "-o", Timed.tool], check=True)
        allocator = allocators.Allocator("plain")
        used = Timed(["true"], allocator.environment(), 3).finish()
        self.assertEqual([usage.status for usage in used], [0, 0, 0])
        self.assertLess(used[0].peak, 8 << 10)  # not Python's
        with self.assertRaisesRegex(Failed, "status 1"):
            Timed(["false"], allocator.environment()).finish()
        with self.assertRaisesRegex(Failed, "no-such-program"):
            Timed(["no-such-program"], allocator.environment()).finish()
        with self.assertRaisesRegex(Failed, "cannot be preloaded"):
            Timed(["true"], allocator.environment(preload="/no/such.so")).finish()


if __name__ == "__main__":
    unittest.main()
