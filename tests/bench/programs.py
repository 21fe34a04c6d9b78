"""Whole programs that run from their start to their end, each on work of ours. Servers are in servers.py.

Every run's output is compared: an allocator under which a program says something else has failed.
"""
import hashlib
import os
import subprocess

import inputs
from allocators import output_of
from workload import Failed, Timed, Workload, sample_of

WORK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "work")


class Program(Workload):
    """A workload whose output is compared."""

    def __init__(self, name, folder):
        super().__init__(name, "programs")
        self.folder, self.said = folder, {}

    def compare(self, allocator, divisor, output):
        digest = hashlib.md5(output).hexdigest()
        first, expected = self.said.setdefault(divisor, (allocator.name, digest))
        if digest != expected:
            raise Failed(f"its output is not what it is under {first}")


class Command(Program):
    """A program with arguments, of which {n} becomes the amount of work."""

    def __init__(self, name, folder, n, *command, needs=None, stdin=None, **env):
        super().__init__(name, folder)
        self.n, self.command, self.stdin, self.env = n, command, stdin, env
        self.needs = needs or command[:1]

    def run(self, allocator, divisor):
        command = [word.replace("{n}", str(max(self.n // divisor, 1))) for word in self.command]
        with open(self.stdin or os.devnull, "rb") as given:
            timed = Timed(command, allocator.environment(**self.env), stdin=given, stdout=subprocess.PIPE)
            output = timed.process.stdout.read()
            usage = timed.finish()[0]
        self.compare(allocator, divisor, output)
        return sample_of(usage)


class Compiler(Command):
    """gcc's compiler proper: the driver's own memory is nobody's concern."""

    def __init__(self, folder, n):
        super().__init__("gcc", folder, n, needs=("gcc",))
        self.compiler = output_of("gcc", "-print-prog-name=cc1") if not self.missing() else ""

    def run(self, allocator, divisor):
        functions = max(self.n // divisor, 1)
        source = os.path.join(self.folder, f"{functions}.c")
        if not os.path.exists(source):
            inputs.c_source(source, functions)
        self.command = (self.compiler, "-quiet", "-O2", source, "-o", "-")
        return super().run(allocator, divisor)


class Git(Command):
    """Packs a history, then reads all of it. The history itself is made once."""

    SCRIPT = ("git -C {r} -c pack.threads=2 repack -adfq --depth=20 --window=10 && git -C {r} log -p --stat --all && "
              "git -C {r} blame main -- dir1/file1.txt && git -C {r} diff main~50 main && git -C {r} fsck --full")

    def __init__(self, folder, n):
        super().__init__("git", folder, n, needs=("git",), HOME=folder, GIT_CONFIG_NOSYSTEM="1")

    def run(self, allocator, divisor):
        commits = max(self.n // divisor, 60)
        repository = os.path.join(self.folder, f"history{commits}.git")
        if not os.path.exists(repository):
            stream = os.path.join(self.folder, "stream")
            inputs.git_stream(stream, commits)
            with open(stream, "rb") as given:
                subprocess.run(["git", "init", "-q", "--bare", repository], check=True)
                subprocess.run(["git", "-C", repository, "fast-import", "--quiet"], stdin=given, check=True)
        self.command = ("sh", "-c", self.SCRIPT.replace("{r}", repository))
        return super().run(allocator, divisor)


def work(name):
    return os.path.join(WORK, name)


def commands(folder, bank):
    """All of them; n is such that each takes a second or two."""
    return [
        Compiler(folder, 400),
        Command("C++ maps", folder, 150000, bank, "{n}"),
        Command("python3", folder, 80000, "python3", "-S", work("work.py"), "{n}",
                PYTHONMALLOC="malloc", PYTHONHASHSEED="0"),
        Command("perl", folder, 300000, "perl", work("work.pl"), "{n}", PERL_HASH_SEED="0"),
        Command("ruby", folder, 100000, "ruby", "--disable-gems", work("work.rb"), "{n}"),
        Command("lua", folder, 250000, "lua5.4", work("work.lua"), "{n}"),
        Command("node", folder, 150000, "node", work("work.js"), "{n}"),
        Command("sqlite3", folder, 250000, "sqlite3", ":memory:", ".parameter set :n {n}", f".read {work('work.sql')}",
                HOME=folder),
        Command("ghostscript", folder, 100, "gs", "-q", "-dNOPAUSE", "-dBATCH", "-dSAFER", "-sDEVICE=ppmraw", "-r72",
                "-dN={n}", "-sOutputFile=-", work("work.ps")),
        Git(folder, 2500),
    ]
