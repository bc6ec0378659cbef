"""The kubelet's probes, asked with its exact semantics: what they get is recorded, what they decide is reported.

After kubernetes pkg/kubelet/prober (worker.go, prober.go):
- Each probe has its own ticker; a tick missed during a slow probe is not replayed.
- Until the startup probe has succeeded only it runs; then it stops and the others begin.
- A result counts once it was seen `failureThreshold` (`successThreshold`) times in a row; below that nothing changes.
- While a container is being stopped only the readiness probe goes on.
- Initial results: liveness success, readiness failure, startup unknown.
- What counts as a success is decided in attempt.py.

What follows from a decision is the supervisor's work. Without one, decisions are recorded and change nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from harness.eventlog import Log
from harness.stack.attempt import HERE, Execution, Response, ask
from harness.stack.component import Component
from harness.stack.process import Child
from harness.stack.spec import Probe
from harness.streak import CONTAINER_ENDED, INITIAL, Streak

CarryOut = Callable[[str, str, Probe], None]  # which probe, its decision ("ready", "unready", "restart"), the probe
Execute = Callable[[str, Sequence[str]], Child]  # starts a command as the component, under a name of its own


class Prober:
    """Asks the probes of one component, in threads of the caller's process.

    Raw responses go to `probes.jsonl` of the run. Decisions go to `carry_out`; where there is none, they are events.
    replaces: whether a decision to restart is followed by a new process; else it falls once for each time of failures.
    """

    def __init__(
        self,
        component: Component,
        port: int,
        probes: Mapping[str, Probe],
        run: Path,
        emit: Callable[..., None],
        carry_out: CarryOut | None = None,
        state: Path = Path(),
        execute: Execute | None = None,
        host: str = HERE,
        replaces: bool = True,
    ):
        self.host, self.replaces = host, replaces
        self.component, self.port, self.probes, self.emit = component, port, dict(probes), emit
        self.carry_out, self.state = carry_out, state
        self._executions = {}
        for which in self.probes if execute is not None else ():
            name = f"probe-{component.name}-{which}"
            self._executions[which] = Execution(partial(execute, name), run / "logs" / f"{name}.log")
        self.latest: dict[str, list[bool]] = {p: [] for p in self.probes}  # the latest few results, for the screen
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._started_generation = 0  # the latest whose startup probe has succeeded
        self._log = Log(run / "probes.jsonl")
        self._threads = [
            threading.Thread(target=self._guard, args=(p,), name=f"{component.name}-{p}", daemon=True)
            for p in self.probes
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the probing; the component is left as it is."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(3)
        self._log.close()

    def why_not_ready(self) -> str:
        """What the probe that matters now gets, for an error message."""
        if not self.component.generation:
            return "it was never started"
        which = "readiness" if self._started() else "startup"
        response = self._ask(which, 2)
        return f"its {which} probe gets {response.status or 'no response'}: {response.reason[:200]}"

    def _ask(self, which: str, timeout_s: float) -> Response:
        return ask(self.port, self.probes[which], timeout_s, self.state, self._executions.get(which), self.host)

    def _started(self) -> bool:
        return "startup" not in self.probes or self._started_generation == self.component.generation

    def _probe_loop(self, which: str) -> None:
        probe, component = self.probes[which], self.component
        streak = Streak(probe.failureThreshold, probe.successThreshold, INITIAL[which])
        generation, on_hold = 0, False
        tick = time.monotonic()
        while not self._stop.is_set():
            with component.lock:
                now, since, started, alive = (
                    component.generation,
                    component.since,
                    self._started(),
                    component.alive(),
                )
            if now != generation:
                generation, on_hold = now, False
                streak.reset()
            due = (
                not on_hold
                and started != (which == "startup")
                and time.monotonic() - since >= probe.initialDelaySeconds
            )
            if which != "readiness" and component.is_stopping:
                due = False
            if due and alive:
                response = self._ask(which, probe.timeoutSeconds)
                with component.lock:
                    if component.generation != generation or self._stop.is_set():
                        continue  # the process changed under the probe: its response belongs to neither
                    decision = ""
                    if streak.feed(response.ok):
                        decision = self._decide(which, response.ok, probe)
                        if decision == "restart" and self.carry_out is not None and self.replaces:
                            on_hold = True
                        elif decision == "restart" and self.replaces:
                            streak.reset()  # as for the process that would have taken its place
                self._record(which, response, decision)
            elif not alive and which == "readiness" and streak.decision:
                # the kubelet drops a terminated container from its endpoints whatever the probe last got
                streak.reset()
                self._report(which, "unready", probe)
                self._record(which, Response(False, 0, 0.0, CONTAINER_ENDED), "unready")
            tick += probe.periodSeconds
            tick = max(tick, time.monotonic())  # a missed tick is not replayed
            while (left := tick - time.monotonic()) > 0 and not self._stop.wait(min(left, 0.25)):
                with component.lock:
                    if component.generation != generation or (which != "startup" and self._started() and not started):
                        tick = time.monotonic()  # a new process or a finished startup: its workers begin at once

    def _decide(self, which: str, ok: bool, probe: Probe) -> str:
        if which == "startup" and ok:
            self._started_generation = self.component.generation
            return "started"
        decision = ("ready" if ok else "unready") if which == "readiness" else "" if ok else "restart"
        if decision:
            self._report(which, decision, probe)
        return decision

    def _report(self, which: str, decision: str, probe: Probe) -> None:
        if self.carry_out is not None:
            self.carry_out(which, decision, probe)
        else:
            self.emit("probe", "decision", process=self.component.name, probe=which, decision=decision)

    def _record(self, which: str, response: Response, decision: str) -> None:
        self.latest[which] = [*self.latest[which][-4:], response.ok]
        took, status = round(response.took, 4), response.status
        line = [time.time(), which, response.ok, status, took, response.reason, decision, self.component.name]
        with suppress(ValueError):  # closed: the run is over
            self._log.write(line)

    def _guard(self, which: str) -> None:
        try:
            self._probe_loop(which)
        except BaseException as error:
            self.failure = error
