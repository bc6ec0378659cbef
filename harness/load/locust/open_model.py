"""What the user of a scenario states: its schedule, its requests, its limits. How they are sent is for others."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import UsageError
from harness.load import headers
from harness.load.arrivals import Arrivals, parse
from harness.load.client import Client
from harness.load.request import Request, Response

Visit = Generator[Request, Response, None]


def _seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


class OpenModel:
    """Of OpenModelUser, all but what makes it a user of Locust.

    arrivals            the schedule, or its text; `--arrivals` on the command line wins
    max_in_flight       requests that may wait for a response at once; one due beyond that is a row with UNSENT
    timeout_s           how long a client waits for its response
    connect_timeout_s   how long for its connection; None: as long as for the response
    read_timeout_s      how long for the next byte; None: as long as for the response
    warm                connections opened before the schedule starts
    """

    environment: Any  # Locust's
    host: str | None
    arrivals: Arrivals | str = "poisson:60/s:seed=7"
    max_in_flight = 1000
    timeout_s = 10.0
    connect_timeout_s: float | None = None
    read_timeout_s: float | None = None
    warm = 8
    limits: ClassVar[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {  # what each attribute must be
        "max_in_flight": ("a whole number from 1", lambda value: type(value) is int and value >= 1),
        "timeout_s": ("seconds above 0", _seconds),
        "connect_timeout_s": ("seconds above 0 or None", lambda value: value is None or _seconds(value)),
        "read_timeout_s": ("seconds above 0 or None", lambda value: value is None or _seconds(value)),
        "warm": ("a whole number from 0", lambda value: type(value) is int and value >= 0),
    }

    def request(self, k: int) -> Request | Visit:
        """The k-th request of the schedule, from 0; X-Request-ID is added. Called when it is due, so it must be quick.

        Give the same Request object again where you can: its bytes are made once.

        A visit of several requests is written as a generator; each later one is due `after_s` after the response
        before it, and no request follows where the visit returns:

            def request(self, k):
                response = yield Request("POST", "/predict", body=self.images[k % 9])
                if response.outcome is Outcome.OK:
                    yield Request("POST", "/feedback", body=truth(response.request_id), after_s=2.0)
        """
        raise UsageError(f"{type(self).__name__} must define its k-th request: def request(self, k)")

    def predicted(self, response: Response) -> int | tuple[int, float]:
        """The class in a response, -1 when there is none; or the class and the probability that the answer gives, of
        whatever it is one, so that the same input can be seen to get the same. Called for each that has a good status,
        its Content-Encoding undone. An answer without a class does not serve a request that states the class of its
        input (`expected`)."""
        return -1

    @classmethod
    def predicts(cls) -> bool:
        """Whether it has its own `predicted`."""
        return cls.predicted is not OpenModel.predicted

    @classmethod
    def check(cls, options: Namespace) -> None:
        """Raises UsageError with everything that is wrong with the attributes and the schedule."""
        wrong = [
            f"{cls.__name__}.{name}: must be {must_be}, got {value!r}"
            for name, (must_be, fits) in cls.limits.items()
            if not fits(value := getattr(cls, name))
        ]
        try:
            cls.schedule(options)
        except UsageError as error:
            wrong.append(str(error))
        if wrong:
            raise UsageError("; ".join(wrong))

    @classmethod
    def prepare(cls, options: Namespace) -> None:
        """Make ready what requests need. Called once, before any load; raises HarnessError with what is wrong."""

    @classmethod
    def schedule(cls, options: Namespace) -> Arrivals:
        """The schedule of this run. Raises UsageError."""
        chosen = getattr(options, "arrivals", None) or cls.arrivals
        schedule = parse(chosen) if isinstance(chosen, str) else chosen
        if not callable(getattr(schedule, "times", None)):
            raise UsageError(f"{cls.__name__}.arrivals: must be a schedule such as poisson(60, seed=7), got {chosen!r}")
        return schedule

    @classmethod
    def client(cls, host: str, options: Namespace) -> Client:
        """What sends the requests. Raises UsageError."""
        headers_file = getattr(options, "headers_file", None)
        return Client(
            host,
            timeout_s=cls.timeout_s,
            connect_timeout_s=cls.connect_timeout_s,
            read_timeout_s=cls.read_timeout_s,
            headers=headers.read(Path(headers_file)) if headers_file else (),
            ca_file=getattr(options, "ca_file", None),
            verify=not getattr(options, "insecure", False),
            client_cert=getattr(options, "client_cert", None),
            client_key=getattr(options, "client_key", None),
            connect_to=getattr(options, "connect_to", None),
        )
