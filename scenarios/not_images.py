"""An attack on the decoder: truncated, empty and random bodies sent as images, and texts, faster than anybody mistypes.

Each must be a 4xx, quickly; any other status is a failure. All go to one address, as a scanner's requests do.
"""

import random
from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser, Request

REFUSED = range(400, 500)
IMAGE, TEXT = (("Content-Type", "image/jpeg"),), (("Content-Type", "text/plain"),)
BAD = [
    Request("POST", "/predict", IMAGE, b"", expect_status=REFUSED, name="empty body"),
    Request("POST", "/predict", IMAGE, random.Random(7).randbytes(4096), expect_status=REFUSED, name="random bytes"),
    Request("POST", "/predict", TEXT, b"a chest radiograph", expect_status=REFUSED, name="text as an image"),
]


class NotImages(PredictUser):
    arrivals = poisson(40, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "radiographs"

    def request(self, k: int) -> Request:
        turn, kind = divmod(k, len(BAD) + 1)
        if kind < len(BAD):
            return BAD[kind]
        whole = super().request(turn)
        half = whole.body[: len(whole.body) // 2]
        return whole._replace(body=half, expected=-1, expect_status=REFUSED, name="truncated image")
