"""How often a good run is called worse than its baseline, and how surely a slower one is: runs made by chance.

    python tests/bench/baseline_power.py [PAIRS]

A pair is a baseline of so many runs and one more. Each run has figures as those of gates of the bundled service on one
machine had (docs/benchmarks.md): the machine's pace wanders from run to run, the figures follow it in part, and have
noise of their own, with heavier tails than a normal distribution and, in a few runs, a stall.
"""

import sys
from dataclasses import dataclass

import numpy as np

from harness.checks.baseline_figures import BaselineFigures
from harness.history import PastRun

# median, how it follows the pace, and the standard deviation of its logarithm besides
STEADY = {
    "latency p50": (4.1, 0.5, 0.012), "latency p90": (5.2, 0.6, 0.025), "latency p95": (5.6, 0.6, 0.035),
    "latency p99": (7.1, 0.7, 0.07), "latency p99.9": (10.0, 0.7, 0.2), "latency longest": (13.0, 0.6, 0.3),
    "processor": (1.75, 0.8, 0.02), "memory": (366, 0.0, 0.008), "goodput": (121.8, 0.0, 0.001),
}  # fmt: skip
CRASH = {
    "served again": (13.5, 0.3, 0.05), "errors": (0.48, 0.0, 0.04),
    **{f"fires Alert{n}": (60 * (n + 1), 0.1, 0.06) for n in range(7)},
    **{f"notified Alert{n}": (60 * (n + 2), 0.1, 0.10) for n in range(6)},
}  # fmt: skip
PACE, WANDERS, STEPS = 0.31, 0.12, 0.03  # ms; how far from run to run; and how far the machine drifts each time
STALLS = 0.01  # share of runs in which the longest requests waited for something
REQUESTS = 5113


@dataclass
class Machine:
    """Makes runs one after another."""

    draw: np.random.Generator
    level: float = 0.0  # the logarithm of its pace, without what changes from run to run

    def run(self, slower: float = 1.0, id: str = "") -> PastRun:
        self.level = 0.9 * self.level + STEPS * self.draw.standard_normal()
        pace = self.level + WANDERS * self.draw.standard_normal()
        stalled = self.draw.random() < STALLS
        of_phase = {"steady": self._figures(STEADY, pace), "crash": self._figures(CRASH, pace)}
        steady = of_phase["steady"]
        steady |= {"errors": self.draw.binomial(REQUESTS, 5e-5) / REQUESTS, "requests": float(REQUESTS)}
        of_phase["crash"] |= {"requests": 3200.0, "errors": min(1.0, of_phase["crash"]["errors"])}
        for name in steady:
            if name.startswith("latency"):
                steady[name] *= slower
        if stalled:
            steady["latency longest"] += 60
            steady["latency p99.9"] += 15
        return PastRun(id, 0.0, of_phase, {}, {})

    def _figures(self, of_it: dict, pace: float) -> dict[str, float]:
        noise = self.draw.standard_t(5, len(of_it)) / np.sqrt(5 / 3)
        found = {
            name: median * float(np.exp(follows * pace + sigma * off))
            for (name, (median, follows, sigma)), off in zip(of_it.items(), noise, strict=True)
        }
        return found | {"pace": PACE * float(np.exp(pace))}


def worse(machine: Machine, runs: int, slower: float = 1.0) -> tuple[int, int, bool]:
    """Of one pair: how many figures were compared, how many called worse, and whether the median latency was."""
    past = [machine.run() for _ in range(runs)]
    now = machine.run(slower)
    found = [
        one
        for check in (BaselineFigures("steady"), BaselineFigures("crash", "crash"))
        for one in check.compare(dict(now.figures[check.phase]), past)[1]
    ]
    return len(found), sum(one.worse for one in found), any(one.worse and one.name == "latency p50" for one in found)


def rates(pairs: int, runs: int, slower: float = 1.0, seed: int = 1) -> tuple[float, float, float]:
    """Of so many pairs: the share of figures called worse, of runs with any such, and of slower medians found."""
    draw = np.random.default_rng(seed)
    each = [worse(Machine(draw), runs, slower) for _ in range(pairs)]
    figures, bad, found = map(np.array, zip(*each, strict=True))
    return float(bad.sum() / figures.sum()), float((bad > 0).mean()), float(found.mean())


if __name__ == "__main__":
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{pairs} pairs each          figures worse  runs with any   p50 +5 %  +10 % found  +20 %")
    for runs in (5, 6, 8, 10, 15, 20):
        figures, any_worse, _ = rates(pairs, runs)
        found = [rates(pairs // 4, runs, slower)[2] for slower in (1.05, 1.1, 1.2)]
        print(f"{runs:>3} runs in the baseline {figures:>12.3%} {any_worse:>14.1%}", *(f"{f:>10.1%}" for f in found))
