"""How far a figure may lie from those of earlier runs by chance: a prediction interval for one more run.

The runs before say how much a figure varies from run to run, which is far more than it varies within one: another time,
another host, other neighbours. From n values x on a scale where that noise is about normal, one more lies above
mean + t * s * sqrt(1 + 1/n) with probability alpha, t being the quantile 1 - alpha of Student's distribution with n - 1
degrees of freedom (Hahn and Meeker, Statistical Intervals, 4.7): few runs give a wide interval by themselves.

What makes one run slower than another is mostly the machine, and the generator, the same program in each run, meets the
same machine. So a figure is compared with what the runs before lead to expect at the pace of this one: the interval is
that of a regression on the pace (Montgomery, Design and Analysis of Experiments, analysis of covariance), which takes
one more degree of freedom and widens where this run's pace is none that was seen before. What the machine is slower
than it ever was may show in full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POWER = 0.95
FAR = 10.0  # robust standard deviations
FEWEST = 3  # values that show any noise at all


@dataclass(frozen=True)
class Band:
    """Where one more value is expected, on the scale of the values."""

    expected: float
    spread: float  # standard error of the prediction
    df: int
    sigma: float  # of one value
    runs: int
    worst: float  # how far the farthest earlier value lies above what was expected of it
    left_out: tuple[float, ...] = ()  # earlier values that are far from all others
    near: float = 0.0  # how far apart two values may be that are not far from each other

    def bound(self, alpha: float) -> float:
        """What one more value exceeds with probability alpha, and none of the earlier ones did."""
        return self.expected + max(_t(self.df, 1 - alpha) * self.spread, self.worst)

    def detectable(self, alpha: float, power: float = POWER) -> float:
        """The smallest shift that exceeds the bound with this probability."""
        return (_t(self.df, 1 - alpha) + _t(self.df, power)) * self.spread

    def detectable_with(self, runs: int, alpha: float, power: float = POWER) -> float:
        """The same, if there were so many runs of the same noise."""
        used = self.runs - self.df  # degrees of freedom that the mean, and the pace, take
        df = max(1, runs - used)
        return (_t(df, 1 - alpha) + _t(df, power)) * self.sigma * math.sqrt(1 + used / runs)


def band(values: Sequence[float], least: float, pace: Sequence[float] = (), now: float = math.nan) -> Band | None:
    """Where one more value is expected; None of too few.

    values: those of the earlier runs; least: the standard deviation that they have at the least; pace: of each of them,
    in milliseconds, and `now` that of the run that is compared; empty where nobody knows it.
    """
    x, z = np.asarray(values, float), np.asarray(pace, float)
    if len(x) < FEWEST or not np.isfinite(x).all():
        return None
    near = FAR * max(1.4826 * float(np.median(np.abs(x - np.median(x)))), least)
    kept = _alike(x, near)
    more = {"left_out": tuple(x[~kept].tolist()), "near": near}
    x, z = x[kept], z[kept] if len(z) == len(x) else z
    n, mean = len(x), float(x.mean())
    if n >= FEWEST + 1 and len(z) == n and z.min() > 0 and now > 0:
        z = np.log(z)
        around = z - z.mean()
        if (spread_z := float(around @ around)) > n * 1e-6:
            slope = float(around @ x) / spread_z
            left = x - mean - slope * around
            sigma = max(math.sqrt(float(left @ left) / (n - 2)), least)
            off = math.log(now) - float(z.mean())
            spread = sigma * math.sqrt(1 + 1 / n + off * off / spread_z)
            beyond = max(0.0, math.log(now) - float(z.max())) * max(0.0, 1 - slope)
            return Band(mean + slope * off + beyond, spread, n - 2, sigma, n, float(left.max()), **more)
    left = x - mean
    sigma = max(math.sqrt(float(left @ left) / (n - 1)), least)
    return Band(mean, sigma * math.sqrt(1 + 1 / n), n - 1, sigma, n, float(left.max()), **more)


def _alike(x: np.ndarray, near: float) -> np.ndarray:
    """Which values are not far from all others (by the median absolute deviation): one run in which something went
    wrong would hide whatever comes after it. Of too many such none is left out: then that is how the values are."""
    alike = np.abs(x - np.median(x)) <= near
    return alike if np.count_nonzero(~alike) <= len(x) // 5 else np.ones(len(x), bool)


def _t(df: int, probability: float) -> float:
    from scipy.special import stdtrit  # here, because it takes a quarter of a second and most commands judge nothing

    return float(stdtrit(df, probability))
