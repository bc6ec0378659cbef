"""True labels that come in later, and what they show of the model."""

from collections import OrderedDict
from collections.abc import Callable

from model_server.storage.records import Found, Records, Unavailable, of_several

POSITIVE = 1  # a label is an index into CLASSES; this is PNEUMONIA


class Shared(Exception):
    """Several predictions have this request id."""


class Feedback:
    """Keeps each prediction, and scores those that a label comes in for: recent ones from memory, older ones from the
    database, once there are `records`.

    What it shows is of the serving model alone. A label for what another version said is answered and stored, no more.
    """

    def __init__(self, remembered: int = 20_000, window: int = 200, enough: int = 50):
        self.window, self._enough, self._remembered = window, enough, remembered
        self._recent: OrderedDict[str, Found] = OrderedDict()  # by id
        self._labelled: OrderedDict[str, None] = OrderedDict()  # their ids, as the database may not know them yet
        self.records: Records | None = None
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

    def remember(
        self, prediction_id: str, request_id: str, predicted: int, model_version: str, probability: float
    ) -> None:
        """Keep what was predicted for the label that may come; for few of them one does. Never waits."""
        self._recent[prediction_id] = Found(prediction_id, request_id, predicted, model_version)
        if len(self._recent) > self._remembered:
            self._recent.popitem(last=False)
        if self.records is not None:
            self.records.put(
                "predictions", id=prediction_id, request_id=request_id, model_version=model_version,
                predicted=predicted, probability=probability,
            )  # fmt: skip

    async def label(self, truth: int, *, prediction_id: str = "", request_id: str = "") -> bool:
        """Whether the prediction was right; it is named by its own id, or by a request id that no other has. Each
        counts once. Raises KeyError (unknown or labelled), Shared, and Unavailable."""
        if prediction_id:
            answered = self._recent.get(prediction_id) or await self._stored(prediction_id)
        else:
            answered = await self._only_of(request_id)
        if answered.prediction_id in self._labelled:
            raise KeyError(answered.prediction_id)
        self._labelled[answered.prediction_id] = None
        if len(self._labelled) > self._remembered:
            self._labelled.popitem(last=False)
        if answered.model_version == self._version:
            self._scores[answered.prediction_id] = answered.predicted, truth
            if len(self._scores) > self.window:
                self._scores.popitem(last=False)
        if self.records is not None:
            self.records.put(
                "feedback", prediction_id=answered.prediction_id, model_version=answered.model_version,
                predicted=answered.predicted, truth=truth,
            )  # fmt: skip
        return answered.predicted == truth

    async def _stored(self, prediction_id: str) -> Found:
        found = await self.records.find(prediction_id) if self.records is not None else None
        if found is None or found.labelled:
            raise KeyError(prediction_id)
        return found

    async def _only_of(self, request_id: str) -> Found:
        """The one prediction of a request id. While the database is away: the one of those that are remembered."""
        names = request_id, of_several(request_id, 0)
        found = {name: one for name, one in self._recent.items() if one.request_id in names}
        if self.records is not None:
            try:
                found |= {one.prediction_id: one for one in await self.records.of_request(request_id)}
            except Unavailable:
                if not found:
                    raise
        if len(found) > 1 or any(one.request_id != request_id for one in found.values()):
            raise Shared(request_id)
        for only in found.values():
            if not only.labelled:
                return only
        raise KeyError(request_id)

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
