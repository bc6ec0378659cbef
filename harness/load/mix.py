"""Which of several kinds of request comes next, by their weights."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from typing import Generic, TypeVar

from harness.errors import UsageError

Kind = TypeVar("Kind")
_GOLDEN = (math.sqrt(5) - 1) / 2


class Mix(Generic[Kind]):
    """Calling it with k gives the kind of the k-th request: `Mix({"predict": 9, "status": 1})(k)`.

    A pure function of k, and nearer to the weights in every stretch than chance would be; yet never in step with
    whatever else is chosen by k, such as the image. Raises UsageError for weights that make no sense.
    """

    def __init__(self, weights: Mapping[Kind, float]):
        if not weights or not all(math.isfinite(w) and w > 0 for w in weights.values()):
            raise UsageError(f"weights: each must be above 0, got {dict(weights)!r}")
        total = sum(weights.values())
        self._kinds = list(weights)
        self._edges = [edge / total for edge in accumulate(weights.values())][:-1]

    def __call__(self, k: int) -> Kind:
        return self._kinds[bisect(self._edges, (0.5 + k * _GOLDEN) % 1.0)]
