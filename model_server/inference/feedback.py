"""True labels that come in later, and what they show of the model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from model_server.storage.records import Records

POSITIVE = 1  # a label is an index into CLASSES; this is PNEUMONIA


class Answered(NamedTuple):
    """A prediction that was made."""

    prediction_id: str
    predicted: int
    model_version: str


class Feedback:
    """Scores each prediction that a label comes in for: recent ones from memory, older ones from the database.

    What it shows is of the serving model alone. A label for what another version said is answered and stored, no more.
    """

    def __init__(self, remembered: int = 20_000, window: int = 200, enough: int = 50):
        self.window, self._enough, self._remembered = window, enough, remembered
        self._recent: OrderedDict[str, tuple[str, int, str]] = OrderedDict()  # what `Answered` is made of
        self._labelled: OrderedDict[str, None] = OrderedDict()  # their ids, as the database may not know them yet
        self._version: str | None = None
        self._before: list[tuple[int, int]] = []
        self._scores: OrderedDict[str, tuple[int, int]] = OrderedDict()  # prediction id: (predicted, truth)

    def serves(self, version: str) -> None:
        """Say which model answers from now on."""
        self._version = version

    def begin(self, labelled: list[tuple[str, int, int]]) -> None:
        """Go on from this model's labels in the database: (prediction id, predicted, truth), oldest first. Some may
        have come to this process already."""
        self._before = [(predicted, truth) for name, predicted, truth in labelled if name not in self._scores]

    def remember(self, request_id: str, answered: tuple[str, int, str]) -> None:
        """Keep a prediction's id, result and model for the label that may come; for few of them one does."""
        self._recent[request_id] = answered
        if len(self._recent) > self._remembered:
            self._recent.popitem(last=False)

    async def label(self, request_id: str, truth: int, records: Records | None) -> bool:
        """Whether the prediction was right. Each counts once; KeyError: unknown or labelled. Raises Unavailable."""
        recent = self._recent.pop(request_id, None)
        answered = Answered(*recent) if recent else None
        if answered is None and records is not None:
            found = await records.find(request_id)
            if found is not None and not found.labelled:
                answered = Answered(found.prediction_id, found.predicted, found.model_version)
        if answered is None or answered.prediction_id in self._labelled:
            raise KeyError(request_id)
        self._labelled[answered.prediction_id] = None
        if len(self._labelled) > self._remembered:
            self._labelled.popitem(last=False)
        if answered.model_version == self._version:
            self._scores[answered.prediction_id] = answered.predicted, truth
            if len(self._scores) > self.window:
                self._scores.popitem(last=False)
        if records is not None:
            records.feedback(answered.prediction_id, answered.model_version, answered.predicted, truth)
        return answered.predicted == truth

    @property
    def accuracy(self) -> float | None:
        """The share of right predictions in the window; None until there is enough feedback to say."""
        return self._share(lambda predicted, truth: True)

    @property
    def precision(self) -> float | None:
        """The share of those predicted positive that are; None too when none was."""
        return self._share(lambda predicted, truth: predicted == POSITIVE)

    @property
    def recall(self) -> float | None:
        """The share of the positive that are predicted to be; None too when there was none."""
        return self._share(lambda predicted, truth: truth == POSITIVE)

    def _share(self, of: Callable[[int, int], bool]) -> float | None:
        """The share of right predictions among those in the window that `of` picks."""
        scores = [*self._before, *self._scores.values()][-self.window :]
        right = [predicted == truth for predicted, truth in scores if of(predicted, truth)]
        return sum(right) / len(right) if right and len(scores) >= self._enough else None
