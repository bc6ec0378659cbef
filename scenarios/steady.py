"""An ordinary hour: many independent radiology workstations, each sending a radiograph now and then.

60 requests a second, well within what one server keeps up with; what its users see here is what the SLOs promise.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser


class Steady(PredictUser):
    arrivals = poisson(60, seed=7)
    timeout_s = 5.0  # a workstation's patience; 1,000 may wait at once, so a hang is recorded whole up to 200/s
    radiographs = Path(__file__).parent / "radiographs"
