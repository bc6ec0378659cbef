"""Radiologists contradict the model: of two in five predictions they report the other class.

What the service learns from its feedback is that its model has become worse, whatever the reason.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import LabellingUser, Request

CONTRADICTED, OF = 2, 5


class Mislabelled(LabellingUser):
    arrivals = poisson(30, seed=7)
    timeout_s = 5.0
    feedback_after_s = 1.0  # stands for the hours until the report is written
    radiographs = Path(__file__).parent / "radiographs"
    reports = 0

    def feedback(self, request_id: str, truth: int) -> Request:
        self.reports += 1
        return super().feedback(request_id, 1 - truth if self.reports % OF < CONTRADICTED else truth)
