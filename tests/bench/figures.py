"""Medians, spreads, ratios and geometric means of one field of the samples."""
import collections
import math
import statistics

SUBJECT = "tarn"
NOT_PEERS = (SUBJECT, "floor")

# What a field is called, what its figures are divided by for a table, and above which ratio to the best one is marked.
Field = collections.namedtuple("Field", "title unit scale wanted")
FIELDS = {
    "cpu": Field("CPU time", "", 1, 1.05),
    "wall": Field("Wall time", "", 1, 1.05),
    "peak": Field("Peak RSS", "MiB", 1024, 1.25),
    "held": Field("RSS held after the load", "MiB", 1024, 1.25),
    "faults": Field("Minor page faults", "", 1, math.inf),
    "voluntary": Field("Voluntary context switches", "", 1, math.inf),
    "involuntary": Field("Involuntary context switches", "", 1, math.inf),
}


def geomean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


class Figures:
    """One field: `value` and `spread` by (workload's name, allocator's name).

    A median of 0 (context switches) has no ratio and counts in no mean.
    """

    def __init__(self, runner, field):
        self.field, self.about = field, FIELDS[field]
        self.names = [allocator.name for allocator in runner.allocators]
        self.peers = [name for name in self.names if name not in NOT_PEERS]
        self.value, self.spread = {}, {}
        for key, samples in runner.samples.items():
            taken = [getattr(sample, field) for sample in samples]
            if None in taken:
                continue
            self.value[key] = statistics.median(taken)
            if len(taken) > 2 and self.value[key]:
                low, _, high = statistics.quantiles(taken, n=4, method="inclusive")
                self.spread[key] = (high - low) / self.value[key]
        self.workloads = [workload for workload in runner.workloads
                          if any((workload.name, name) in self.value for name in self.names)]

    def get(self, workload, name):
        return self.value.get((workload.name, name)) or None

    def best_peer(self, workload):
        """The least of the peers' figures, and whose it is."""
        return min(((self.get(workload, peer), peer) for peer in self.peers if self.get(workload, peer)),
                   default=(None, None))

    def ratio(self, workload):
        """tarn's to the best of its peers."""
        best, ours = self.best_peer(workload)[0], self.get(workload, SUBJECT)
        return ours / best if ours and best and not workload.baseline else None

    def uncertainty(self, workload):
        """The wider spread of the two that ratio() compares; None with too few samples."""
        pair = [self.spread.get((workload.name, name)) for name in (SUBJECT, self.best_peer(workload)[1])]
        return max((spread for spread in pair if spread is not None), default=None)

    def groups(self):
        """Workloads by group, baselines left out."""
        grouped = collections.defaultdict(list)
        for workload in self.workloads:
            if not workload.baseline:
                grouped[workload.group].append(workload)
        return grouped

    def means(self, workloads, reference):
        """How many workloads have a figure under every allocator, and each one's geometric mean on those, as a ratio
        to the reference's."""
        names = [name for name in self.names if name != "floor"]
        whole = [workload for workload in workloads if all(self.get(workload, name) for name in names)]
        if not whole:
            return 0, {}
        return len(whole), {name: geomean([self.get(workload, name) / self.get(workload, reference)
                                           for workload in whole]) for name in names}

    def versus_best(self, means):
        """tarn's mean to that of the one best peer, and who that is."""
        best = min((peer for peer in self.peers if peer in means), key=means.get, default=None)
        return (means[SUBJECT] / means[best], best) if best and SUBJECT in means else (None, None)
