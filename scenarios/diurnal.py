"""Days in minutes: the load of a hospital swings between night and noon, here once in two minutes.

Autoscalers, warm caches and rate alerts tuned on averages see what they do at both ends.
"""

from pathlib import Path

from harness.load.arrivals import sine
from harness.load.locust import PredictUser


class Diurnal(PredictUser):
    arrivals = sine(10, 120, over_s=120, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "radiographs"
