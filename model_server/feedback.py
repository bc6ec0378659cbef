"""True labels that come in later, and the accuracy they show."""

from __future__ import annotations

from collections import OrderedDict, deque


class Feedback:
    """Remembers recent predictions by request id and scores those a label comes in for."""

    def __init__(self, remembered: int = 20_000, window: int = 200, enough: int = 50):
        self._predictions: OrderedDict[str, int] = OrderedDict()
        self._remembered, self._enough = remembered, enough
        self._right: deque[bool] = deque(maxlen=window)

    def remember(self, request_id: str, predicted: int) -> None:
        self._predictions[request_id] = predicted
        if len(self._predictions) > self._remembered:
            self._predictions.popitem(last=False)

    def label(self, request_id: str, truth: int) -> bool:
        """Whether the prediction was right. Each counts once; KeyError: unknown, forgotten or labelled."""
        right = self._predictions.pop(request_id) == truth
        self._right.append(right)
        return right

    @property
    def accuracy(self) -> float | None:
        """The share of right predictions in the window; None until there is enough feedback to say."""
        return sum(self._right) / len(self._right) if len(self._right) >= self._enough else None
