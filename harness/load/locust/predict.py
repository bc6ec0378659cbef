"""The requests of most scenarios: POST /predict of one labelled radiograph, and the label that follows it."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from harness.history import Outcome
from harness.load import corpus
from harness.load.locust.open_model import Visit
from harness.load.locust.user import OpenModelUser
from harness.load.request import Request, Response


class PredictUser(OpenModelUser):
    """Sends the images of a corpus in turn; `radiographs` is their folder unless `--corpus` names another."""

    abstract = True
    path = "/predict"
    headers: ClassVar[Iterable[tuple[str, str]]] = ()  # of every request, beside its content type
    radiographs: Path
    questions: ClassVar[list[Request]] = []  # one for each image

    @classmethod
    def prepare(cls, options: Namespace) -> None:
        """Read the images. Raises UsageError when there are none."""
        cls.questions = [
            Request("POST", cls.path, (("Content-Type", kind), *cls.headers), body, expected)
            for body, expected, kind in corpus.read(Path(getattr(options, "corpus", None) or cls.radiographs))
        ]

    def request(self, k: int) -> Request | Visit:
        return self.questions[k % len(self.questions)]

    def predicted(self, response: Response) -> tuple[int, float]:
        try:
            answer = json.loads(response.body)
            label = corpus.CLASSES.index(answer["class"].upper())
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return -1, math.nan
        probability = answer.get("probability")
        if probability is None:
            return label, math.nan
        number = type(probability) in (int, float) and not math.isnan(probability)
        return label, probability if number else math.inf  # what is no number is no probability from 0 to 1 either


class LabellingUser(PredictUser):
    """Some time after each response it sends the true label of the image, as a radiologist would."""

    abstract = True
    feedback_path = "/feedback"
    feedback_after_s = 2.0
    limits = OpenModelUser.limits | {
        "feedback_after_s": ("seconds from 0", lambda value: type(value) in (int, float) and 0 <= value < math.inf)
    }

    def request(self, k: int) -> Visit:
        question = super().request(k)
        response = yield question
        if response.outcome is Outcome.OK and question.expected >= 0:
            yield self.feedback(response.request_id, question.expected)

    def feedback(self, request_id: str, truth: int) -> Request:
        """The request with the true label of an earlier one."""
        body = json.dumps({"request_id": request_id, "label": corpus.CLASSES[truth]}).encode()
        headers = (("Content-Type", "application/json"), *self.headers)
        return Request("POST", self.feedback_path, headers, body, after_s=self.feedback_after_s)
