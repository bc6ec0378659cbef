"""Another population: an outbreak fills the wards with pneumonia, and the field hospital has another detector.

Every image shows the disease, and is darker, flatter and noisier than those of the training: prevalence, exposure,
contrast and noise shift at once.
"""

from argparse import Namespace
from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser

ILL = 1


class Outbreak(PredictUser):
    arrivals = poisson(40, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "drifted"

    @classmethod
    def prepare(cls, options: Namespace) -> None:
        """Keep the images of the ill alone."""
        super().prepare(options)
        cls.questions = [question for question in cls.questions if question.expected == ILL]
