"""Change points: where a figure's level changed in a series of runs.

Pettitt's test (Applied Statistics 28, 1979) finds the one place of a series at which the ranks before and after differ
most, without asking how the figures are distributed; each part is then searched again (binary segmentation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SIGNIFICANCE = 0.01
FEWEST = 4  # runs on each side of a change: fewer show none at that significance anyway


def changes(values: Sequence[float], significance: float = SIGNIFICANCE) -> list[int]:
    """The positions of the values with which another level begins, in order."""
    return sorted(_within(np.asarray(values, float), 0, significance))


def _within(x: np.ndarray, offset: int, significance: float) -> list[int]:
    n = len(x)
    if n < 2 * FEWEST:
        return []
    from scipy.stats import rankdata  # here, because it takes a second and most commands need none

    u = 2 * np.cumsum(rankdata(x))[:-1] - np.arange(1, n) * (n + 1)
    u[: FEWEST - 1] = u[n - FEWEST :] = 0
    at = int(np.argmax(np.abs(u))) + 1
    if 2 * math.exp(-6 * float(u[at - 1]) ** 2 / (n**3 + n**2)) > significance:
        return []
    left = _within(x[:at], offset, significance)
    return [*left, offset + at, *_within(x[at:], offset + at, significance)]
