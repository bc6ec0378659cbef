"""Far more than the service can do: a batch import or a retry storm, ten times the ordinary hour.

Its clients are impatient and many, so that what limits the load is the schedule and never the generator.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.predict import PredictUser


class Surge(PredictUser):
    arrivals = poisson(600, seed=11)
    max_in_flight = 4000  # 600 a second that all wait out their 2 s are 1200
    timeout_s = 2.0
    radiographs = Path(__file__).parent / "radiographs"
