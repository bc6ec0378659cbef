"""Yesterday again: the arrivals of a recorded hour, at the moments they came, here ten times as fast.

The bundled trace holds a burst, a lull and a second, longer burst. For your own: a file of times in seconds, one a
line, or the requests-load.rows of any run: `--arrivals replay:runs/ID/requests-load.rows:speed=2`.
"""

from pathlib import Path

from harness.load.arrivals import replay
from harness.load.locust import PredictUser

HERE = Path(__file__).parent


class TraceReplay(PredictUser):
    arrivals = replay(HERE / "traces" / "hour.times", speed=10)
    timeout_s = 5.0
    radiographs = HERE / "radiographs"
