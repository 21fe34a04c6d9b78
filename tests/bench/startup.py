"""Start-up: the wall time of a process that does nothing, and what of it is resident."""
import statistics
import subprocess

from workload import Timed, Workload, median_usage, sample_of

RUNS = 8  # in a row, in one sample: the others' turn comes soon


class Start(Workload):
    """Half a millisecond each, so a sample is the median of many."""

    unit, turns = "µs", 12

    def __init__(self, name, command, tells_resident=False):
        super().__init__(name, "start-up")
        self.command, self.tells_resident = command, tells_resident

    def run(self, allocator, divisor):
        runs = max(RUNS // divisor, 3)
        streams = {"stdout": subprocess.PIPE} if self.tells_resident else {"stdout": subprocess.DEVNULL}
        timed = Timed(self.command, allocator.environment(), runs, **streams)
        text = timed.process.stdout.read().decode() if self.tells_resident else ""
        usage = median_usage(timed.finish())
        known = {"cpu": usage.user + usage.system, "wall": usage.wall}
        if self.tells_resident:
            known["peak"] = statistics.median(int(line) for line in text.splitlines() if line.isdigit())
        return sample_of(usage, **known)


def starts(hello):
    return [Start("true", ["/bin/true"]), Start("hello", [hello], tells_resident=True)]
