"""The generator's process: its command line, one run of a schedule, and an end that leaves nothing out.

Importing this registers with Locust: the options, a check of everything before any load, and one orderly end for a
signal, the run's own time, Locust's --run-time and the web UI's stop button alike.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import gevent
import gevent.event
import gevent.pool
import locust.log
from locust import events
from locust.runners import LocalRunner

from harness.errors import HarnessError, UsageError
from harness.history import Outcome
from harness.load.client import Answer, Client, Request, now
from harness.load.recorder import Recorder

if TYPE_CHECKING:
    from harness.load.user import OpenModelUser

logger = logging.getLogger(__name__)

FLUSH_S = 0.1
STALL_S = 0.1  # an event loop kept from running for longer than this has stalled
START_S = 0.1  # from the warm-up to the epoch of the schedule


class Failed(Exception):
    """Why a request did not succeed, for Locust's statistics."""


class Dispatch:
    """One run of a user's schedule: every arrival whose time comes is sent or marked UNSENT, and becomes a row."""

    current: ClassVar[Dispatch | None] = None  # of this process

    def __init__(self, user: OpenModelUser):
        """Raises HarnessError for options that make no run, OSError when its files cannot be written."""
        environment, options = user.environment, user.environment.parsed_options
        self.user = user
        self._environment = environment
        self._schedule = user.schedule(options)
        self._for_s = getattr(options, "for_s", None) or math.inf
        self._client = Client(environment.host or user.host or "", timeout_s=user.timeout_s)
        self._recorder = Recorder(*_files(options), getattr(options, "generator", None) or "load")
        self._due: Iterator[tuple[int, float]] = iter(())
        self._next = (0, math.inf)  # the first arrival that was neither sent nor marked: its place, its Unix time
        self._end = math.inf  # Unix time from which on nothing is due
        self._in_flight = gevent.pool.Group()
        self._dispatcher = gevent.Greenlet(self._guarded, self._keep_schedule)
        self._ticker = gevent.Greenlet(self._guarded, self._tick)
        self._mistakes: set[str] = set()
        self._started = self._ending = False
        self._finished = gevent.event.Event()
        Dispatch.current = self

    def run(self) -> None:
        """Dispatch until the schedule or its time is over, then end Locust (with a web UI: the test only)."""
        self._environment.process_exit_code = 1  # until it has ended as it should
        with suppress(OSError):  # where we may not, a busy machine delays the schedule, and the account says so
            os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0), -5))
        gc.collect()
        gc.freeze()  # what is loaded by now stays: a collection during the run has little left to walk
        self._dispatcher.start()
        self._dispatcher.join()
        if not self._ending:  # else whoever ends it also ends Locust
            self.finish()
            runner = self._environment.runner
            # not from here: we run in a user, and Locust kills its users before the rest
            gevent.spawn(runner.stop if self._environment.web_ui else runner.quit)

    def finish(self) -> None:
        """Stop dispatching, let what is in flight end by its own timeout, write the account. Later calls only wait."""
        if self._ending:
            self._finished.wait()
            return
        self._ending = True
        stop = min(now(), self._end)
        try:
            self._dispatcher.kill()
            self._guarded(self._send_due, stop)
            self._in_flight.join(timeout=self.user.timeout_s + 1)
            self._in_flight.kill()  # one that outlived even its own timeout still ends in a row
            self._ticker.kill()
            if self._started:
                self._guarded(self._write_account)
        finally:
            self._client.close()
            self._recorder.close()
            failed = self._mistakes or locust.log.unhandled_greenlet_exception
            self._environment.process_exit_code = 1 if failed else 0
            Dispatch.current = None
            self._finished.set()

    def _keep_schedule(self) -> None:
        """Sleep to each absolute time in turn, so that lateness never adds up; never wait for an answer."""
        self._client.warm(min(self.user.warm, self.user.max_in_flight))
        epoch = now() + START_S
        self._end = epoch + self._for_s
        self._due = ((k, epoch + t) for k, t in enumerate(self._schedule.times()))
        self._advance()
        self._recorder.started(
            scenario=self._environment.locustfile, arrivals=str(self._schedule), url=self._environment.host, epoch=epoch
        )
        self._started = True
        self._ticker.start()
        while self._next[1] < self._end:
            gevent.sleep(max(0.0, self._next[1] - now()))
            self._send(*self._advance())
        if self._end < math.inf:
            gevent.sleep(max(0.0, self._end - now()))

    def _send_due(self, stop: float) -> None:
        """What was due before the end, if only just: better late, with its lateness recorded, than unsent."""
        while self._next[1] < stop:
            self._send(*self._advance())

    def _advance(self) -> tuple[int, float]:
        """The arrival that is next, and the one after it takes its place."""
        this = self._next
        self._next = next(self._due, (this[0] + 1, math.inf))
        return this

    def _send(self, seq: int, intended: float) -> None:
        if len(self._in_flight) < self.user.max_in_flight:
            self._in_flight.spawn(self._guarded, self._one, seq, intended)
        else:
            self._unsent(seq, intended)

    def _one(self, seq: int, intended: float) -> None:
        """One request, from its dispatch to its row."""
        self._recorder.lags.add(now() - intended)
        request_id = os.urandom(16).hex()
        request = self._guarded(_request, self.user, seq)
        message = request and self._guarded(self._client.message, request, ("X-Request-ID", request_id))
        if not message:
            self._unsent(seq, intended)
            return
        answer = self._client.send(message, no_body=request.method == "HEAD")
        predicted = self._guarded(self.user.predicted, answer) if answer.outcome is Outcome.OK else None
        self._record(seq, intended, request, answer, request_id, -1 if predicted is None else predicted)

    def _unsent(self, seq: int, intended: float) -> None:
        nothing = Answer(Outcome.UNSENT, 0, b"", math.nan, math.nan, now(), 0, 0, "it was due and could not be sent")
        self._record(seq, intended, self._guarded(_request, self.user, seq), nothing, "", -1)

    def _record(
        self, seq: int, intended: float, request: Request | None, answer: Answer, request_id: str, predicted: int
    ) -> None:
        """One row, and the same for Locust's own statistics."""
        self._recorder.row(
            seq, answer.outcome, intended=intended, sent=answer.sent, first_byte=answer.first_byte, done=answer.done,
            request_id=request_id, step=request.step if request else 0, status=answer.status,
            expected=request.expected if request else -1, predicted=predicted,
            bytes_out=answer.bytes_out, bytes_in=answer.bytes_in,
        )  # fmt: skip
        self._environment.events.request.fire(
            request_type=request.method if request else "-",
            name=(request.name or request.path) if request else "no request",
            response_time=None if answer.outcome is Outcome.UNSENT else 1000 * (answer.done - intended),
            response_length=len(answer.body),
            exception=None if answer.outcome is Outcome.OK else Failed(f"{answer.outcome.name}: {answer.error}"),
            context={},
            response=None,
            start_time=intended,
            url=None,
        )

    def _tick(self) -> None:
        """Write rows out ten times a second, and notice when the loop could not run."""
        due = now() + FLUSH_S
        while True:
            gevent.sleep(max(0.0, due - now()))
            self._recorder.stalls += now() - due > STALL_S
            due = max(due + FLUSH_S, now())
            self._guarded(self._recorder.flush)

    def _write_account(self) -> None:
        self._recorder.finished(planned=self._next[0], locust_requests=self._environment.stats.total.num_requests)

    def _guarded(self, work: Callable[..., Any], *given: Any) -> Any:
        """What the work gives, None when it fails: a mistake of the scenario's or ours must not end the schedule."""
        try:
            return work(*given)
        except Exception as error:
            self._mistake(error)
            return None

    def _mistake(self, error: Exception) -> None:
        """Say each once; the process then ends with 1, for its rows are not what the scenario meant."""
        text = _one_line(error)
        if text not in self._mistakes:
            self._mistakes.add(text)
            logger.error(text)


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    add = parser.add_argument
    add("--arrivals", metavar="SCHEDULE", help="when requests are due, such as poisson:60/s:seed=7 or constant:60/s")
    add("--for", dest="for_s", type=float, metavar="SECONDS", help="end the run after this time on the schedule")
    add("--corpus", metavar="DIR", help="folder of labelled images: NORMAL/ and PNEUMONIA/")
    add("--rows", metavar="PATH", include_in_web_ui=False, help="append one fixed-width row per request to this file")
    add(
        "--events",
        metavar="PATH",
        include_in_web_ui=False,
        help="append the generator's account to this JSON-lines file",
    )
    add("--generator", metavar="NAME", default="load", include_in_web_ui=False, help="what this generator is called")


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    """Everything that can be wrong with a scenario or its options, found before any load and said in one line."""
    users = [u for u in environment.user_classes if hasattr(u, "schedule")]
    if not users:
        return
    options = environment.parsed_options
    try:
        if not isinstance(environment.runner, LocalRunner):
            raise UsageError("one process dispatches the whole schedule: leave out --processes, --master and --worker")
        if options.for_s is not None and not options.for_s > 0:
            raise UsageError(f"--for: must be above 0 seconds, got {options.for_s:g}")
        for path in filter(None, _files(options)):
            with open(path, "ab"):
                pass
        for user in users:
            user.schedule(options)
            user.prepare(options)
            first = _request(user(environment), 0)
            host = environment.host or user.host or ""
            if options.headless or host:  # the web UI may still be told
                Client(host, timeout_s=user.timeout_s).message(first)
    except Exception as error:
        logger.error(f"{environment.locustfile}: {_one_line(error)}")
        raise SystemExit(error.exit_code if isinstance(error, HarnessError) else 2) from None
    gevent.get_hub().loop.update_now()  # else Locust's --run-time counts from before the imports, up to seconds ago
    gevent.signal_handler(signal.SIGINT, _interrupt, environment)


def _interrupt(environment: Any) -> None:
    """SIGINT in a greenlet of its own: as KeyboardInterrupt it could strike any request between its end and its row."""
    environment.runner.quit()
    if environment.web_ui:
        environment.web_ui.stop()


@events.test_stopping.add_listener
@events.quitting.add_listener  # before Locust settles what it exits with
def _stopping(**_: Any) -> None:
    if Dispatch.current is not None:
        Dispatch.current.finish()


def _request(user: OpenModelUser, k: int) -> Request:
    """The scenario's k-th request. Raises UsageError when it is none, and whatever the scenario raises."""
    request = user.request(k)
    if not isinstance(request, Request):
        raise UsageError(f"{type(user).__name__}.request must give a Request, got {request!r} for number {k}")
    return request


def _files(options: Any) -> tuple[Path | None, Path | None]:
    """Where rows and Events go."""
    rows, events_ = getattr(options, "rows", None), getattr(options, "events", None)
    return Path(rows) if rows else None, Path(events_) if events_ else None


def _one_line(error: Exception) -> str:
    """An error as its author wants it: ours and the system's in their own words, any other with its place."""
    if isinstance(error, HarnessError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(place.filename).name}:{place.lineno}: {type(error).__name__}: {error}"
