"""Somebody tries keys: no key, guesses, and keys in odd shapes, among clients who have done nothing wrong.

Meant for a service with authentication on (`--auth on`): each attempt must be a 401, is counted and audited, and the
good clients (`HARNESS_API_KEY` holds their key) notice nothing. A guess that is let in is a wrong answer.
"""

import os
import random
from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.predict import PredictUser
from harness.load.user import Request

GUESSES = random.Random(7)
KEY = os.environ.get("HARNESS_API_KEY", "")


def _guess() -> tuple[tuple[str, str], ...]:
    """A header as somebody without a key sends it."""
    kind = GUESSES.randrange(4)
    if kind == 0:
        return ()
    if kind == 1:
        return (("Authorization", f"Bearer {GUESSES.randbytes(32).hex()}"),)
    if kind == 2:
        return (("Authorization", "Basic YWRtaW46YWRtaW4="),)
    return (("X-API-Key", "A" * GUESSES.choice((1, 4096))),)


class Credentials(PredictUser):
    arrivals = poisson(40, seed=7)
    timeout_s = 5.0
    headers = (("Authorization", f"Bearer {KEY}"),) if KEY else ()
    radiographs = Path(__file__).parent / "radiographs"

    def request(self, k: int) -> Request:
        question = super().request(k // 2)  # images of both classes take turns, and so do the good and the bad
        if k % 2 == 0:
            return question
        kind = tuple(h for h in question.headers if h[0] == "Content-Type")
        return question._replace(headers=(*kind, *_guess()), expected=-1, answers=(401,), name="a guessed key")
