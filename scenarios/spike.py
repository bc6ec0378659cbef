"""A screening bus uploads its day at once: a quiet service meets ten times its load for ten seconds.

It shows whether what waits is answered in the end or shed at once, and how soon the service is itself again.
"""

from pathlib import Path

from harness.load.arrivals import spike
from harness.load.locust import PredictUser


class Spike(PredictUser):
    arrivals = spike(30, 300, at_s=15, for_s=10, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "radiographs"
