"""Clients that go away in the middle of their upload: tabs closed, scanners rebooted, a proxy that loses patience.

Each leaves half a request behind. The service must forget it at once: no worker waits, no memory stays, and it is
neither an error of the service nor a prediction.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.odd import Manner
from harness.load.predict import PredictUser
from harness.load.user import Request

LEAVING = [Manner(leaves_after=share) for share in (0.02, 0.3, 0.9)]


class AbortedUploads(PredictUser):
    arrivals = poisson(40, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "radiographs"

    def request(self, k: int) -> Request:
        question = super().request(k // 2)  # images of both classes take turns, and so do those who stay and who leave
        if k % 2:
            return question
        return question._replace(manner=LEAVING[k // 2 % len(LEAVING)], expected=-1, name="/predict, abandoned")
