"""An attacker tries keys: no key, guesses, and malformed keys, among clients with a valid one.

Meant for a service with authentication on (`--auth on`): each attempt must be a 401, is counted and audited, and the
good clients, whose credentials are the headers of the run (`--headers-file`), notice nothing. A guess that is accepted
is a wrong response.
"""

import random
from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import PredictUser, Request

GUESSES = random.Random(7)


def _guess() -> tuple[tuple[str, str], ...]:
    """The header of a client without a key."""
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
    radiographs = Path(__file__).parent / "radiographs"

    def request(self, k: int) -> Request:
        question = super().request(k // 2)  # images of both classes take turns, and so do the good and the bad
        if k % 2 == 0:
            return question
        return question._replace(
            headers=(*question.headers, *_guess()), expected=-1, expect_status=(401,), name="a guessed key",
            anonymous=True,
        )  # fmt: skip
