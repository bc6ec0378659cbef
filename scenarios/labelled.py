"""Radiologists confirm or correct: each prediction is followed, a little later, by what the image really showed.

So the service learns its own accuracy, and an alert on it has something to read.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import LabellingUser


class Labelled(LabellingUser):
    arrivals = poisson(30, seed=7)
    timeout_s = 5.0
    feedback_after_s = 1.0  # stands for the hours until the report is written
    radiographs = Path(__file__).parent / "radiographs"
