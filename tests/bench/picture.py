"""The same as a picture: a row for each line, a dot for each allocator, time on the left and memory on the right.

A dot's place is the ratio to the best peer of its row, so the peers begin at 1 and tarn is where it is. Readable on a
light and on a dark ground. Written by hand: SVG is text.
"""
import math
from html import escape

from figures import SUBJECT

PALETTE = ("#7f7f7f", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#a6761d", "#66a61e", "#e7298a")
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .head { font-weight: 600 } .small { font-size: 11px; fill: #57606a } .right { text-anchor: end }
  .middle { text-anchor: middle } .grid { stroke: #d0d7de } .one { stroke: #57606a } .band { fill: #f6f8fa }
  .tarn { fill: #d9480f; stroke: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9da7b3 } .grid { stroke: #30363d } .one { stroke: #9da7b3 }
    .band { fill: #161b22 } .tarn { fill: #ff922b; stroke: #0d1117 }
  }"""
ROW, LABEL, PANEL, GAP, TOP = 17, 190, 340, 44, 76
LEAST, MOST = 0.4, 4.0  # what lies beyond is drawn at the edge, as a triangle
TICKS = (0.5, 0.75, 1, 1.5, 2, 3, 4)


class Picture:
    """Rows of (label, is it a mean?, figures of the left panel by name, of the right panel by name)."""

    def __init__(self, names, rows, titles):
        self.names, self.rows, self.titles = [name for name in names if name != "floor"], rows, titles
        self.width = LABEL + len(titles) * (PANEL + GAP)
        self.height = TOP + ROW * len(rows) + 30
        others = [name for name in self.names if name != SUBJECT]
        self.colour = dict(zip(others, PALETTE * (len(others) // len(PALETTE) + 1)))

    def svg(self):
        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                 f'width="{self.width}" height="{self.height}" role="img">', f"<style>{STYLE}\n</style>"]
        parts += self.legend()
        for number, title in enumerate(self.titles):
            parts += self.frame(LABEL + number * (PANEL + GAP), title)
        for number, (label, is_mean, *panels) in enumerate(self.rows):
            y = TOP + ROW * number + ROW // 2
            if is_mean:
                parts.insert(2, f'<rect class="band" x="0" y="{y - ROW // 2}" width="{self.width}" height="{ROW}"/>')
            parts.append(f'<text class="right{" head" if is_mean else ""}" x="{LABEL - 12}" y="{y + 4}">'
                         f"{escape(label)}</text>")
            for panel, values in enumerate(panels):
                parts += self.dots(LABEL + panel * (PANEL + GAP), y, values)
        return "\n".join([*parts, "</svg>", ""])

    def legend(self):
        parts, x = [], 12
        for name in self.names:
            parts.append(self.dot(name, x, 14, name))
            parts.append(f'<text x="{x + 10}" y="18">{escape(name)}</text>')
            x += 26 + 7 * len(name)
        self.width = max(self.width, x)
        return parts

    def frame(self, left, title):
        parts = [f'<text class="head" x="{left}" y="46">{escape(title)}</text>']
        bottom = TOP + ROW * len(self.rows)
        for tick in TICKS:
            x = left + self.place(tick)
            parts.append(f'<line class="{"one" if tick == 1 else "grid"}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" '
                         f'y2="{bottom}"/>')
            parts += [f'<text class="small middle" x="{x:.1f}" y="{y}">{tick:g}×</text>'
                      for y in (TOP - 11, bottom + 15)]
        return parts

    def place(self, ratio):
        span = math.log2(MOST / LEAST)
        return PANEL * math.log2(min(max(ratio, LEAST), MOST) / LEAST) / span

    def dots(self, left, y, values):
        """tarn's last, so that it lies on top."""
        peers = [values[name] for name in self.names if name != SUBJECT and values.get(name)]
        if not peers:
            return []
        best = min(peers)
        order = [name for name in self.names if name != SUBJECT] + [SUBJECT]
        return [self.dot(name, left + self.place(values[name] / best), y, f"{name} {values[name] / best:.2f}",
                         (values[name] / best > MOST) - (values[name] / best < LEAST))
                for name in order if values.get(name)]

    def dot(self, name, x, y, title, beyond=0):
        look = 'class="tarn"' if name == SUBJECT else f'fill="{self.colour[name]}" fill-opacity="0.75"'
        size = 5.5 if name == SUBJECT else 4
        if beyond:
            tip, base = x + beyond * size, x - beyond * size
            shape = f'polygon points="{tip:.1f},{y} {base:.1f},{y - size} {base:.1f},{y + size}"'
        else:
            shape = f'circle cx="{x:.1f}" cy="{y}" r="{size}"'
        return f"<{shape} {look}><title>{escape(title)}</title></{shape.split()[0]}>"


def rows_of(report, fields, every_line):
    """Means of groups; with every_line the group's lines under each, else the programs alone."""
    left = report.all[fields[0]]
    groups, sums = report.sets(left)
    rows = []
    for group, workloads in [*groups.items(), *sums.items()]:
        rows.append((group, True, *(report.all[field].means(workloads, report.reference)[1] for field in fields)))
        if group in sums or (group != "programs" and not every_line):
            continue
        for workload in workloads:
            rows.append((workload.name, False, *({name: report.all[field].get(workload, name)
                                                  for name in left.names} for field in fields)))
    return rows


def write(path, report, fields, every_line):
    titles = [f"{report.all[field].about.title}, relative to the best peer" for field in fields]
    with open(path, "w", encoding="utf-8") as svg:
        svg.write(Picture(report.all[fields[0]].names, rows_of(report, fields, every_line), titles).svg())
