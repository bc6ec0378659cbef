"""One run of a schedule: every arrival that is due is sent or marked UNSENT, and becomes a row.

One greenlet does it all in turn, for there is nothing to wait for: what is due is sent, what has ended is recorded,
and the rest of the time is slept away to the next absolute time, so that lateness never adds up.
"""

from __future__ import annotations

import gc
import heapq
import logging
import math
import os
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from struct import error as DoesNotFit
from typing import Any

import gevent
import gevent.event
import gevent.pool
from locust.stats import RequestStats

from harness.errors import HarnessError, UsageError
from harness.history import EXPECTS_STATUS, SLOW_CLIENT, WHOLE, Outcome
from harness.load.arrivals import Arrivals
from harness.load.client import Client
from harness.load.clock import now
from harness.load.locust.open_model import OpenModel, Visit
from harness.load.locust.statistics import NOT_WAITED_FOR, LocustStatistics, merge
from harness.load.recorder import Recorder
from harness.load.request import Prepared, Request, Response, picture
from harness.load.served import excerpt, judged, plain
from harness.load.slow_client import exchange

logger = logging.getLogger(__name__)

FLUSH_S = 0.1
PRECISE_S = 0.004  # nearer than this the hub's timers, which count milliseconds, are not used
OTHERS_S = 0.02  # how long everything else in this process may have to wait
DUE_AT_ONCE = 32  # sent before responses are read again
KEPT_REQUESTS = 4096
PAUSE_S = 0.01  # of a closed-model client, after a failure
# Headers by which a client says to which trace a request belongs.
TRACE_CONTEXT = (b"traceparent", b"b3", b"x-b3-traceid", b"uber-trace-id", b"x-amzn-trace-id", b"x-cloud-trace-context")
MISTAKEN = 2  # exit code of a process whose rows are not what its scenario meant; Locust's for failed requests is 1


class Failed(Exception):
    """Why a request did not succeed, for listeners of Locust's request event."""


class Dispatch:
    """One run of a user's schedule, or of this process' share of it.

    `deliver(rows, report)` is called ten times a second with the new rows and their entries for Locust's statistics.
    epoch: Unix time at which the schedule begins; share (i, n): the arrivals k with k mod n = i; clients: the closed
    model: no schedule but this many clients, each sending its next request when it has its response.
    """

    def __init__(
        self, user: OpenModel, client: Client, schedule: Arrivals, deliver: Callable[[bytes, dict], None],
        epoch: float, *, for_s: float = math.inf, share: tuple[int, int] = (0, 1), clients: int = 0,
    ):  # fmt: skip
        self.user = user
        self.epoch = epoch
        self.mistakes: set[str] = set()
        self.account: dict[str, Any] | None = None  # when it is over
        self._schedule, self._share, self._clients = schedule, share, clients
        self._most = max(user.max_in_flight, clients)
        self._client = client
        client.on_response = self._on_response
        self._statistics = LocustStatistics()
        self._recorder = Recorder(deliver, self._statistics)
        self._request, self._predicted = user.request, user.predicted if user.predicts() else None
        self._made: dict[int, tuple[Request, Prepared, int, int]] = {}
        no_request = Request("-", "", name="no request")  # what is recorded where a scenario gave none
        self._nothing = (no_request, Prepared(b"", b""), self._statistics.kind(no_request.method, no_request.name), 0)
        self._id_prefix = os.urandom(8).hex().encode()
        self._due: Iterator[tuple[int, float]] = iter(())
        self._next_seq, self._next_at = 0, math.inf  # the first arrival that was neither sent nor marked
        self._later: list[tuple[float, int, int, Request | None, Visit | None]] = []  # heap of what follows a response
        self._visits = self._planned = 0
        self._traces = False  # whether any request said to which trace it belongs
        self._end = epoch + for_s  # Unix time from which on nothing is due
        self._tick_at = self._yielded_at = 0.0
        self._listeners = _listeners(user.environment)
        self._slow = gevent.pool.Group()
        self._over = gevent.event.Event()
        self._greenlet = gevent.Greenlet(self._run)

    def start(self) -> None:
        """Begin, in a greenlet of its own: Locust may kill those of its users at any time."""
        self._greenlet.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it is over, at the latest after a time."""
        return self._over.wait(timeout_s)

    def stop(self, at: float | None = None) -> None:
        """Nothing is due from a Unix time on (None: from now); what is in flight ends by its own timeout."""
        self._end = min(self._end, now() if at is None else at)

    def _run(self) -> None:
        try:
            if not self._clients:
                i, n = self._share
                self._due = ((k, t) for k, t in enumerate(self._schedule.times()) if k % n == i)
                self._advance()
            self._recorder.begin(self.epoch)
            self._tick_at = now() + FLUSH_S
            self._keep_schedule()
            self._drain()
        except Exception as error:
            self._mistake(error)
        finally:
            self.close()

    def _keep_schedule(self) -> None:
        if self._clients:
            gevent.sleep(max(0.0, self.epoch - now()))
            for _ in range(self._clients):
                self._next_visit()
        client, later = self._client, self._later
        while True:
            busy = client.turn()  # first, so that no connection is used that has ended meanwhile
            at = now()
            for _ in range(DUE_AT_ONCE):
                if self._next_at <= at and self._next_at < self._end:
                    seq, intended = self._next_seq, self._next_at
                    self._advance()
                    self._arrive(seq, intended)
                elif later and later[0][0] <= at and later[0][0] < self._end:
                    due, seq, turn, request, visit = heapq.heappop(later)
                    if request is None:
                        self._next_visit()
                    else:
                        self._go(seq, turn, due, request, visit)
                elif at >= self._end or (self._next_at == math.inf and self._done_early()):
                    return
                else:
                    if not busy:
                        self._rest(min(self._next_at, later[0][0] if later else math.inf, self._end))
                    break
            self._duties(at)

    def _done_early(self) -> bool:
        """Whether a schedule that has an end is over before the run's time is."""
        waits = self._end < math.inf or self._clients or self._later or self._client.in_flight
        return not waits

    def _drain(self) -> None:
        """Let what is in flight end by its own timeout; one that outlives even that still ends in a row."""
        latest = now() + self._client.timeout_s + 1
        while self._client.in_flight and (at := now()) < latest:
            self._duties(at)
            if not self._client.turn():
                self._rest(latest)
        self._slow.kill()
        self._client.give_up("given up at the end of the run")

    def _advance(self) -> None:
        self._next_seq, at = next(self._due, (self._next_seq + 1, math.inf))
        self._next_at = self.epoch + at

    def _arrive(self, seq: int, intended: float) -> None:
        """The first request of a visit."""
        self._visits += 1
        visit = None
        try:
            request = self._request(seq)
            if type(request) is not Request:
                visit = request if isinstance(request, Generator) else None
                request = first_of(self.user, request, seq)
        except Exception as error:
            self._mistake(error)
            self._planned += 1
            self._unsent(seq, 0, intended, self._nothing, None)
            return
        self._go(seq, 0, intended, request, visit)

    def _go(self, seq: int, turn: int, intended: float, request: Request, visit: Visit | None) -> None:
        """Send one request, or mark it."""
        self._planned += 1
        made = self._made.get(id(request))
        if made is None or made[0] is not request:
            try:
                made = self._make(request)
            except Exception as error:
                self._mistake(error)
                self._unsent(seq, turn, intended, self._nothing, None)
                return
        if self._client.in_flight >= self._most:
            self._unsent(seq, turn, intended, made, visit)
            return
        request_id = b"%s%013x%03x" % (self._id_prefix, seq, turn)
        self._recorder.lags_s.append(now() - intended)
        context = (seq, turn, intended, made, request_id, visit)
        if request.pace is None:
            self._client.send(made[1], request_id, context)
        else:
            self._slow.spawn(self._send_slowly, made[1], request_id, context)

    def _send_slowly(self, prepared: Prepared, request_id: bytes, context: tuple) -> None:
        """The exchange of a slow or aborting client, in a greenlet of its own."""
        client, pace = self._client, context[3][0].pace
        message = prepared.before + request_id + prepared.after + prepared.body
        client.in_flight += 1
        try:
            response = exchange(*client.at, message, pace, client.timeout_s)
        finally:
            client.in_flight -= 1
        self._on_response(context, response)

    def _make(self, request: Request) -> tuple[Request, Prepared, int, int]:
        """What goes over the wire, its place in Locust's statistics, and its picture; kept, for most are sent again
        and again."""
        if not 0 <= request.step < EXPECTS_STATUS:
            raise UsageError(f"step: must be from 0 to {EXPECTS_STATUS - 1}, got {request.step!r}")
        kind = self._statistics.kind(request.method, request.name or request.path)
        if request.pace is not None:
            request.pace.check()
            if self._client.tls is not None:
                raise UsageError("pace: slow and aborting clients use plain HTTP only")
        made = (request, self._client.prepare(request), kind, picture(request) if self._predicted else 0)
        head = made[1].before.lower()
        self._traces |= any(b"\r\n%s:" % name in head for name in TRACE_CONTEXT)
        if len(self._made) >= KEPT_REQUESTS:
            self._made.clear()
        self._made[id(request)] = made
        return made

    def _unsent(self, seq: int, turn: int, intended: float, made: tuple, visit: Visit | None) -> None:
        nothing = Response(Outcome.UNSENT, 0, b"", math.nan, math.nan, now(), 0, 0, "it was due and could not be sent")
        self._on_response((seq, turn, intended, made, b"", visit), nothing)

    def _on_response(self, context: tuple, response: Response) -> None:
        """One row, and the same for Locust's own statistics; then what follows."""
        seq, turn, intended, (request, _, kind, shown), request_id, visit = context
        predicted, probability = -1, math.nan
        if response.outcome in WHOLE and (self._predicted is not None or not plain(request, response)):
            try:
                response, predicted, probability = judged(request, response, self._predicted)
            except Exception as wrong:
                self._mistake(wrong)
            if response.outcome >= Outcome.UNSERVED:
                self._note(request, intended, response)
        outcome, status, body, sent, first_byte, done, bytes_out, bytes_in, error, _, _, _ = response
        step = request.step or turn
        if request.pace is not None:
            step |= SLOW_CLIENT
        if request.expect_status:
            step |= EXPECTS_STATUS
        try:
            self._recorder.row(
                seq, step, status, outcome, request.expected, predicted, turn, bytes_out, bytes_in, intended, sent,
                first_byte, done, request_id, probability, shown, kind, len(body),
            )  # fmt: skip
        except DoesNotFit as wrong:
            self._mistake(UsageError(f"step {step}, expected {request.expected!r}, predicted {predicted!r}: {wrong}"))
            self._recorder.row(
                seq, 0, status, outcome, -1, -1, turn, bytes_out, bytes_in, intended, sent, first_byte, done,
                request_id, math.nan, 0, kind, len(body),
            )  # fmt: skip
        if outcome and _fails(response):
            self._statistics.failed(kind, f"{outcome.name}: {error}")
        if self._listeners:
            self._notify(request, intended, response)
        if visit is not None:
            self._follow(seq, turn, visit, response._replace(request_id=request_id.decode()))
        elif self._clients:
            self._again(seq, outcome)

    def _note(self, request: Request, intended: float, response: Response) -> None:
        """Keep what an answer held that serves nobody. (Not in `_on_response`, whose names a closure would slow.)"""
        self._recorder.excerpt(intended, lambda: excerpt(request, response, self._client.secrets))

    def mark(self, seq: int, intended: float) -> None:
        """An arrival of another worker's share that was never sent: nothing may be in flight or follow."""
        self._most, self._end = 0, -math.inf
        self._arrive(seq, intended)

    def close(self) -> None:
        """Hand over what is left, and make the account."""
        try:
            self._client.close()
            self._recorder.flush()
        except Exception as error:
            self._mistake(error)
        finally:
            self.account = self._recorder.account(planned=self._planned, visits=self._visits, traces=self._traces)
            self._over.set()

    def _follow(self, seq: int, turn: int, visit: Visit, response: Response) -> None:
        """The next request of a visit, if any; it is due its `after_s` after the response."""
        try:
            request = visit.send(response)
            if type(request) is not Request:
                raise UsageError(f"{type(self.user).__name__}.request must yield Requests, got {request!r}")
            if turn == 255:
                raise UsageError(f"{type(self.user).__name__}.request must yield 256 Requests a visit at most")
            if not request.after_s >= 0:
                raise UsageError(f"{type(self.user).__name__}.request: after_s must be from 0, got {request.after_s!r}")
        except StopIteration:
            if self._clients:
                self._again(seq, response.outcome)
            return
        except Exception as error:
            self._mistake(error)
            return
        due = response.done + request.after_s
        if due < self._end:
            heapq.heappush(self._later, (due, seq, turn + 1, request, visit))

    def _again(self, seq: int, outcome: int) -> None:
        """A closed-model client sends its next request when it has its response; after a failure, in a moment."""
        if outcome in WHOLE:
            self._next_visit()
        else:
            heapq.heappush(self._later, (now() + PAUSE_S, seq, 256, None, None))

    def _next_visit(self) -> None:
        if (at := now()) < self._end:
            seq, self._next_seq = self._next_seq, self._next_seq + 1
            self._arrive(seq, at)

    def _notify(self, request: Request, intended: float, response: Response) -> None:
        """Listeners of Locust's request event get each, as from any other user."""
        for listener in self._listeners:
            try:
                listener(
                    request_type=request.method,
                    name=request.name or request.path,
                    response_time=None if response.outcome in NOT_WAITED_FOR else 1000 * (response.done - intended),
                    response_length=len(response.body),
                    exception=Failed(f"{response.outcome.name}: {response.error}") if _fails(response) else None,
                    context={},
                    response=None,
                    start_time=intended,
                    url=None,
                )
            except Exception as error:
                self._mistake(error)

    def _duties(self, at: float) -> None:
        """Deliver rows ten times a second, and let the other greenlets of the process run."""
        if at >= self._tick_at:
            self._recorder.tick(at, at - self._tick_at)
            self._tick_at = at + FLUSH_S
            try:
                self._recorder.flush()
            except Exception as error:
                self._mistake(error)
        if at - self._yielded_at > OTHERS_S:
            gevent.sleep(0)
            self._yielded_at = now()

    def _rest(self, until: float) -> None:
        """Sleep until a time, something to do, or the next duty."""
        left_s = min(until, self._tick_at, self._client.next_deadline) - now()
        if left_s > PRECISE_S:
            self._sleep(left_s - PRECISE_S / 2)
            self._yielded_at = now()
        elif left_s > 0:
            self._client.wait(left_s)

    def _sleep(self, for_s: float) -> None:
        """As gevent.sleep, but woken by the client's sockets."""
        hub, me = gevent.get_hub(), gevent.getcurrent()
        timer, sockets = hub.loop.timer(for_s), hub.loop.io(self._client.epoll.fileno(), 1)
        timer.start(me.switch, update=True)
        sockets.start(me.switch)
        try:
            hub.switch()
        finally:
            for watcher in (timer, sockets):
                watcher.stop()
                watcher.close()

    def _mistake(self, error: Exception) -> None:
        """Log each once, and go on: a mistake of the scenario or of ours must not end the schedule. The process then
        ends with MISTAKEN."""
        text = one_line(error)
        if text not in self.mistakes:
            self.mistakes.add(text)
            logger.error(text)


def make_ready(user: OpenModel, client: Client) -> None:
    """What takes time and must be done before the epoch of a schedule."""
    with suppress(OSError):  # without that right, a busy machine delays the schedule, and the account shows it
        os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0), -5))
    client.warm(min(user.warm, user.max_in_flight))
    _rehearse()
    gc.collect()
    gc.freeze()  # what is loaded by now stays: a collection during the run has little left to examine


def _rehearse() -> None:
    """Record, report and count one invented request: what is done for the first time takes up to 20 ms longer."""
    stats, statistics = RequestStats(), LocustStatistics()
    one = Recorder(lambda rows, report: merge(report, stats), statistics)
    one.row(0, 0, 200, 1, -1, -1, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, b"", 0.0, 0, statistics.kind("-", "-"), 0)
    statistics.failed(0, "-")
    one.lags_s.append(0.0)
    one.flush()


def first_of(user: OpenModel, what: Any, k: int) -> Request:
    """The first request of what a scenario gave as its k-th. Raises UsageError when it is none."""
    first = next(what, None) if isinstance(what, Generator) else what
    if not isinstance(first, Request):
        raise UsageError(f"{type(user).__name__}.request must give a Request, got {first!r} for number {k}")
    return first


def one_line(error: Exception) -> str:
    """An error in one line: the text of ours and the system's, any other with its place."""
    if isinstance(error, HarnessError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(place.filename).name}:{place.lineno}: {type(error).__name__}: {error}"


def _fails(response: Response) -> bool:
    """Whether Locust is to count it as a failure: not an expected refusal, a client that aborted on purpose, nor what
    the generator could not read."""
    return response.outcome not in (Outcome.OK, Outcome.ABANDONED, Outcome.NOT_READ)


def _listeners(environment: Any) -> list[Callable[..., None]]:
    """The listeners of request events, without Locust's own statistics, which get many requests at once."""
    return [h for h in environment.events.request._handlers if h.__module__ != "locust.runners"]
