"""More every ten seconds until it breaks: the steps double from 50 requests a second to far beyond one server.

`harness capacity` finds the edge exactly; this shows what lies behind it: shedding, latency, recovery.
"""

from pathlib import Path

from harness.load.arrivals import step
from harness.load.locust import PredictUser


class Stress(PredictUser):
    arrivals = step((50, 100, 200, 400, 800, 1600), every_s=10, seed=7)
    max_in_flight = 4000
    timeout_s = 2.0
    radiographs = Path(__file__).parent / "radiographs"
