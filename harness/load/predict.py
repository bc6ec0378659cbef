"""The question most scenarios ask: POST /predict of one labelled radiograph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from configargparse import Namespace

from harness.load import corpus
from harness.load.client import Answer
from harness.load.user import OpenModelUser, Request


class PredictUser(OpenModelUser):
    """Sends the images of a corpus in turn; `radiographs` is where they are unless `--corpus` says so."""

    abstract = True
    path = "/predict"
    radiographs: Path
    _images: ClassVar[list[corpus.Image]] = []

    @classmethod
    def prepare(cls, options: Namespace) -> None:
        """Read the images. Raises UsageError when there are none."""
        cls._images = corpus.read(Path(getattr(options, "corpus", None) or cls.radiographs))

    def request(self, k: int) -> Request:
        image = self._images[k % len(self._images)]
        return Request("POST", self.path, (("Content-Type", image.content_type),), image.body, image.expected)

    def predicted(self, answer: Answer) -> int:
        try:
            return corpus.CLASSES.index(json.loads(answer.body)["class"].upper())
        except (ValueError, LookupError, TypeError, AttributeError):
            return -1
