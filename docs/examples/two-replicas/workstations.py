"""Many workstations that each send a radiograph now and then, and so on a connection of its own.

Behind one address a connection stays with its replica. Clients that keep theirs open go on asking the replicas that
were there first: a canary that has just been started would get next to nothing to do.
"""

from pathlib import Path
from typing import ClassVar

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser


class Workstations(PredictUser):
    arrivals = poisson(60, seed=7)
    timeout_s = 5.0
    headers: ClassVar = (("Connection", "close"),)
    radiographs = Path(__file__).parents[3] / "scenarios/radiographs"
