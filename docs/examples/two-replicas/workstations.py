"""Many workstations that each send a radiograph now and then, and so on a connection of its own.

Behind one address a connection stays with its replica. Clients that keep theirs open go on asking the replicas that
were there first: a canary that has just been started would get next to nothing to do.
"""

from pathlib import Path
from typing import ClassVar

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser, Request


class Workstations(PredictUser):
    arrivals = poisson(60, seed=7)
    timeout_s = 5.0
    headers: ClassVar = (("Connection", "close"),)
    radiographs = Path(__file__).parents[3] / "scenarios/radiographs"

    def request(self, k: int) -> Request:
        """Each image twice: the classes take turns, and so do the replicas, of which one would else get all the ill."""
        return super().request(k // 2)
