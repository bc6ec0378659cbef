"""Failed batches: of which kind each is, and after how many in a row the model is taken not to work."""

import re
from typing import Any

import numpy as np

from model_server.errors import Problem

MEMORY = re.compile(r"out of memory|can't allocate memory|_ALLOC_FAILED", re.IGNORECASE)
CUDA = re.compile(r"cuda|cudnn|cublas|nvrtc|accelerator", re.IGNORECASE)
KINDS = ("not_finite", "out_of_memory", "cuda", "other")


class NotFinite(RuntimeError):
    """The network answered what is no number, or overflowed on the way to its answer."""


class InferenceFailed(Problem):
    """What each request of a failed batch is answered: 500, with the kind as its reason. The cause is for the log."""

    def __init__(self, cause: Exception):
        self.kind = kind_of(cause)
        super().__init__(500, f"inference_{self.kind}", "the model failed on the batch that this request was in")
        self.__cause__ = cause


def kind_of(error: Exception) -> str:
    """One of KINDS. Told by name and text: most of what CUDA's libraries say comes as a plain RuntimeError."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, NotFinite):
        return "not_finite"
    if isinstance(error, MemoryError) or "OutOfMemory" in said or MEMORY.search(said):
        return "out_of_memory"
    return "cuda" if CUDA.search(said) else "other"


def finite(probabilities: np.ndarray) -> np.ndarray:
    """The same, where each is a number. Raises NotFinite."""
    if wrong := int(np.count_nonzero(~np.isfinite(probabilities))):
        raise NotFinite(f"{wrong} of {len(probabilities)} answers are no numbers")
    return probabilities


class Failures:
    """The batches that failed since the last one that did not.

    A client's image may be the cause of each, and must not end the process: that takes a failed canary among them.
    """

    def __init__(self, counter: Any, unready_after: int, dead_after: int):
        self._counter, self._unready_after, self._dead_after = counter, unready_after, dead_after
        for kind in KINDS:  # from 0, so that a rate sees the first of each
            counter.labels(kind)
        self.in_a_row = 0
        self._canary_failed = False

    def failed(self, kind: str, canary: bool) -> None:
        self.in_a_row += 1
        self._canary_failed |= canary
        self._counter.labels(kind).inc()

    def worked(self) -> None:
        self.in_a_row, self._canary_failed = 0, False

    @property
    def few(self) -> bool:
        """Few enough in a row to be asked for more."""
        return self.in_a_row < self._unready_after

    @property
    def hopeless(self) -> bool:
        """So many that only a restart may help."""
        return self._canary_failed and self.in_a_row >= self._dead_after
