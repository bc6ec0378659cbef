"""The question most scenarios ask: POST /predict of one labelled radiograph; and telling the service what it showed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from configargparse import Namespace

from harness.history import Outcome
from harness.load import corpus
from harness.load.client import Answer
from harness.load.dispatch import Visit
from harness.load.user import OpenModelUser, Request


class PredictUser(OpenModelUser):
    """Sends the images of a corpus in turn; `radiographs` is where they are unless `--corpus` says so."""

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

    def predicted(self, answer: Answer) -> int:
        try:
            return corpus.CLASSES.index(json.loads(answer.body)["class"].upper())
        except (ValueError, LookupError, TypeError, AttributeError):
            return -1


class LabellingUser(PredictUser):
    """Asks, and some time after the answer tells the service what the image really showed, as a radiologist would."""

    abstract = True
    feedback_path = "/feedback"
    feedback_after_s = 2.0
    limits = OpenModelUser.limits | {
        "feedback_after_s": ("seconds from 0", lambda value: type(value) in (int, float) and 0 <= value < math.inf)
    }

    def request(self, k: int) -> Visit:
        question = super().request(k)
        answer = yield question
        if answer.outcome is Outcome.OK and question.expected >= 0:
            yield self.feedback(answer.request_id, question.expected)

    def feedback(self, request_id: str, truth: int) -> Request:
        """The request that tells what the image of an earlier one showed."""
        body = json.dumps({"request_id": request_id, "label": corpus.CLASSES[truth]}).encode()
        headers = (("Content-Type", "application/json"), *self.headers)
        return Request("POST", self.feedback_path, headers, body, after_s=self.feedback_after_s)
