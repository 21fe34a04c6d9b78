"""What is measured: a workload, one sample of it, and how a process is run and what it used."""
import collections
import os
import shutil
import signal
import statistics
import subprocess
import tempfile

# Times in the workload's unit, memory in KiB. What a workload doesn't measure is None: times where it is about memory,
# `held`, which is what stays resident when the load is over, where it doesn't look.
Sample = collections.namedtuple("Sample", "cpu wall peak held faults voluntary involuntary")

TIMEOUT = 240  # seconds; nothing takes a tenth of it


class Failed(Exception):
    """A run that gave no figure."""


class Workload:
    """One line of the table.

    run(allocator, divisor) does about 1/divisor of the work and returns a Sample, or raises Failed. A baseline
    allocates nothing: it shows what the harness costs, and counts in no mean.
    """

    unit, baseline = "s", False
    needs = ()  # programs
    turns = 1  # in each round
    warms_up = True

    def __init__(self, name, group):
        self.name, self.group = name, group

    def missing(self):
        """What it needs and isn't here."""
        return [program for program in self.needs if not shutil.which(program)]

    def prepare(self):
        """What has to be there first, and isn't measured."""

    def run(self, allocator, divisor):
        raise NotImplementedError


class Timed:
    """A command under timed.c: start() it, then finish(), which tells what each of its runs used."""

    tool = ""  # the path of timed, set by bench.py
    Usage = collections.namedtuple("Usage", "status wall user system peak faults voluntary involuntary")

    def __init__(self, command, env, runs=1, **streams):
        self.command, self.error = command, tempfile.TemporaryFile()
        self.folder = tempfile.TemporaryDirectory()
        self.file = os.path.join(self.folder.name, "used")
        if streams.get("user") is not None:
            os.chmod(self.folder.name, 0o777)
        # A session of its own, so that an end by force reaches what the command started.
        self.process = subprocess.Popen([self.tool, self.file, str(runs), *command], env=env, stderr=self.error,
                                        start_new_session=True, **streams)

    def finish(self):
        try:
            status = self.process.wait(TIMEOUT)
            self.error.seek(0)
            error = self.error.read().decode(errors="replace").strip()
            if status != 0:
                raise Failed(f"{self.command[0]}: {error[-200:]}")
            with open(self.file, encoding="ascii") as lines:
                used = [self.Usage(*map(int, line.split())) for line in lines]
        except subprocess.TimeoutExpired:
            raise Failed(f"no end after {TIMEOUT} s") from None
        finally:
            self.end()
        bad = [usage.status for usage in used if usage.status != 0]
        if bad:
            raise Failed(f"{os.path.basename(self.command[0])}: status {bad[0]} {error[-200:]}")
        if "cannot be preloaded" in error:
            raise Failed(error[-200:])
        return used

    def end(self):
        """By force, if it still runs."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.error.close()
        self.folder.cleanup()


def sample_of(usage, **known):
    """A Sample in seconds from what one process used; `known` replaces what was measured better elsewhere."""
    return Sample((usage.user + usage.system) / 1e6, usage.wall / 1e6, usage.peak, None, usage.faults, usage.voluntary,
                  usage.involuntary)._replace(**known)


def median_usage(used):
    return Timed.Usage(*map(statistics.median, zip(*used)))
