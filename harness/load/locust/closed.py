"""Locustfiles as they are: the requests of any users of Locust, each a row, in a closed model.

Such a user waits for its response before it goes on. A service that stalls therefore gets fewer requests, and the
stall leaves few rows: coordinated omission. So the load is labelled as closed, and its account says how long a user
thinks between two requests, from which follows how many requests a stall may have kept back (harness/omission.py).

Rows come from Locust's request event, so whatever client fires it is recorded. The two clients of Locust itself also
get the run's headers, an X-Request-ID and its TLS settings; a request of theirs that is cut off by the end of the run
is a row all the same, and one to another host than the service's is refused.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import gevent
import gevent.event
from gevent import GreenletExit
from locust.clients import HttpSession
from locust.contrib.fasthttp import FastHttpSession, FastHttpUser

from harness.errors import UsageError
from harness.history import EXPECTS_STATUS
from harness.load import headers, tls
from harness.load.clock import now
from harness.load.locust.dispatch import FLUSH_S, MISTAKEN, one_line
from harness.load.locust.load import paths
from harness.load.recorder import Files, Recorder
from harness.load.reported import Abandoned, CutOff, outcome

logger = logging.getLogger(__name__)

STOP_WITHIN_S = 10.0  # what is in flight at the end of a run may take
CLOCK_OFF_S = 3600.0  # a start time further off than this is of another clock
DEFAULT_PORT = {"http": 80, "https": 443}


class NotCounted:
    """Locust counts these requests itself, as they end."""

    def add(self, kind: int, length: int) -> None:
        """Nothing: the request event has reached Locust already."""

    def report(self, rows: Any) -> dict[str, Any]:
        """Nothing is to be merged."""
        return {}


class Closed:
    """One run of users that Locust spawns, from its test's start to its test's stop.

    model: closed, or open where the arrivals of iterations are a schedule (iterations.py)."""

    current: ClassVar[Closed | None] = None

    def __init__(self, environment: Any):
        """Raises HarnessError for options that make no run, OSError when its files cannot be written."""
        self.environment, self.options = environment, environment.parsed_options
        self.host = environment.host or next((u.host for u in environment.user_classes if u.host), "") or ""
        if not urlsplit(self.host).hostname:
            raise UsageError("no user here names the host to be asked; give it: --host http://HOST:PORT")
        self.for_s = getattr(self.options, "for_s", None) or math.inf
        self.mistakes: set[str] = set()
        self.finished = gevent.event.Event()
        self.rows = 0
        self._ending = self._begun = False
        self._kinds: dict[tuple[str, str], int] = {}
        self._think_s, self._thoughts, self._most = 0.0, 0, 0
        self._id_prefix = os.urandom(8).hex()
        self._asked = 0  # requests that got an id
        self._files = Files(*paths(self.options), getattr(self.options, "generator", None) or "load")
        self._recorder = Recorder(lambda rows, report: self._files.rows(rows), NotCounted())
        self._sessions()
        environment.events.request.add_listener(self._on_request)
        environment.events.spawning_complete.add_listener(lambda user_count, **_: self._users(user_count))
        environment.stop_timeout = environment.stop_timeout or STOP_WITHIN_S
        Closed.current = self

    def arrivals(self) -> str:
        """What decides when requests are sent."""
        if (shape := self.environment.shape_class) is not None:
            return f"closed:shape={type(shape).__name__}"
        return f"closed:users={self.options.num_users or 1}"

    def start(self) -> None:
        """The test begins: what happens from now on is recorded."""
        self.epoch = now()
        self._recorder.begin(self.epoch)
        self._begun = True
        self._started("closed", self.arrivals(), self.epoch)
        gevent.spawn(self._tick)

    def finish(self) -> None:
        """All users have stopped: write the account. Later calls only wait."""
        if self._ending:
            self.finished.wait()
            return
        self._ending = True
        try:
            if self._begun:
                self._recorder.flush()
                self._files.event("finished", **self._account())
        finally:
            self._files.close()
            if self.mistakes:
                self.environment.process_exit_code = MISTAKEN
            self.finished.set()

    def mistake(self, text: str) -> None:
        """Log each once; the process then ends with MISTAKEN."""
        if text not in self.mistakes:
            self.mistakes.add(text)
            logger.error(text)

    def _started(self, model: str, arrivals: str, epoch: float) -> None:
        self._files.event(
            "started", pid=os.getpid(), scenario=self.environment.locustfile, arrivals=arrivals, url=self.host,
            epoch=epoch, model=model,
        )  # fmt: skip

    def _account(self) -> dict[str, Any]:
        return self._recorder.account(
            planned=self.rows,
            visits=self.rows,
            traces=False,
            users=self._most,
            think_s=round(self._think_s / self._thoughts, 6) if self._thoughts else None,
            steps=[f"{method} {name}" for method, name in self._kinds],
            locust_requests=self.environment.stats.total.num_requests,
        )

    def _users(self, count: int) -> None:
        self._most = max(self._most, count)

    def _tick(self) -> None:
        """Hand rows over ten times a second; end the run when its time is over."""
        due, ended = now() + FLUSH_S, False
        while not self._ending:
            gevent.sleep(max(0.0, due - now()))
            at = now()
            self._recorder.tick(at, at - due)
            due = at + FLUSH_S
            self._users(getattr(self.environment.runner, "user_count", 0))
            try:
                self._recorder.flush()
            except Exception as error:
                self.mistake(one_line(error))
            if not ended and at >= self.epoch + self.for_s:
                ended = True
                gevent.spawn(self.environment.runner.quit)

    def place(self, start: float) -> tuple[int, int, float]:
        """The seq and turn of a request, and when it was intended: in a closed model, when it was sent."""
        return self.rows, 0, start

    def _on_request(
        self, request_type: str, name: str, response_time: float | None, response_length: int = 0,
        exception: Any = None, response: Any = None, start_time: float | None = None, **_: Any,
    ) -> None:  # fmt: skip
        """One row."""
        if not self._begun or self._ending:
            return
        at, took_s = now(), (response_time or 0.0) / 1000
        wall = time.time()
        trusted = isinstance(start_time, (int, float)) and abs(wall - start_time) < CLOCK_OFF_S
        start = start_time + at - wall if trusted else at - took_s
        status = int(getattr(response, "status_code", 0) or 0)
        self._thinks(start, start + took_s)
        seq, turn, intended = self.place(start)
        step = self._kinds.setdefault((str(request_type), str(name)), len(self._kinds))
        step = min(step, EXPECTS_STATUS - 1) | (EXPECTS_STATUS if status >= 400 and exception is None else 0)
        first = _first_byte_s(response)
        self._recorder.row(
            seq, step, min(status, 999), outcome(status, exception), -1, -1, turn, 0, min(int(response_length or 0),
            0xFFFFFFFF), intended, start, start + min(first, took_s), start + took_s,
            str(getattr(response, "harness_id", "")).encode("ascii", "replace")[:32], math.nan, 0, 0, 0,
        )  # fmt: skip
        self.rows += 1

    def _thinks(self, start: float, done: float) -> None:
        """How long this user took from its last response to this request."""
        mine = gevent.getcurrent()
        if (last := getattr(mine, "harness_done", None)) is not None:
            self._think_s += max(0.0, start - last)
            self._thoughts += 1
        mine.harness_done = done

    def _sessions(self) -> None:
        """Let the requests of Locust's own clients get in as the run says, each with an id of its own."""
        options, origin = self.options, _origin(self.host)
        path = getattr(options, "headers_file", None)
        given = headers.read(Path(path)) if path else ()
        ca_file, insecure = getattr(options, "ca_file", None), getattr(options, "insecure", False)
        cert, key = getattr(options, "client_cert", None), getattr(options, "client_key", None)
        extra: dict[str, Any] = {}
        if origin[0] == "https" and (ca_file or insecure or cert):
            secured = (ca_file, not insecure, cert, key)
            tls.context(*secured)  # raises what is wrong with the files
            extra = {"verify": False if insecure else ca_file or True, "cert": (cert, key) if key else cert}
            for user in self.environment.user_classes:
                if issubclass(user, FastHttpUser):
                    user.insecure, user.ssl_context_factory = insecure, lambda: tls.context(*secured)
        if connect_to := getattr(options, "connect_to", None):
            _lead(origin[1:], connect_to)
        for session, more in ((HttpSession, extra), (FastHttpSession, {})):
            session._send_request_safe_mode = self._sending(session._send_request_safe_mode, given, origin, more)

    def _sending(self, send: Any, given: Any, origin: tuple[str, str, int], more: dict[str, Any]) -> Any:
        def sending(session: Any, method: str, url: str, **about: Any) -> Any:
            if _origin(url) != origin:
                host = urlsplit(url).netloc.rpartition("@")[2]
                self.mistake(f"asks {host}, which is not the service under test ({self.host}); make its URLs relative")
                raise UsageError(f"{host} is not the service under test")
            mine = {**(about.get("headers") or {})}
            own = {name.lower(): value for name, value in {**(getattr(session, "headers", None) or {}), **mine}.items()}
            mine |= {name: value for name, value in given if name.lower() not in own}
            if (request_id := own.get("x-request-id")) is None:
                mine["X-Request-ID"] = request_id = f"{self._id_prefix}{self._asked:016x}"
                self._asked += 1
            start, wall = now(), time.time()
            try:
                response = send(session, method, url, **{**more, **about, "headers": mine})
            except GreenletExit:  # Locust kills a user that waits, and one just past its wait with it
                patient = now() - start >= self.environment.stop_timeout
                cut = CutOff("cut off by the end of the run") if patient else Abandoned("its user ended")
                self.environment.events.request.fire(
                    request_type=method, name=urlsplit(url).path, response_time=1000 * (now() - start),
                    response_length=0, exception=cut, context={}, start_time=wall,
                    url=url, response=None,
                )  # fmt: skip
                raise
            response.harness_id = request_id
            return response

        return sending


def _first_byte_s(response: Any) -> float:
    """When the head of a response was there, seconds after the sending; nan where its client does not say."""
    elapsed = getattr(response, "elapsed", None)
    if elapsed is None or getattr(response, "history", None) or not getattr(response, "status_code", 0):
        return math.nan
    return float(elapsed.total_seconds())


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORT.get(parts.scheme, 0)


def _lead(origin: tuple[str, int], connect_to: str) -> None:
    """Connections to the service go to another address, which stands before it."""
    host, _, port = connect_to.rpartition(":")
    look_up = socket.getaddrinfo

    def leading(name: Any, number: Any, *more: Any, **about: Any) -> Any:
        asked = name.decode() if isinstance(name, bytes) else name
        if asked == origin[0] and str(number) == str(origin[1]):
            return look_up(host.strip("[]"), int(port), *more, **about)
        return look_up(name, number, *more, **about)

    socket.getaddrinfo = leading
