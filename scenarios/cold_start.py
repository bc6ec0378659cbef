"""Right after a deployment: everybody at once, on no open connection, to a service that has just become ready.

First requests pay for what start-up left undone; nothing is warmed here, so that it shows.
"""

from pathlib import Path

from harness.load.arrivals import step
from harness.load.locust import PredictUser


class ColdStart(PredictUser):
    arrivals = step((120, 40), every_s=5, seed=7)
    warm = 0
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "radiographs"
