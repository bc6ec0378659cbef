"""A new detector is installed: under-exposed, flatter and noisier images than any the model was trained on.

The service goes on answering 200; whether drift metrics, confidence and accuracy tell is the question.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser


class Drifted(PredictUser):
    arrivals = poisson(40, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "drifted"
