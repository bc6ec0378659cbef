"""The Locust User that keeps a schedule: requests leave when they are due, whatever the service does.

A Locust user usually waits for its answer before it goes on, so a service that stalls is simply asked less often and
the stall leaves no trace in the percentiles. One OpenModelUser is all the users there are: it dispatches the whole
schedule, each request in a greenlet of its own, and latency counts from the moment the schedule meant it to leave.
"""

from __future__ import annotations

import logging

import gevent
from configargparse import Namespace
from locust import User, task
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_STOPPING

from harness.errors import HarnessError, UsageError
from harness.load.arrivals import Arrivals, parse
from harness.load.client import Answer, Request
from harness.load.runner import Dispatch

logger = logging.getLogger(__name__)


class OpenModelUser(User):
    """Subclass it in a scenario, say what the k-th request is, and set what differs:

    arrivals        the schedule, or its text; `--arrivals` on the command line wins
    max_in_flight   requests that may wait for an answer at once; one due beyond that is a row that says UNSENT
    timeout_s       how long a client waits for its answer
    warm            connections opened before the schedule starts
    """

    abstract = True
    arrivals: Arrivals | str = "poisson:60/s:seed=7"
    max_in_flight = 1000
    timeout_s = 10.0
    warm = 8

    def request(self, k: int) -> Request:
        """The k-th request of the schedule, from 0; X-Request-ID is added. Called as it is due, so it must be quick."""
        raise UsageError(f"{type(self).__name__} must say what its k-th request is: def request(self, k)")

    def predicted(self, answer: Answer) -> int:
        """The class the service answered, -1 when it gave none. Called for answers with a status below 400."""
        return -1

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

    @task
    def dispatch(self) -> None:
        """Run the whole schedule; further users of the process only watch, for the schedule is the load."""
        if Dispatch.current is None:
            try:
                run = Dispatch(self)
            except (HarnessError, OSError) as error:  # only the web UI gets this far with such a mistake
                logger.error(f"{type(self).__name__}: {error}")
                raise StopUser from None
            run.run()
        while self._state != LOCUST_STATE_STOPPING:
            gevent.sleep(0.2)

    def on_stop(self) -> None:
        if Dispatch.current is not None and Dispatch.current.user is self:
            Dispatch.current.finish()
