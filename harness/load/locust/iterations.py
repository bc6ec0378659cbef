"""An open model of any users of Locust: their iterations arrive by a schedule, whatever the service does.

An iteration is what a user does between two waits: one task, drawn by weight; of a SequentialTaskSet its whole
sequence, with the waits within it. Each arrival is taken by a user that is free, or by a new one, whose on_start then
belongs to its visit. The first request of an iteration is intended when the iteration was due, each later one follows
the response before it.
"""

from __future__ import annotations

import math
import random
from contextlib import suppress
from typing import Any

import gevent
from locust import SequentialTaskSet, TaskSet, User, task
from locust.exception import InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopUser
from locust.user.task import DefaultTaskSet
from locust.user.users import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING

from harness.errors import UsageError
from harness.history import Outcome
from harness.load.arrivals import parse
from harness.load.clock import now
from harness.load.locust.closed import Closed
from harness.load.locust.dispatch import one_line

MOST_USERS = 1000  # iterations that may go on at once; one due beyond that is a row with UNSENT
START_S = 0.1  # from there to its epoch
AHEAD = 10  # users that are ready before the schedule begins
NEVER = (RescheduleTask, RescheduleTaskImmediately, InterruptTaskSet)


class Watching(User):
    """What Locust spawns in place of the users: the schedule is the load."""

    @task
    def watch(self) -> None:
        """Wait for the end."""
        while self._state != LOCUST_STATE_STOPPING:
            gevent.sleep(0.2)


class Visit:
    """One iteration: when it was due, and its number and turn once it has sent a request."""

    def __init__(self, due: float):
        self.due, self.seq, self.turn = due, None, 0


class Iterations(Closed):
    """One run of a schedule of iterations."""

    def __init__(self, environment: Any):
        self.schedule = parse(environment.parsed_options.arrivals)
        super().__init__(environment)
        environment._filter_tasks_by_tags()
        self._classes = [u for u in environment.user_classes if u.tasks]
        if not self._classes:
            raise UsageError("no user here has a task, so there is no iteration that could arrive")
        if any(u.fixed_count for u in self._classes):
            raise UsageError("fixed_count is a number of users, and --open has none but those that arrive; use weight")
        for user in self._classes:
            user.host = environment.host or user.host
        self._draw = random.Random(7)
        self._free: list[User] = []
        self._made = self._visits = 0
        self._before = 0  # requests of users that got ready ahead of the schedule
        self._going = gevent.pool.Group()
        environment.shape_class = None
        environment.user_classes = [Watching]

    def arrivals(self) -> str:
        return str(self.schedule)

    def start(self) -> None:
        """Make some users ready, and begin the schedule."""
        gevent.spawn(self._run)

    def finish(self) -> None:
        """End what is going on, in a row each, and write the account."""
        if not self._ending:
            self._going.join(self.environment.stop_timeout)
            self._going.kill()
        super().finish()

    def place(self, start: float) -> tuple[int, int, float]:
        """By the visit that the request's greenlet carries out; a request from another greenlet is one of its own."""
        visit = getattr(gevent.getcurrent(), "harness_visit", None) or Visit(start)
        if visit.seq is None:
            visit.seq, self._visits = self._visits, self._visits + 1
            self._recorder.lags_s.append(max(0.0, start - visit.due))
            return visit.seq, 0, visit.due
        visit.turn = min(visit.turn + 1, 255)
        return visit.seq, visit.turn, start

    def _account(self) -> dict[str, Any]:
        sent = self.environment.stats.total.num_requests - self._before
        more = {"visits": self._visits, "users": self._made, "think_s": None, "locust_requests": sent}
        return {**super()._account(), **more}

    def _run(self) -> None:
        try:
            self._keep_schedule()
        except Exception as error:
            self.mistake(one_line(error))
            gevent.spawn(self.environment.runner.quit)

    def _keep_schedule(self) -> None:
        for _ in range(AHEAD):
            with suppress(StopUser):
                self._free.append(self._new())
        self._before = self.environment.stats.total.num_requests
        self.epoch = now() + START_S
        self._recorder.begin(self.epoch)
        self._begun = True
        self._started("open", self.arrivals(), self.epoch)
        gevent.spawn(self._tick)
        for at in self.schedule.times():
            if at >= self.for_s or self._ending:
                break
            gevent.sleep(max(0.0, self.epoch + at - now()))
            self._arrive(self.epoch + at)
        if self.for_s == math.inf and not self._ending:
            self._going.join()
            gevent.spawn(self.environment.runner.quit)

    def _arrive(self, due: float) -> None:
        if len(self._going) < MOST_USERS:
            self._going.spawn(self._iterate, due)
            return
        kind, seq = self._kinds.setdefault(("-", "no request"), len(self._kinds)), self._visits
        nothing = (0, Outcome.UNSENT, -1, -1, 0, 0, 0, due, math.nan, math.nan, now(), b"", math.nan, 0, 0, 0)
        self._recorder.row(seq, kind, *nothing)
        self._visits, self.rows = self._visits + 1, self.rows + 1
        self.environment.stats.log_request("-", "no request", None, 0)

    def _iterate(self, due: float) -> None:
        gevent.getcurrent().harness_visit = Visit(due)
        user = self._free.pop() if self._free else None
        try:
            user = user or self._new()
            one_iteration(user._taskset_instance)
        except StopUser:
            if user is not None:
                user.on_stop()
            return
        except Exception as error:  # of a task: Locust reports it, and its user goes on
            self.environment.events.user_error.fire(user_instance=user, exception=error, tb=error.__traceback__)
        if user is not None:
            self._free.append(user)

    def _new(self) -> User:
        """A user that has started. Raises what its on_start does."""
        user = self._draw.choices(self._classes, [max(0.0, u.weight) for u in self._classes])[0](self.environment)
        user._state, user._taskset_instance = LOCUST_STATE_RUNNING, DefaultTaskSet(user)
        self._made += 1
        user.on_start()
        return user


def one_iteration(tasks: TaskSet) -> None:
    """One task of a set; of a sequence, each of them."""
    in_turn = isinstance(tasks, SequentialTaskSet)
    for n in range(len(tasks.tasks) if in_turn else 1):
        if n:
            tasks.wait()
        chosen = tasks.tasks[n] if in_turn else tasks.get_next_task()
        try:
            if isinstance(chosen, type) and issubclass(chosen, TaskSet):
                nested = chosen(tasks if not isinstance(tasks, DefaultTaskSet) else tasks.user)
                nested.on_start()
                try:
                    one_iteration(nested)
                finally:
                    nested.on_stop()
            else:
                tasks.execute_task(chosen)
        except NEVER:
            return
