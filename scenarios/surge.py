"""A batch import: an archive sends its full-size exports, several times faster than the service can decode them.

Large PNGs and not merely more requests, so that what gives in is the service, on any machine, and not the generator.
Its clients are impatient and many.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser


class Surge(PredictUser):
    arrivals = poisson(400, seed=11)
    max_in_flight = 4000  # 400 a second that all wait out their 2 s are 800
    timeout_s = 2.0
    radiographs = Path(__file__).parent / "exports"
