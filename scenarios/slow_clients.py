"""Clients on bad lines: some send their image a few bytes at a time, some read responses as slowly, most are ordinary.

What looks like an attack (slow-loris) is a ward with a failing access point: each holds a connection for as long as it
lasts, and the ordinary clients beside them must not notice.
"""

from pathlib import Path

from harness.load.arrivals import poisson
from harness.load.locust import ClientPace, PredictUser, Request

SLOW_TO_SEND = ClientPace(send_per_s=4000)
SLOW_TO_READ = ClientPace(read_per_s=100)


class SlowClients(PredictUser):
    arrivals = poisson(30, seed=7)
    timeout_s = 8.0
    radiographs = Path(__file__).parent / "radiographs"

    def request(self, k: int) -> Request:
        question = super().request(k + k // 6)  # images of both classes take turns; none belongs to one kind of client
        if k % 6 == 1:
            return question._replace(pace=SLOW_TO_SEND, name="/predict, slowly sent")
        if k % 6 == 4:
            return question._replace(pace=SLOW_TO_READ, name="/predict, slowly read")
        return question
