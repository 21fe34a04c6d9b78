"""Servers under load: redis, memcached, and PostgreSQL under pgbench. What the server used counts, not its clients.

A load is a fixed amount of work, and what is left of it in the server, or was answered, is compared.
"""
import glob
import hashlib
import os
import pwd
import shutil
import socket
import signal
import subprocess
import threading
import time

import inputs
from allocators import system_library
from programs import WORK, Program
from workload import Failed, Timed, sample_of

QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}


def wait_for(what, answers):
    for _ in range(300):
        if answers():
            return
        time.sleep(0.05)
    raise Failed(f"{what} doesn't answer")


def connects(path):
    """Whether someone listens there."""
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect_ex(path) == 0


class Server(Program):
    """start(), load() and stop() are the server's own; all of them leave nothing behind."""

    def run(self, allocator, divisor):
        server = self.start(allocator)
        try:
            begin = time.monotonic()
            output, known = self.load(divisor)
            known["wall"] = time.monotonic() - begin  # without start and end, some of which are naps
            self.stop()
            usage = server.finish()[0]
        except (OSError, subprocess.SubprocessError) as reason:
            raise Failed(f"{type(reason).__name__}: {reason}") from None
        finally:
            server.end()
        self.compare(allocator, divisor, output)
        return sample_of(usage, **known)

    def start(self, allocator):
        raise NotImplementedError

    def load(self, divisor):
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError


class Redis(Server):
    """Three clients send commands of all types as fast as they can."""

    needs = ("redis-server", "redis-cli")
    CLIENTS, COMMANDS = 3, 200000

    def __init__(self, folder):
        super().__init__("redis", folder)
        self.socket = os.path.join(folder, "redis.sock")

    def start(self, allocator):
        # Debian's redis is linked with jemalloc; glibc in front of it is how it would be without.
        env = allocator.environment(preload=system_library("libc.so.6"))
        server = Timed(["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", self.folder,
                        "--enable-debug-command", "yes"], env, **QUIET)
        wait_for("redis", lambda: connects(self.socket))
        return server

    def cli(self, *words, **streams):
        return subprocess.Popen(["redis-cli", "-s", self.socket, *words], **{"stdout": subprocess.PIPE, **streams})

    def load(self, divisor):
        clients = []
        for part in range(self.CLIENTS):
            path = os.path.join(self.folder, f"redis.{part}.{divisor}")
            if not os.path.exists(path):
                inputs.redis_commands(path, part, self.COMMANDS // divisor)
            with open(path, "rb") as commands:
                clients.append(self.cli("--pipe", stdin=commands, stdout=subprocess.DEVNULL))
        if any(client.wait() != 0 for client in clients):
            raise Failed("a client of redis failed")
        return self.cli("DEBUG", "DIGEST").communicate()[0], {}

    def stop(self):
        self.cli("SHUTDOWN", "NOSAVE").communicate()


class Memcached(Server):
    """Clients at once on two threads: each sends all it has, and reads what comes back."""

    needs = ("memcached",)
    CLIENTS, COMMANDS = 4, 200000

    def __init__(self, folder):
        super().__init__("memcached", folder)
        self.socket, self.pid = os.path.join(folder, "memcached.sock"), os.path.join(folder, "memcached.pid")
        self.commands = {}

    def start(self, allocator):
        server = Timed(["memcached", "-s", self.socket, "-t", "2", "-m", "512", "-P", self.pid,
                        *(["-u", "root"] if os.getuid() == 0 else [])], allocator.environment(), **QUIET)
        wait_for("memcached", lambda: os.path.exists(self.pid) and connects(self.socket))
        return server

    def client(self, number, commands, answers):
        digest = hashlib.md5()
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(self.socket)
            sender = threading.Thread(target=one.sendall, args=(commands,))
            sender.start()
            while part := one.recv(1 << 18):
                digest.update(part)
            sender.join()
        answers[number] = digest.digest()

    def load(self, divisor):
        if divisor not in self.commands:
            each = self.COMMANDS // self.CLIENTS // divisor
            self.commands[divisor] = [inputs.memcached_commands(number, each) for number in range(self.CLIENTS)]
        answers = {}
        clients = [threading.Thread(target=self.client, args=(number, commands, answers))
                   for number, commands in enumerate(self.commands[divisor])]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return b"".join(answers.get(number, b"none") for number in range(self.CLIENTS)), {}

    def stop(self):
        with open(self.pid, encoding="ascii") as pid:
            os.kill(int(pid.read()), signal.SIGTERM)


class Postgres(Server):
    """pgbench with four clients: queries that sort, group and make JSON, and pgbench's own transaction.

    Memory is the sum over the server's processes, shared pages shared out, at its largest in five looks a second.
    """

    needs = ("pgbench",)
    CLIENTS, TRANSACTIONS = 4, 300

    def __init__(self, folder):
        super().__init__("postgres", folder)
        self.home, self.bin = os.path.join(folder, "postgres"), next(iter(sorted(glob.glob(
            "/usr/lib/postgresql/*/bin"), reverse=True)), "")
        self.user = "nobody" if os.getuid() == 0 else None  # it refuses to be root
        self.data = os.path.join(self.home, "data")

    def missing(self):
        return super().missing() or ([] if self.bin else ["postgres"])

    def command(self, program, *words, **streams):
        return subprocess.run([os.path.join(self.bin, program), *words], user=self.user, check=True,
                              env=dict(os.environ, PGHOST=self.home, PGUSER="me", LC_ALL="C"), cwd=self.home,
                              stderr=subprocess.PIPE, **{"stdout": subprocess.PIPE, **streams}).stdout

    def prepare(self):
        os.mkdir(self.home)
        if self.user:
            os.chmod(self.folder, 0o755)
            os.chown(self.home, pwd.getpwnam(self.user).pw_uid, -1)
        self.command("initdb", "-D", self.data, "-U", "me", "-A", "trust", "--no-sync")
        server = self.serve(dict(os.environ, LC_ALL="C"))
        try:
            self.command("pgbench", "-i", "-q", "-s", "1", "postgres")
            self.stop()
            server.finish()
        finally:
            server.end()
        os.rename(self.data, self.data + ".new")

    def serve(self, env):
        server = Timed([os.path.join(self.bin, "postgres"), "-D", self.data, "-k", self.home, "-c", "listen_addresses=",
                        "-c", "fsync=off", "-c", "shared_buffers=32MB", "-c", "autovacuum=off", "-c", "jit=off"],
                       env, user=self.user, cwd=self.home, **QUIET)
        wait_for("postgres", self.answers)
        return server

    def answers(self):
        try:
            return self.command("psql", "-XAtc", "SELECT 1", "postgres") == b"1\n"
        except subprocess.CalledProcessError:
            return False

    def start(self, allocator):
        shutil.rmtree(self.data, ignore_errors=True)
        subprocess.run(["cp", "-a", self.data + ".new", self.data], check=True)
        return self.serve(allocator.environment())

    def master(self):
        with open(os.path.join(self.data, "postmaster.pid"), encoding="ascii") as pid:
            return int(pid.readline())

    def resident(self):
        total, master = 0, self.master()
        with open(f"/proc/{master}/task/{master}/children", encoding="ascii") as children:
            everyone = [master, *map(int, children.read().split())]
        for pid in everyone:
            try:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as text:
                    total += sum(int(line.split()[1]) for line in text if line.startswith("Pss:"))
            except OSError:
                pass  # it ended meanwhile
        return total

    def load(self, divisor):
        bench = subprocess.Popen(
            ["pgbench", "-n", "--random-seed=1", "-h", self.home, "-U", "me", "-c", str(self.CLIENTS), "-j", "1", "-t",
             str(self.TRANSACTIONS // divisor), "-f", os.path.join(WORK, "work.pgbench"), "postgres"],
            env=dict(os.environ, LC_ALL="C"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peak = 0
        while bench.poll() is None:
            peak = max(peak, self.resident())
            time.sleep(0.2)
        if bench.returncode != 0:
            raise Failed(f"pgbench: status {bench.returncode}")
        query = ("SELECT count(*), sum(delta) FROM pgbench_history; "
                 "SELECT md5(string_agg(aid || ':' || abalance, ',' ORDER BY aid)) FROM pgbench_accounts")
        return self.command("psql", "-XAtc", query, "postgres"), {"peak": peak}

    def stop(self):
        os.kill(self.master(), signal.SIGINT)


def servers(folder):
    return [Redis(folder), Memcached(folder), Postgres(folder)]
