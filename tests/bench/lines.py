"""The workloads of micro.c: one process each, that prints what an operation costs."""
import os
import subprocess

from allocators import output_of
from workload import Failed, Timed, Workload, sample_of


def rows_of(text):
    """micro's output: a line that begins with # names the columns of those that follow."""
    names, rows = [], []
    for line in text.splitlines():
        fields = line.lstrip("#").split("\t")
        if line.startswith("#"):
            names = fields
        else:
            rows.append(dict(zip(names, fields)))
    return rows


class Line(Workload):
    """One line of `micro --list`. A line with a unit other than time is about memory, and its times mean nothing."""

    unit = "ns"

    def __init__(self, micro, row):
        super().__init__(row["line"], row["group"])
        self.micro, self.baseline, self.about_time = micro, row["baseline"] == "1", row["unit"] == "ns"
        self.warms_up = self.about_time  # the load of a line about memory is what it is: there is no less of it
        self.threads, self.ops = int(row["threads"]), int(row["ops"])

    def run(self, allocator, divisor):
        # The column "floor" is micro on an allocator that does nothing, linked in.
        micro = allocator.path if allocator.name == "floor" else self.micro
        env = allocator.environment() if micro == self.micro else dict(os.environ)
        command = [micro, self.name, "--ops", str(max(self.ops // divisor, self.threads))]
        timed = Timed(command, env, stdout=subprocess.PIPE)
        text = timed.process.stdout.read().decode()
        usage = timed.finish()[0]
        result = rows_of(text)[-1]
        source = os.path.realpath(result["malloc"])
        if micro == self.micro and allocator.path and source != os.path.realpath(allocator.path):
            raise Failed(f"malloc came from {source}, not from {allocator.path}")
        times = {"cpu": float(result["cpu_ns"]), "wall": float(result["wall_ns"])}
        held = int(result["idle_kib"])
        # micro's own peak: without its tables, which are the same under all.
        return sample_of(usage, **(times if self.about_time else dict.fromkeys(times)), peak=int(result["peak_kib"]),
                         held=held if held > 0 else None)


def lines(micro):
    """Those of a program, if it is there."""
    return [Line(micro, row) for row in rows_of(output_of(micro, "--list"))] if os.path.exists(micro) else []
