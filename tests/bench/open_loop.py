"""A Locust file: the prepared bodies of a folder, on a schedule. `BODIES` and `CONTENT_TYPE` say which."""

import os
from pathlib import Path
from typing import ClassVar

from harness.load.locust import OpenModelUser, Request


class Prepared(OpenModelUser):
    timeout_s = 5.0
    max_in_flight = 8000
    bodies: ClassVar[list[bytes]] = []

    @classmethod
    def prepare(cls, options) -> None:
        cls.bodies = [path.read_bytes() for path in sorted(Path(os.environ["BODIES"]).iterdir())]
        cls.headers = (("Content-Type", os.environ["CONTENT_TYPE"]),)

    def request(self, k: int) -> Request:
        return Request("POST", "/predict", self.headers, self.bodies[k % len(self.bodies)])
