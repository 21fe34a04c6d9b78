"""What was measured, as Markdown and as TSV, and into the README between its marks."""
import datetime
import os
import re
import sys

from figures import FIELDS, SUBJECT, Figures
from workload import Sample

START_UP = "start-up"


def table(rows, words=1):
    """Markdown, of which the first columns are words and the others figures."""
    rows = [rows[0], ["---"] * words + ["---:"] * (len(rows[0]) - words), *rows[1:]]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def digits(value):
    """Three that mean something."""
    if value is None:
        return "failed"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def marked(ratio, wanted):
    if ratio is None:
        return "–"
    return f"**{ratio:.2f}**" if ratio > wanted else f"{ratio:.2f}"


def machine_text():
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        model = re.search(r"^model name\s*: (.*)$", cpuinfo.read(), re.MULTILINE)
    with open("/proc/meminfo", encoding="utf-8") as meminfo:
        gib = int(re.search(r"MemTotal:\s+(\d+)", meminfo.read()).group(1)) / 2**20
    name = model.group(1) if model else os.uname().machine
    return f"{name}, {os.cpu_count()} cores, {gib:.0f} GiB, Linux {os.uname().release}"


class Report:
    """`reference` is whom means by group are relative to; `relative` has each line's figures so too."""

    def __init__(self, runner, fields, reference, relative, command):
        self.runner, self.command = runner, command
        self.all = {field: Figures(runner, field) for field in FIELDS}
        self.figures = {field: self.all[field] for field in fields if self.all[field].value}
        names = [allocator.name for allocator in runner.allocators]
        self.reference = reference if reference in names else "glibc" if "glibc" in names else names[0]
        self.relative = relative

    def lines(self, figures):
        """Every workload of a field, with tarn's ratio to the best peer and how sure that is."""
        compared = SUBJECT in figures.names and figures.peers
        rows = [["group", "line", *figures.names, *(["tarn / best", "± %"] if compared else [])]]
        for group, workloads in self.grouped(figures):
            for workload in workloads:
                row = [group, workload.name + (f", {workload.unit}" if not figures.about.unit else ""),
                       *(self.cell(figures, workload, name) for name in figures.names)]
                if compared:
                    spread = figures.uncertainty(workload)
                    row += [marked(figures.ratio(workload), figures.about.wanted),
                            "–" if spread is None else f"{50 * spread:.0f}"]
                rows.append(row)
        return table(rows, words=2)

    def grouped(self, figures):
        order = list(dict.fromkeys(workload.group for workload in figures.workloads))
        return [(group, [workload for workload in figures.workloads if workload.group == group])
                for group in order if group != START_UP]

    def cell(self, figures, workload, name):
        value = figures.get(workload, name)
        if value is None and name == "floor":
            return "–"
        if not self.relative or value is None:
            return digits(value and value / figures.about.scale)
        base = figures.get(workload, self.reference)
        return f"{value / base:.2f}" if base else "–"

    def sets(self, figures):
        """The groups, then the sums of them that the targets speak of."""
        groups = {group: workloads for group, workloads in figures.groups().items() if group != START_UP}
        ours = [workload for group, workloads in groups.items() if group != "programs" for workload in workloads]
        sums = {"all but programs": ours} if ours and len(groups) > 1 else {}
        if "programs" in groups and ours:
            sums["everything"] = ours + groups["programs"]
        return groups, sums

    def by_group(self, figures):
        groups, sums = self.sets(figures)
        names = [name for name in figures.names if name != "floor"]
        rows = [["geometric mean", "lines", *names, "tarn / best"]]
        for group, workloads in [*groups.items(), *sums.items()]:
            count, means = figures.means(workloads, self.reference)
            ratio, best = figures.versus_best(means)
            cells = [f"{means[name]:.2f}" if means else "–" for name in names]
            rows.append([f"**{group}**" if group in sums else group, str(count), *cells,
                         f"{marked(ratio, 1.0)} {best or ''}"])
        return table(rows)

    def headline(self, figures):
        """How tarn stands, with how many lines are above what is wanted, and which."""
        ratios = {workload.name: figures.ratio(workload) for _, workloads in self.grouped(figures)
                  for workload in workloads}
        ratios = {name: ratio for name, ratio in ratios.items() if ratio is not None}
        if not ratios or figures.about.wanted > 100:
            return ""
        above = sorted((name for name in ratios if ratios[name] > figures.about.wanted), key=ratios.get, reverse=True)
        named = ", ".join(f"{name} {ratios[name]:.2f}" for name in above)
        least = min(ratios.values())
        return (f"{figures.about.title}: on {len(above)} of {len(ratios)} lines tarn is above "
                f"{figures.about.wanted} of the best peer there{': ' + named if above else ''}. Its best line: "
                f"{least:.2f}.")

    def start_up(self):
        """Wall time and resident memory, and what each is above glibc's."""
        wall, peak = self.all["wall"], self.all["peak"]
        workloads = [workload for workload in wall.workloads if workload.group == START_UP]
        if not workloads:
            return ""
        rows = [["start-up", *wall.names]]
        for figures, unit in ((wall, "µs"), (peak, "KiB")):
            for workload in workloads:
                base, cells = figures.get(workload, "glibc"), []
                for name in wall.names:
                    value = figures.get(workload, name)
                    over = f" (+{value - base:.0f})" if value and base and name != "glibc" else ""
                    cells.append((f"{value:.0f}" if value else "–") + over.replace("+-", "−"))
                rows.append([f"`{workload.name}`, {unit}", *cells])
        return (table(rows) + "\n\nIn brackets what it is above glibc's. `true`'s memory is as the kernel counts, "
                "±128 KiB.")

    def spread(self, figures):
        if not figures.spread:
            return ""
        spreads = sorted(figures.spread.values())
        worst = max(figures.spread, key=figures.spread.get)
        return (f"Half of a cell's samples lie within {100 * spreads[len(spreads) // 2]:.0f} % of each other in the "
                f"median cell, {100 * spreads[-1]:.0f} % in the worst ({worst[0]}, {worst[1]}). ")

    def markdown(self):
        rounds = max((len(self.runner.samples.get((workload.name, allocator.name), [])) // workload.turns
                      for workload in self.runner.workloads for allocator in self.runner.allocators), default=0)
        parts = [f"Medians of {rounds} round{'s' if rounds > 1 else ''}, least is best; by group as ratios to "
                 f"{self.reference}. The last column is tarn's mean to that of the one best peer, which is named."]
        for figures in self.figures.values():
            if self.grouped(figures):
                parts += [f"**{figures.about.title}**", self.by_group(figures), self.headline(figures)]
        if any(workload.name == "redis" for workload in self.runner.workloads):
            parts.append("A server's CPU and memory are its own, without the clients. Debian's redis is linked with "
                         "jemalloc: under glibc it runs with glibc's malloc in front of that.")
        parts.append(self.start_up())
        for figures in self.figures.values():
            if self.grouped(figures):
                unit = (f"ratios to {self.reference}" if self.relative
                        else figures.about.unit or "in each line's unit")
                parts += [f"<details><summary>{figures.about.title} of every line, {unit}</summary>",
                          f"{self.spread(figures)}*tarn / best* is to the best peer of that line; *± %* is half the "
                          "wider of the two spreads.", self.lines(figures), "</details>"]
        if self.runner.failures:
            parts.append("Failed: " + "; ".join(f"{name} under {allocator}: {reason}" for (name, allocator), reason
                                                in sorted(self.runner.failures.items())) + ".")
        parts += [f"{machine_text()}; {datetime.date.today()}; " +
                  "; ".join(f"{allocator.name} {allocator.version}" for allocator in self.runner.allocators) + ".\n"
                  f"Made by `{self.command}`; what a line does is told by `micro --list` and tests/bench."]
        return "\n\n".join(filter(None, parts)) + "\n"


def write_tsv(path, runner):
    groups = {workload.name: (workload.group, workload.unit) for workload in runner.workloads}
    with open(path, "w", encoding="utf-8") as tsv:
        print("group", "line", "unit", "allocator", "round", *Sample._fields, sep="\t", file=tsv)
        for (line, allocator), taken in runner.samples.items():
            group, unit = groups[line]
            for number, sample in enumerate(taken, 1):
                cells = ("" if value is None else f"{value:.6g}" if isinstance(value, float) else value
                         for value in sample)
                print(group, line, unit, allocator, number, *cells, sep="\t", file=tsv)


def readme_parts(path, name):
    """What stands before, with the first mark of that name, and after, with the second one."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    with open(path, encoding="utf-8") as readme:
        text = readme.read()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        sys.exit(f"bench: {path} needs {begin.strip()} and {end}, once each, in this order")
    return text[:text.index(begin)] + begin, text[text.index(end):]


def write_readme(path, name, text):
    before, after = readme_parts(path, name)
    with open(path, "w", encoding="utf-8") as readme:
        readme.write(before + text + after)
