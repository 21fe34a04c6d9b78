"""Who is compared: tarn, glibc, what Debian packs, and libraries named by path."""
import collections
import glob
import os
import subprocess
import sys

DEBIAN = {  # name: (package, file)
    "jemalloc": ("libjemalloc2", "libjemalloc.so.2"),
    "mimalloc": ("libmimalloc2.0", "libmimalloc.so.2.0"),
    "tcmalloc": ("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4"),
    "tbbmalloc": ("libtbbmalloc2", "libtbbmalloc_proxy.so.2"),
}


class Allocator(collections.namedtuple("Allocator", "name path settings version", defaults=("", {}, ""))):
    """A library to preload, or none for glibc, with environment variables of its own."""

    def environment(self, preload=None, **more):
        """That of a program under this allocator. `preload` stands in where there is no library."""
        dropped = ("LD_PRELOAD", "TARN_LIB")  # the second is bench.sh's, and tarn would call it a wrong setting
        env = {name: value for name, value in os.environ.items() if name not in dropped}
        path = self.path or preload
        return {**env, "LC_ALL": "C", **({"LD_PRELOAD": path} if path else {}), **self.settings, **more}


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def output_of(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip()


def system_library(file):
    """The path of one of Debian's libraries, or of nothing."""
    return next(iter(glob.glob(f"/usr/lib/*/{file}")), file)


def package_version(package):
    return output_of("dpkg-query", "-W", "-f", "${Version}", package) or "?"


def from_option(text):
    """An allocator from NAME=PATH, or NAME='VARIABLE=VALUE… PATH'."""
    name, rest = text.split("=", 1)
    *settings, path = rest.split()
    return Allocator(name, path, dict(setting.split("=", 1) for setting in settings), rest)


def find(tarn, peers, only):
    """Those there are. One whose library is missing is left out with a line, so that the rest is still compared."""
    wanted = [Allocator("tarn", tarn, {}, output_of("git", "describe", "--always", "--dirty") or "?")] if tarn else []
    wanted.append(Allocator("glibc", "", {}, package_version("libc6")))
    wanted += [Allocator(name, system_library(file), {}, package_version(package))
               for name, (package, file) in DEBIAN.items()]
    wanted += map(from_option, peers)
    chosen = {}
    for allocator in wanted:
        if only and allocator.name not in only:
            continue
        if allocator.path and not os.path.isfile(allocator.path):
            note(f"{allocator.name} is left out: there is no {allocator.path}")
            continue
        chosen[allocator.name] = allocator._replace(path=allocator.path and os.path.abspath(allocator.path))
    for name in set(only) - set(chosen):
        note(f"{name} is left out: nothing has this name")
    return list(chosen.values())
