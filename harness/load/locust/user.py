"""The Locust User with an open model: requests are sent when they are due, whatever the service does.

A Locust user usually waits for its response before it goes on (a closed model), so a service that stalls gets fewer
requests and the stall leaves no trace in the percentiles: coordinated omission. One OpenModelUser is all the users
there are: it sends the whole schedule, however many requests wait for their responses, and latency counts from the
moment each was due.
"""

from __future__ import annotations

import logging
from argparse import Namespace

import gevent
from locust import User, task
from locust.exception import StopUser
from locust.runners import LocalRunner
from locust.user.task import LOCUST_STATE_STOPPING

from harness.errors import HarnessError, UsageError
from harness.load.locust.dispatch import MISTAKEN
from harness.load.locust.open_model import OpenModel
from harness.load.locust.runner import Run

logger = logging.getLogger(__name__)


class OpenModelUser(OpenModel, User):
    """Subclass it in a scenario, define its k-th request, and set those attributes of OpenModel that differ."""

    abstract = True

    @classmethod
    def check(cls, options: Namespace) -> None:
        """Also raises it for tasks: Locust would run one of them, at random, instead of the schedule."""
        wrong = []
        if own := sorted({t.__name__ for t in cls.tasks if t is not OpenModelUser.dispatch}):
            wrong.append(f"{cls.__name__}: its schedule is all that runs, so it must have no tasks: {', '.join(own)}")
        try:
            super().check(options)
        except UsageError as error:
            wrong.append(str(error))
        if wrong:
            raise UsageError("; ".join(wrong))

    @task
    def dispatch(self) -> None:
        """Run the whole schedule; further users of the process only watch, for the schedule is the load.

        With distributed load the master begins it, and all users watch."""
        if Run.current is None and isinstance(self.environment.runner, LocalRunner):
            try:
                Run(self).start()
            except (HarnessError, OSError) as error:  # only the web UI gets this far with such a mistake
                logger.error(f"{type(self).__name__}: {error}")
                self.environment.process_exit_code = MISTAKEN
                raise StopUser from None
        while self._state != LOCUST_STATE_STOPPING:
            gevent.sleep(0.2)
