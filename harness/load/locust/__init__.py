"""The generator as a Locust user, and all that a scenario needs beside its schedule (harness.load.arrivals).

Locust has gevent patch the process it is imported into, so only a child of the harness imports this.
"""

from harness.load.locust.open_model import Visit
from harness.load.locust.predict import LabellingUser, PredictUser
from harness.load.locust.user import OpenModelUser
from harness.load.mix import Mix
from harness.load.request import ClientPace, Request, Response

__all__ = [
    "ClientPace",
    "LabellingUser",
    "Mix",
    "OpenModelUser",
    "PredictUser",
    "Request",
    "Response",
    "Visit",
]
