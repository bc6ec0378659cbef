"""The kubelet's probes and restarts, emulated with its exact semantics on one local process.

After kubernetes pkg/kubelet/prober (worker.go, prober.go) and kuberuntime's restart back-off:
- Each probe has its own ticker; a tick missed during a slow probe is not replayed.
- Until the startup probe has succeeded only it runs; then it stops and the others begin.
- A result counts once it was seen `failureThreshold` (`successThreshold`) times in a row; below that nothing changes.
- Initial results: liveness success, readiness failure, startup unknown.
- Liveness or startup failing: SIGTERM, the grace period, SIGKILL, a new container; the probe holds still until then.
- Readiness never restarts; it takes the server out of traffic and back.
- A container that ends by itself is noticed at the next relist (1 s) and restarted at once the first time, then after a
  back-off of 10 s that doubles up to 5 min.
- HTTP 200..399 is success; no answer within `timeoutSeconds` in all is a failure. Redirects are not followed.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import StackError
from harness.stack.process import Child, started_ticks

RELIST_S = 1.0
BACKOFF_S, BACKOFF_MAX_S = 10.0, 300.0


@dataclass(frozen=True)
class Probe:
    """One probe as in a pod specification; seconds."""

    path: str
    period_s: float = 10
    timeout_s: float = 1
    failure_threshold: int = 3
    success_threshold: int = 1
    initial_delay_s: float = 0
    grace_s: float | None = None  # terminationGracePeriodSeconds of this probe


@dataclass(frozen=True)
class Answer:
    """What one probe request got: `status` 0 when there was no answer, and why."""

    ok: bool
    status: int
    took: float
    reason: str = ""


def ask(port: int, path: str, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> Answer:
    """One HTTP GET on a new connection, as the kubelet sends it; the timeout bounds the whole exchange."""
    began = clock()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    request += "User-Agent: kube-probe/1.30\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    raw = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
            connection.sendall(request.encode())
            while len(raw) < 65536:
                left = timeout_s - (clock() - began)
                if left <= 0:
                    raise TimeoutError
                connection.settimeout(left)
                chunk = connection.recv(16384)
                if not chunk:
                    break
                raw += chunk
    except TimeoutError:
        return Answer(False, 0, clock() - began, f"no complete answer within {timeout_s:g} s")
    except OSError as error:
        return Answer(False, 0, clock() - began, error.strerror or str(error))
    head, _, body = raw.partition(b"\r\n\r\n")
    words = head.split(b"\r\n")[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return Answer(False, 0, clock() - began, "what answered does not speak HTTP")
    status = int(words[1])
    ok = 200 <= status < 400
    return Answer(ok, status, clock() - began, "" if ok else body[:300].decode(errors="replace"))


class Streak:
    """The state machine of one probe worker: feed it results, it says when the decision changes."""

    def __init__(self, probe: Probe, initial: bool | None):
        self.probe, self.initial = probe, initial
        self.reset()

    def reset(self) -> None:
        """A new container: counters and decision start again."""
        self.decision = self.initial
        self.last: bool | None = None
        self.run = 0

    def feed(self, ok: bool) -> bool:
        """Count one result; True if the decision changed with it."""
        self.run = self.run + 1 if ok == self.last else 1
        self.last = ok
        if self.run < (self.probe.success_threshold if ok else self.probe.failure_threshold):
            return False
        changed = self.decision != ok
        self.decision = ok
        return changed


class Kubelet:
    """Keeps one server process alive as the kubelet would, in threads of the caller's process.

    `start_server` starts the process and gives the child; `emit(source, name, outcome, took, **detail)` takes events;
    raw probe answers go to `probes.jsonl` of the run, the current process id to `pids/NAME`.
    """

    def __init__(
        self,
        name: str,
        port: int,
        probes: Mapping[str, Probe],
        start_server: Callable[[], Child],
        run: Path,
        emit: Callable[..., None],
        grace_s: float = 30.0,
    ):
        self.name, self.port, self.probes, self.run = name, port, dict(probes), run
        self.start_server, self.emit, self.grace_s = start_server, emit, grace_s
        self.child: Child | None = None
        self.in_traffic = False
        self.restarts = 0
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._sync = threading.Event()
        self._container = 0  # a new number for each process started
        self._container_since = 0.0
        self._started = False
        self._kill_wanted: tuple[str, float] | None = None  # cause, grace
        self._backoff_s = 0.0
        self._threads: list[threading.Thread] = []
        self._log = open(run / "probes.jsonl", "ab", buffering=0)  # noqa: SIM115 - closed by stop()
        self.answers: dict[str, list[bool]] = {p: [] for p in self.probes}  # the latest few, for the screen
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Start the server and the probing."""
        self._new_container()
        self._threads = [threading.Thread(target=self._guard, args=(self._sync_loop,), name="kubelet", daemon=True)]
        self._threads += [
            threading.Thread(target=self._guard, args=(self._probe_loop, p), name=f"probe-{p}", daemon=True)
            for p in self.probes
        ]
        for thread in self._threads:
            thread.start()

    def wait_ready(self, within_s: float) -> None:
        """Return when the server is in traffic. Raises ProcessDied if it ends first, StackError if the time is up."""
        until = time.monotonic() + within_s
        while not self.in_traffic:
            self.check()
            child = self.child
            if child is not None and self.restarts == 0:
                child.check()
            if time.monotonic() > until:
                log = child.log if child else ""
                raise StackError(
                    f"{self.name} was not ready within {within_s:g} s of its start; {self._why_not_ready()}; log: {log}"
                )
            time.sleep(0.05)

    def check(self) -> None:
        """Raise what broke a thread of ours, if anything did: a kubelet that stopped looking proves no health."""
        if self.failure is not None:
            raise StackError(f"the probe emulator of {self.name} broke: {self.failure!r}") from self.failure

    def forget_backoff(self) -> None:
        """Treat the next crash as the first: each experiment stands for an incident of its own."""
        with self._lock:
            self._backoff_s = 0.0

    def stop(self, grace_s: float = 5.0) -> None:
        """Delete the pod: probing ends, then the server gets SIGTERM and its grace."""
        self._stop.set()
        self._sync.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(3)
        with self._lock:
            if self.child is not None:
                self.child.end(grace_s)
        self._log.close()

    # -- the container ------------------------------------------------------------------------------------------

    def _new_container(self) -> None:
        with self._lock:
            if self._stop.is_set():
                return
            self.child = self.start_server()
            self._container += 1
            self._container_since = time.monotonic()
            self._started = "startup" not in self.probes
            self._kill_wanted = None
            pid_file = self.run / "pids" / self.name
            pid_file.parent.mkdir(exist_ok=True)
            scratch = pid_file.with_suffix(".new")
            scratch.write_text(json.dumps({"pid": self.child.pid, "started": started_ticks(self.child.pid) or 0}))
            os.replace(scratch, pid_file)

    def _sync_loop(self) -> None:
        while not self._stop.is_set():
            self._sync.wait(RELIST_S)
            self._sync.clear()
            if self._stop.is_set():
                return
            with self._lock:
                wanted = self._kill_wanted
            if wanted is not None:
                self._restart(*wanted)
            elif not self.child.alive():
                self._restart("exit", 0.0)

    def _restart(self, cause: str, grace_s: float) -> None:
        code = self.child.popen.poll()
        self._traffic(False)
        if code is None:
            self.child.end(grace_s)
            code = self.child.popen.returncode
        ended = time.monotonic()
        wait_s, self._backoff_s = self._backoff_s, min(max(2 * self._backoff_s, BACKOFF_S), BACKOFF_MAX_S)
        self.restarts += 1
        self.emit(
            "probe", "restart", process=self.name, cause=cause, code=code, backoff_s=wait_s, restarts=self.restarts
        )
        while time.monotonic() - ended < wait_s and not self._stop.wait(0.1):
            pass
        if not self._stop.is_set():
            self._new_container()

    def _traffic(self, on: bool) -> None:
        with self._lock:
            if self.in_traffic != on:
                self.in_traffic = on
                self.emit("probe", "traffic", process=self.name, in_traffic=on)

    # -- the probes ---------------------------------------------------------------------------------------------

    def _probe_loop(self, which: str) -> None:
        probe = self.probes[which]
        streak = Streak(probe, {"liveness": True, "readiness": False, "startup": None}[which])
        container, on_hold = 0, False
        tick = time.monotonic()
        while not self._stop.is_set():
            with self._lock:
                now_container, since, started, alive = (
                    self._container,
                    self._container_since,
                    self._started,
                    self.child.alive(),
                )
            if now_container != container:
                container, on_hold = now_container, False
                streak.reset()
            due = not on_hold and started != (which == "startup") and time.monotonic() - since >= probe.initial_delay_s
            if due and alive:
                answer = ask(self.port, probe.path, probe.timeout_s)
                with self._lock:
                    if self._container != container or self._stop.is_set():
                        continue  # the container changed under the probe: its answer is nobody's
                    decision = ""
                    if streak.feed(answer.ok):
                        decision = self._decide(which, answer.ok, probe)
                        on_hold = decision == "restart"
                self._record(which, answer, decision)
            elif not alive and which == "readiness" and streak.decision:
                # the kubelet drops a terminated container from its endpoints whatever the probe last said
                streak.reset()
                self._traffic(False)
                self._record(which, Answer(False, 0, 0.0, "the container has ended"), "unready")
            tick += probe.period_s
            tick = max(tick, time.monotonic())  # a missed tick is not replayed
            while (left := tick - time.monotonic()) > 0 and not self._stop.wait(min(left, 0.25)):
                with self._lock:
                    if self._container != container or (which != "startup" and self._started and not started):
                        tick = time.monotonic()  # a new container or a finished startup: its workers begin at once

    def _decide(self, which: str, ok: bool, probe: Probe) -> str:
        if which == "startup" and ok:
            self._started = True
            return "started"
        if which == "readiness":
            self._traffic(ok)
            return "ready" if ok else "unready"
        if not ok:
            self._kill_wanted = (which, self.grace_s if probe.grace_s is None else probe.grace_s)
            self._sync.set()
            return "restart"
        return ""

    def _record(self, which: str, answer: Answer, decision: str) -> None:
        line = [time.time(), which, answer.ok, answer.status, round(answer.took, 4), answer.reason, decision]
        self.answers[which] = [*self.answers[which][-4:], answer.ok]
        with suppress(ValueError):  # closed: the run is over
            self._log.write((json.dumps(line) + "\n").encode())

    def _why_not_ready(self) -> str:
        child = self.child
        if child is None:
            return "it was never started"
        probe = "readiness" if self._started else "startup"
        answer = ask(self.port, self.probes[probe].path, 2)
        return f"its {probe} probe says {answer.status or 'nothing'}: {answer.reason[:200]}"

    def _guard(self, loop: Callable[..., None], *args: object) -> None:
        try:
            loop(*args)
        except BaseException as error:
            self.failure = error
