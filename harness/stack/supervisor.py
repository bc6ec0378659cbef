"""Carries the probes' decisions out as the kubelet does: restarts with its back-off, in and out of traffic.

After kuberuntime (doBackOff):
- Liveness or startup failing: SIGTERM, the grace period of the probe, else of the pod, SIGKILL, a new container.
- Readiness never restarts; it takes the server out of traffic and back.
- A container that ends by itself is noticed at the next relist (1 s) and restarted at once the first time, then after a
  back-off of 10 s that doubles up to 5 min. It counts from the end of the latest container that had ended when the
  decision fell: of this one, or, where this one is killed for its probe, of the one before it. A container that lived
  for 10 min after the back-off last grew begins a new series.
- A container ends with its main process; what that leaves behind is killed.

Beside that it restarts its component when a file asks for it (`Component.restart_request`), as a new release does:
SIGTERM, the grace period of the pod, SIGKILL, and meanwhile no liveness or startup probe. That is no decision of a
probe, so it is an event of the stack and has no back-off.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping

from harness.stack.component import Component
from harness.stack.spec import Probe

RELIST_S = 1.0
POLL_S = 0.1  # how often a request to restart is looked for
BACKOFF_S, BACKOFF_MAX_S = 10.0, 300.0
STABLE_S = 2 * BACKOFF_MAX_S


class Backoff:
    """How long a container waits for its restart. All moments are of one clock, in seconds."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._grown: float | None = None  # when it last grew; None: nothing was restarted yet

    def left_s(self, ended: float, now: float) -> float:
        """How long a restart still has to wait, when the latest container has ended at a moment."""
        return 0.0 if self._is_new(ended) else max(0.0, ended + self.delay_s - now)

    def grow(self, ended: float, now: float) -> None:
        """A restart takes place: the next one has to wait longer."""
        self.delay_s = BACKOFF_S if self._is_new(ended) else min(2 * self.delay_s, BACKOFF_MAX_S)
        self._grown = now

    def _is_new(self, ended: float) -> bool:
        return self._grown is None or ended - self._grown > STABLE_S


class Supervisor:
    """Keeps one component running as the kubelet would, in a thread of the caller's process.

    `emit(source, name, outcome, took, **detail)` takes events; `in_rotation(bool)` is called when the component goes in
    or out of traffic.
    """

    def __init__(
        self,
        component: Component,
        emit: Callable[..., None],
        in_rotation: Callable[[bool], None] = lambda on: None,
        grace_s: float = 30.0,
    ):
        self.component, self.emit, self.grace_s = component, emit, grace_s
        self.in_traffic = False
        self.restarts = 0
        self.failure: BaseException | None = None
        self._in_rotation = in_rotation
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._restart_decided: tuple[str, float] | None = None  # cause, grace
        self._requested: int | None = None  # the generation to be replaced on request; None: no restart is under way
        self._asked = ""  # the text of that request
        self._forget()
        self._thread = threading.Thread(target=self._guard, name=f"supervisor-{component.name}", daemon=True)

    def start(self) -> None:
        """Start the component and the supervision of it."""
        self._start()
        self._thread.start()

    def carry_out(self, which: str, decision: str, probe: Probe) -> None:
        """Do what a probe has decided; the caller holds the component's lock or reports its end."""
        if decision == "restart":
            grace_s = probe.terminationGracePeriodSeconds
            self._restart_decided = (which, self.grace_s if grace_s is None else grace_s)
            self._wake.set()
            return
        self._traffic(decision == "ready")
        if decision == "ready" and self._requested is not None and self.component.generation > self._requested:
            self._requested = None
            self.component.restart_request.unlink(missing_ok=True)

    def restart(self, added: Mapping[str, str]) -> None:
        """Ask for a restart, whatever was asked for before, with this added to the environment from then on. The
        request goes when it is ready again."""
        request = self.component.restart_request
        with self.component.lock:
            self.component.added, self.component.released = dict(added), {}
            self._requested = None
            request.parent.mkdir(exist_ok=True)
            request.write_text("")

    def forget_backoff(self) -> None:
        """Treat the next crash as the first: each experiment stands for an incident of its own."""
        with self.component.lock:
            self._forget()

    def _forget(self) -> None:
        self._backoff = Backoff()
        self._ended: float | None = None  # when the latest container that has ended did so; monotonic

    def stop(self) -> None:
        """End the supervision; the component is left as it is."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(3)

    def _loop(self) -> None:
        relist, ended = time.monotonic() + RELIST_S, None
        while not self._stop.is_set():
            self._wake.wait(min(POLL_S, max(0.0, relist - time.monotonic())))
            self._wake.clear()
            if self._stop.is_set():
                return
            ended = None if self.component.alive() else ended or time.monotonic()
            with self.component.lock:
                decided = self._restart_decided
            if self._is_requested():
                self._restart_as_requested()
            elif decided is not None:
                self._restart(*decided, ended)
            elif time.monotonic() < relist:
                continue
            elif ended is not None:
                self._restart("exit", 0.0, ended)
            relist = time.monotonic() + RELIST_S

    def _restart(self, cause: str, grace_s: float, ended: float | None) -> None:
        """ended: when the container did so by itself, if it has."""
        self._traffic(False)
        self.component.end(grace_s)
        code = self.component.code
        now = time.monotonic()
        with self.component.lock:
            backoff, known = self._backoff, self._ended if ended is None else ended
            waits = known is not None and backoff.left_s(known, now) > 0
            self._ended = now if ended is None else ended
            counts = self._ended if waits else known
        self.restarts += 1
        self.emit(
            "probe",
            "restart",
            process=self.component.name,
            cause=cause,
            code=code,
            backoff_s=backoff.delay_s if waits else 0.0,
            restarts=self.restarts,
        )
        while waits and backoff.left_s(counts, time.monotonic()) > 0 and not self._stop.wait(POLL_S):
            if self._is_requested():
                return  # which is carried out next, without the back-off
        if counts is not None:
            backoff.grow(counts, time.monotonic())
        self._start_again()

    def _request(self) -> str | None:
        """The text of the request that is there."""
        try:
            return self.component.restart_request.read_text()
        except FileNotFoundError:
            return None

    def _is_requested(self) -> bool:
        """Whether a restart is asked for, and not the one that is under way."""
        request = self._request()
        return request is not None and (self._requested is None or request != self._asked)

    def _restart_as_requested(self) -> None:
        request = self._request()
        if request is None:
            return
        with self.component.lock:
            self._requested, self._asked = self.component.generation, request
            self.component.released = json.loads(request)["added"] if request else {}
        self.emit("stack", "restarting", component=self.component.name, cause="request")
        self.component.announce_stop()
        self._traffic(False)
        self.component.end(self.grace_s)
        self._ended = time.monotonic()
        self.restarts += 1
        code = self.component.code
        self.emit("stack", "restart", component=self.component.name, cause="request", code=code)
        self._start_again()

    def _start_again(self) -> None:
        with self.component.lock:
            if not self._stop.is_set():
                self._restart_decided = None
                self._start()

    def _start(self) -> None:
        self.component.start()
        more = sorted({*self.component.added, *self.component.released})
        added = {"added": more} if more else {}
        self.emit("stack", "start", component=self.component.name, generation=self.component.generation, **added)

    def _traffic(self, on: bool) -> None:
        with self.component.lock:
            if self.in_traffic != on:
                self.in_traffic = on
                self._in_rotation(on)
                self.emit("probe", "traffic", process=self.component.name, in_traffic=on)

    def _guard(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self.failure = error
