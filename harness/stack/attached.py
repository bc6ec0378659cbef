"""A service that runs already: looked at and probed, restarted only where service.yaml says so, and left as it is.

Whoever looks after it may replace its processes at any time, so that what has its name is looked up again and again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import StackError
from harness.stack.by_container import Container
from harness.stack.by_process import PidFile
from harness.stack.component import restart_request, stop_notice
from harness.stack.control import BY_HARNESS, Seen, made
from harness.stack.engine import address
from harness.stack.ledger import Entry, Ledger
from harness.stack.prober import Prober
from harness.stack.service import Replica, Service
from harness.stack.spec import ControlSpec, Instance, Probe
from harness.stack.supervisor import Supervisor

LOOK_EVERY_S = 0.5  # the kubelet lists its containers once a second
UNSEEN_AT_MOST_S = 10.0  # that whoever is asked about it does not answer
RESTART = "restart"  # of its ledger entries
RESTARTED_WITHIN_S = 600.0  # more than the longest back-off
STARTED_WITHIN_S = 10.0


def arguments(control: ControlSpec) -> dict[str, Any]:
    """What a control is made of, as stack.json keeps it: nothing where it is observed only. Raises StackError."""
    about: dict[str, Any] = {"kind": control.kind, "restarted_by": control.restarted_by}
    match control.kind:
        case "none":
            return {}
        case "pid_file":
            return about | {"path": control.pid_file}
        case "kubernetes":
            return about | control.kubernetes.model_dump()
    try:
        about |= {"engine": address(control.engine)}
    except ValueError as error:
        raise StackError(str(error)) from None
    if control.compose is None:
        return about | {"name": control.container}
    return about | {"name": control.service, "compose": control.compose, "number": control.number}


def made_of(about: Mapping[str, Any]) -> Any:
    """The control that such arguments make: what looks a component up; None where it is observed only."""
    if not about:
        return None
    given = {key: value for key, value in about.items() if key != "kind"}
    return PidFile(**given | {"path": Path(given["path"])}) if "path" in given else made(about["kind"])(**given)


class Attached:
    """A component that runs already, with what a prober and a supervisor know of one. `look` is to be called now and
    then: it sees when another process has taken the place of the last."""

    child = None  # none of ours

    def __init__(self, name: str, run: Path, control: ControlSpec):
        self.name = name
        self.lock = threading.RLock()
        self._looks = self._believed = 0  # how many were begun; which of them was the last that counts
        self.generation = 0
        self.since = 0.0
        self.code: int | None = None
        self.added: Mapping[str, str] = {}
        self.released: Mapping[str, str] = {}
        self._run, self._alive = run, False
        self._ended: Entry | None = None  # by us
        self._identity: tuple[Any, ...] = ()
        self._control = made_of(arguments(control))

    def look(self) -> None:
        """Look it up. Raises StackError where that cannot be done."""
        with self.lock:
            self._looks += 1
            number, before = self._looks, self._identity
        seen = Seen(True, ("observed",)) if self._control is None else self._control.seen(before)
        with self.lock:
            if number < self._believed:
                return  # somebody has looked since
            self._believed = number
            self._alive = seen.alive
            if not seen.alive:
                self.code = seen.code
            elif seen.identity != self._identity:
                self._identity = seen.identity
                self.generation += 1
                self.since = time.monotonic()
                stop_notice(self._run, self.name).unlink(missing_ok=True)
                if self._control is not None:
                    self._write(seen.pid._asdict() if seen.pid is not None else {"pid": 0, "started": 0})

    def alive(self) -> bool:
        return self._alive

    def must_run(self) -> None:
        """Look it up. Raises StackError where it does not run."""
        self.look()
        if not self.alive():
            raise StackError(f"{self.name} does not run: {self.where}; start it, then run again")

    def start(self) -> None:
        """Start it where it does not run. Raises StackError."""
        self.look()
        if not self.alive():
            if not isinstance(self._control, Container):
                raise StackError(f"{self.name} does not run, and cannot be started here: {self.where}")
            self._control.start()
            until = time.monotonic() + STARTED_WITHIN_S
            while not self.alive() and time.monotonic() < until:
                time.sleep(0.05)
                self.look()
        if self._ended is not None:
            Ledger(self._run).close(self._ended)
            self._ended = None

    def end(self, grace_s: float) -> None:
        """Ask it to end, and make it after the grace. Until it is started again the ledger knows that it must be."""
        if not isinstance(self._control, Container):
            return
        with suppress(StackError):  # it has ended
            found = self._control.found()
            back = self._control.revives(self.name, found)
            self._ended = self._ended or Ledger(self._run).add(RESTART, "", {}, found, back, RESTARTED_WITHIN_S)
            self._control.stop(found, grace_s)
        self.look()

    def announce_stop(self) -> None:
        notice = stop_notice(self._run, self.name)
        notice.parent.mkdir(exist_ok=True)
        notice.touch()

    @property
    def where(self) -> str:
        """What is looked at, for a message."""
        return "it is only observed" if self._control is None else self._control.where

    @property
    def is_stopping(self) -> bool:
        return stop_notice(self._run, self.name).exists()

    @property
    def restart_request(self) -> Path:
        return restart_request(self._run, self.name)

    def _write(self, facts: Mapping[str, int]) -> None:
        file = self._run / "pids" / self.name
        file.parent.mkdir(exist_ok=True)
        scratch = file.with_suffix(".new")
        scratch.write_text(json.dumps({**facts, "mark": self.name}))
        os.replace(scratch, file)


class Observer:
    """In place of the supervisor of a component that somebody else restarts: decisions are recorded, not carried out.

    That the kubelet would restart it is an event; so is that another process has taken its place."""

    def __init__(self, component: Attached, emit: Callable[..., None], in_rotation: Callable[[bool], None]):
        self.component, self.emit = component, emit
        self.in_traffic = False
        self.restarts = 0
        self.failure: BaseException | None = None
        self._in_rotation = in_rotation

    def start(self) -> None:
        """Nothing is started, but it must be there."""
        self.component.must_run()

    def carry_out(self, which: str, decision: str, probe: Probe) -> None:
        if decision == "restart":
            self._restarted(which, carried_out=False)
        elif self.in_traffic != (decision == "ready"):
            self.in_traffic = decision == "ready"
            self._in_rotation(self.in_traffic)
            self.emit("probe", "traffic", process=self.component.name, in_traffic=self.in_traffic)

    def replaced(self) -> None:
        """Another process has taken the place of the last."""
        self._restarted("exit", carried_out=True)

    def forget_backoff(self) -> None:
        """There is none."""

    def stop(self) -> None:
        """Nothing to end."""

    def _restarted(self, cause: str, carried_out: bool) -> None:
        self.restarts += 1
        about = {"process": self.component.name, "cause": cause, "code": self.component.code, "backoff_s": 0.0}
        self.emit("probe", "restart", **about, restarts=self.restarts, carried_out=carried_out)


class Watch:
    """Looks components up, one after the other, again and again, in a thread of the caller's process. Whoever is asked
    may be silent for a while; then it is a failure."""

    def __init__(self, components: Sequence[Attached], replaced: Callable[[Attached], None] = lambda component: None):
        self.failure: BaseException | None = None
        self.components, self._replaced = list(components), replaced
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guard, name="attached", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(3)

    def check(self) -> None:
        """Raise StackError if it has ended."""
        if self.failure is not None:
            raise StackError(f"what runs cannot be looked at: {self.failure}") from self.failure

    def _look(self) -> None:
        for component in self.components:
            before = component.generation
            component.look()
            if component.generation > before:
                self._replaced(component)

    def _guard(self) -> None:
        seen = time.monotonic()
        try:
            while not self._stop.wait(LOOK_EVERY_S):
                try:
                    self._look()
                    seen = time.monotonic()
                except StackError:
                    if time.monotonic() - seen > UNSEEN_AT_MOST_S:
                        raise
        except BaseException as error:
            self.failure = error


class AttachedService(Service):
    """All instances of a service that runs already, each probed at its own address."""

    def __init__(
        self,
        instances: Mapping[str, Instance],
        probes: Mapping[str, Probe],
        run: Path,
        emit: Callable[..., None],
        in_rotation: Callable[[str, bool], None],
        state: Path,
        grace_s: float,
    ):
        self._grace_s = grace_s
        self.replicas = []
        for name, instance in instances.items():
            component = Attached(name, run, instance.control)
            ours = instance.control.restarted_by == BY_HARNESS
            turn = partial(in_rotation, name)
            who = Supervisor(component, emit, turn, grace_s) if ours else Observer(component, emit, turn)
            at = instance.url
            prober = Prober(component, at.port, probes, run, emit, who.carry_out, state, None, at.host, replaces=ours)
            self.replicas.append(Replica(component, prober, who))
        self._watch = Watch([replica.component for replica in self.replicas], self._replaced)

    def start(self) -> None:
        """Begin to look at it and to probe it. Raises StackError where it does not run."""
        super().start()
        self._watch.start()

    def check(self) -> None:
        self._watch.check()
        super().check()

    def stop(self, grace_s: float = 0.0) -> None:
        """It is looked at and probed no more, and left as it is."""
        for replica in self.replicas:
            replica.prober.stop()
            replica.supervisor.stop()
        self._watch.stop()
        for replica in self.replicas:
            if isinstance(replica.supervisor, Supervisor):  # it may wait for its back-off
                with suppress(StackError):  # which says nothing of the run
                    replica.component.start()

    def _replaced(self, component: Attached) -> None:
        for replica in self.replicas:
            if replica.component is component and isinstance(replica.supervisor, Observer):
                replica.supervisor.replaced()
