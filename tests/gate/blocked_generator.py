"""A scenario whose generator stalls itself: every tenth request takes 0.3 s to make. Only tests load with it."""

import time
from pathlib import Path

from harness.load.arrivals import constant
from harness.load.locust import PredictUser


class Blocked(PredictUser):
    arrivals = constant(40)
    radiographs = Path(__file__).parent / "radiographs"

    def request(self, k):
        if k % 10 == 0:
            time.sleep(0.3)
        return super().request(k)
