"""True labels that come in later, and the accuracy they show."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

POSITIVE = 1  # a label is an index into CLASSES; this is PNEUMONIA


class Feedback:
    """Remembers recent predictions by request id and scores those a label comes in for."""

    def __init__(self, remembered: int = 20_000, window: int = 200, enough: int = 50):
        self._predictions: OrderedDict[str, int] = OrderedDict()
        self._remembered, self._enough = remembered, enough
        self._labelled: deque[tuple[int, int]] = deque(maxlen=window)  # (predicted, true)

    def remember(self, request_id: str, predicted: int) -> None:
        self._predictions[request_id] = predicted
        if len(self._predictions) > self._remembered:
            self._predictions.popitem(last=False)

    def label(self, request_id: str, truth: int) -> bool:
        """Whether the prediction was right. Each counts once; KeyError: unknown, forgotten or labelled."""
        predicted = self._predictions.pop(request_id)
        self._labelled.append((predicted, truth))
        return predicted == truth

    @property
    def accuracy(self) -> float | None:
        """The share of right predictions in the window; None until there is enough feedback to say."""
        return self._share(lambda predicted, truth: True)

    @property
    def precision(self) -> float | None:
        """The share of those predicted positive that are; None until there is enough feedback to say."""
        return self._share(lambda predicted, truth: predicted == POSITIVE)

    @property
    def recall(self) -> float | None:
        """The share of the positive that are predicted to be; None until there is enough feedback to say."""
        return self._share(lambda predicted, truth: truth == POSITIVE)

    def _share(self, of: Callable[[int, int], bool]) -> float | None:
        right = [predicted == truth for predicted, truth in self._labelled if of(predicted, truth)]
        return sum(right) / len(right) if right and len(self._labelled) >= self._enough else None
