"""Clients that abort in the middle of their upload: a closed tab, a rebooted scanner, a proxy with a short timeout.

Each leaves half a request behind. The service must drop it at once: no worker waits, no memory stays, and it is
neither an error of the service nor a prediction.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import ClientPace, PredictUser, Request

ABORTING = [ClientPace(abort_after=share) for share in (0.02, 0.3, 0.9)]


class AbortedUploads(PredictUser):
    arrivals = poisson(40, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "radiographs"

    def request(self, k: int) -> Request:
        question = super().request(k // 2)  # images of both classes take turns, and so do complete and aborting clients
        if k % 2:
            return question
        return question._replace(pace=ABORTING[k // 2 % len(ABORTING)], expected=-1, name="/predict, abandoned")
