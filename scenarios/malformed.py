"""What should never have been sent: truncated, empty and random bodies, wrong types, broken feedback, unknown paths.

Each must be a 4xx, quickly (any other status is a failure), and none may cost another client its response: every
second request is a good one.
"""

import random
from pathlib import Path
from typing import ClassVar

from harness.load.arrivals import poisson
from harness.load.locust import Mix, PredictUser, Request


def _typed(kind: str) -> tuple[tuple[str, str], ...]:
    return (("Content-Type", kind),)


REFUSED = range(400, 500)
NOISE = random.Random(7).randbytes(4096)
BAD = {
    "empty": Request("POST", "/predict", _typed("image/jpeg"), b"", name="empty body"),
    "noise": Request("POST", "/predict", _typed("image/jpeg"), NOISE, name="random bytes"),
    "text": Request("POST", "/predict", _typed("text/plain"), b"a chest radiograph", name="text as an image"),
    "feedback": Request("POST", "/feedback", _typed("application/json"), b'{"request_id": 1', name="broken feedback"),
    "label": Request(
        "POST", "/feedback", _typed("application/json"), b'{"request_id": "x", "label": "MAYBE"}', name="unknown label"
    ),
    "path": Request("POST", "/../../etc/passwd", _typed("image/jpeg"), NOISE, name="path trick"),
    "method": Request("DELETE", "/predict", name="wrong method"),
}
BAD = {kind: request._replace(expect_status=REFUSED) for kind, request in BAD.items()}


class Malformed(PredictUser):
    arrivals = poisson(40, seed=7)
    timeout_s = 5.0
    radiographs = Path(__file__).parent / "radiographs"
    kinds: ClassVar[Mix] = Mix({"good": len(BAD) + 1, "truncated": 1, **dict.fromkeys(BAD, 1)})

    def request(self, k: int) -> Request:
        kind, whole = self.kinds(k), super().request(k)
        if kind == "truncated":
            half = whole.body[: len(whole.body) // 2]
            return whole._replace(body=half, expected=-1, expect_status=REFUSED, name="truncated image")
        return whole if kind == "good" else BAD[kind]
