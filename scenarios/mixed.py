"""What really comes in: small JPEGs from workstations, PNG exports and DICOM files from archives, of several sizes.

The formats differ tenfold in what they cost to decode, so a mean says little; the queue is what everybody shares.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser


class Mixed(PredictUser):
    arrivals = poisson(40, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "mixed"
