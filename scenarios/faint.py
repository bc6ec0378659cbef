"""Findings that are hardly to be seen: images half way between healthy and ill, of which the model is not sure.

Each is a mixture of a healthy and an ill image that the bundled model gives a probability of about one half. Everything
is answered 200 and in time; that its confidence collapses is all that shows.
"""

from argparse import Namespace
from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser


class Faint(PredictUser):
    arrivals = poisson(40, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "faint"

    @classmethod
    def prepare(cls, options: Namespace) -> None:
        """Nobody knows what they show; their folders only give them an order."""
        super().prepare(options)
        cls.questions = [question._replace(expected=-1) for question in cls.questions]
