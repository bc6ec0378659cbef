"""Clients that try again: half of them at once, as naive ones do, half with exponential backoff, four times at most.

Harmless while all is well. When the service sheds or fails, the impatient half multiplies the load just when there is
least room for it, and a short fault becomes a long one.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser, Visit

TRIES = 5
BACKOFF_S = 0.2  # doubled each time; naive clients do not wait at all


class RetryStorm(PredictUser):
    arrivals = poisson(60, seed=7)
    max_in_flight = 4000
    timeout_s = 1.0
    radiographs = Path(__file__).parent / "radiographs"

    def request(self, k: int) -> Visit:
        question = super().request(k // 2)  # images of both classes take turns, and so do the naive and the patient
        wait_s = BACKOFF_S if k % 2 else 0.0
        for _ in range(TRIES):
            response = yield question
            if 200 <= response.status < 500:
                return
            question = question._replace(after_s=wait_s)
            wait_s *= 2
