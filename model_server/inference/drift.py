"""Whether recent inputs look like those the model was trained on.

Simple features of each image are compared with their distribution over the training set by the population stability
index, the sum over the bins of (seen - expected) * ln(seen / expected) (N. Siddiqi, Credit Risk Scorecards, 2006, whose
rule of thumb it is that below 0.1 nothing has changed and above 0.25 much has). The bins hold equal shares of the
training set. From N images of an unchanged population the index is about (bins - 1) / N by chance alone.
"""

import math
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from prometheus_client.core import GaugeMetricFamily, Metric

BINS = 5
WINDOW = 400  # images compared
ENOUGH = 400  # fewer say little: by chance alone, 100 of an unchanged population reached 0.24
AT_MOST_EVERY_S = 0.02  # images are looked at; under load, a sample of them
LEAST_SHARE = 1e-3  # of an empty bin, whose logarithm is infinite

Reference = Mapping[str, Sequence[float]]  # feature: the inner edges of its bins


def features(pixels: np.ndarray) -> dict[str, float]:
    """Of one image, uint8 (side, side): its exposure, contrast, sharpness and noise."""
    image = pixels.astype(np.float32)
    across, along = np.diff(image, axis=1), np.diff(image, axis=0)
    bends = np.diff(across, axis=0)  # structure of the body is smooth, and cancels out
    return {
        "exposure": float(image.mean()),
        "contrast": float(image.std()),
        "sharpness": math.sqrt((across**2).mean() + (along**2).mean()),
        "noise": float(np.abs(bends).mean()),
    }


def reference(images: np.ndarray) -> dict[str, list[float]]:
    """The edges of bins that hold equal shares of the images, uint8 (n, side, side)."""
    seen = [features(image) for image in images]
    shares = np.arange(1, BINS) / BINS
    return {name: np.quantile([one[name] for one in seen], shares).round(4).tolist() for name in seen[0]}


class Drift:
    """A collector of `ml_feature_drift`, absent until there are a reference and enough images."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._edges: Reference = {}
        self._next = 0.0
        self._recent: deque[dict[str, int]] = deque(maxlen=WINDOW)  # each feature's bin

    def against(self, edges: Reference) -> None:
        """Compare with this from now on; with an empty one, with nothing."""
        self._recent.clear()
        self._edges = edges

    def see(self, pixels: np.ndarray) -> None:
        """Take the first of some images, uint8 (n, side, side), into account, if it is time for one again."""
        now = self._clock()
        if self._edges and now >= self._next:
            self._next = now + AT_MOST_EVERY_S
            seen = features(pixels[0])
            self._recent.append({name: bisect_left(edges, seen[name]) for name, edges in self._edges.items()})

    def scores(self) -> dict[str, float]:
        """The index of each feature; empty until enough has been seen."""
        recent = list(self._recent)
        if len(recent) < ENOUGH:
            return {}
        return {
            name: _stability(np.bincount([one[name] for one in recent], minlength=len(edges) + 1))
            for name, edges in self._edges.items()
        }

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "ml_feature_drift", "Population stability index of recent inputs against the training set.",
            labels=("feature",),
        )  # fmt: skip
        for name, score in self.scores().items():
            family.add_metric((name,), score)
        yield family


def _stability(counts: np.ndarray) -> float:
    """The index of counts in bins that are expected to hold equal shares."""
    expected = 1 / len(counts)
    seen = np.maximum(counts / counts.sum(), LEAST_SHARE)
    return float(((seen - expected) * np.log(seen / expected)).sum())
