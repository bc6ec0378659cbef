"""The Locust User that keeps a schedule: requests leave when they are due, whatever the service does.

A Locust user usually waits for its answer before it goes on, so a service that stalls is simply asked less often and
the stall leaves no trace in the percentiles. One OpenModelUser is all the users there are: it sends the whole
schedule, however many requests wait for their answers, and latency counts from the moment each was meant to leave.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gevent
from configargparse import Namespace
from locust import User, task
from locust.exception import StopUser
from locust.runners import LocalRunner
from locust.user.task import LOCUST_STATE_STOPPING

from harness.errors import HarnessError, UsageError
from harness.load.arrivals import Arrivals, parse
from harness.load.client import Answer, Client, Request
from harness.load.dispatch import MISTAKEN, Visit
from harness.load.runner import Run

logger = logging.getLogger(__name__)


def _seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


class OpenModelUser(User):
    """Subclass it in a scenario, say what the k-th request is, and set what differs:

    arrivals            the schedule, or its text; `--arrivals` on the command line wins
    max_in_flight       requests that may wait for an answer at once; one due beyond that is a row that says UNSENT
    timeout_s           how long a client waits for its answer
    connect_timeout_s   how long for its connection; None: as long as for the answer
    read_timeout_s      how long for the next byte; None: as long as for the answer
    warm                connections opened before the schedule starts
    """

    abstract = True
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
        """The k-th request of the schedule, from 0; X-Request-ID is added. Called as it is due, so it must be quick.

        Give the same Request object again where you can: what goes over the wire is made once for each.

        A visit of several requests is written as a generator; each later one is due `after_s` after the answer before
        it, and no request follows where the visit returns:

            def request(self, k):
                answer = yield Request("POST", "/predict", body=self.images[k % 9])
                if answer.outcome is Outcome.OK:
                    yield Request("POST", "/feedback", body=truth(answer.request_id), after_s=2.0)
        """
        raise UsageError(f"{type(self).__name__} must say what its k-th request is: def request(self, k)")

    def predicted(self, answer: Answer) -> int:
        """The class the service answered, -1 when it gave none. Called for answers with a status below 400."""
        return -1

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
        return Client(
            host,
            timeout_s=cls.timeout_s,
            connect_timeout_s=cls.connect_timeout_s,
            read_timeout_s=cls.read_timeout_s,
            ca_file=getattr(options, "ca_file", None),
            verify=not getattr(options, "insecure", False),
        )

    @task
    def dispatch(self) -> None:
        """Run the whole schedule; further users of the process only watch, for the schedule is the load.

        Where workers share it, it is their master who begins it, and all users watch."""
        if Run.current is None and isinstance(self.environment.runner, LocalRunner):
            try:
                Run(self).start()
            except (HarnessError, OSError) as error:  # only the web UI gets this far with such a mistake
                logger.error(f"{type(self).__name__}: {error}")
                self.environment.process_exit_code = MISTAKEN
                raise StopUser from None
        while self._state != LOCUST_STATE_STOPPING:
            gevent.sleep(0.2)
