"""A weekend: the same moderate load for hours, to be run with `--for 8h`.

Nothing here is hard; what shows is what adds up: memory, file descriptors, logs, a queue that never quite empties.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser


class Soak(PredictUser):
    arrivals = poisson(40, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "radiographs"
