"""A morning fills up: wards come on one after the other, from a few requests a second to a full house in a minute.

What breaks here breaks at some rate; the load report's seconds show at which.
"""

from pathlib import Path

from harness.load.arrivals import ramp
from harness.load.locust import PredictUser


class Ramp(PredictUser):
    arrivals = ramp(10, 200, over_s=60, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "radiographs"
