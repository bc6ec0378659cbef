"""The service as components: its replicas, each probed and supervised, behind a front door where there are several."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import StackError
from harness.stack.component import Component
from harness.stack.prober import Execute, Prober
from harness.stack.process import Child
from harness.stack.spec import Probe
from harness.stack.supervisor import Supervisor


@dataclass(frozen=True)
class Replica:
    """One server process and who looks after it."""

    component: Component
    prober: Prober
    supervisor: Supervisor

    def check(self) -> None:
        """Raise what broke a thread of ours, if anything did: a prober that stopped looking proves no health."""
        for part, who in ((self.prober, "prober"), (self.supervisor, "supervisor")):
            if part.failure is not None:
                raise StackError(f"the {who} of {self.component.name} broke: {part.failure!r}") from part.failure

    def wait_ready(self, within_s: float, until: float) -> None:
        """Return when it is in traffic. Raises ProcessDied if it ends first, StackError if the time is up."""
        while (asked := self.component.restart_request.exists()) or not self.supervisor.in_traffic:
            self.check()
            child = self.component.child
            if child is not None and self.supervisor.restarts == 0 and not asked:
                child.check()
            if time.monotonic() > until:
                log = child.log if child else ""
                why = self.prober.why_not_ready()
                raise StackError(
                    f"{self.component.name} was not ready within {within_s:g} s of its start; {why}; log: {log}"
                )
            time.sleep(0.05)


class Service:
    """All replicas. `spawn(name, added)` starts the process of one, with that added to its environment;
    `in_rotation(name, bool)` is called when one goes in or out of traffic. grace_s: of a restart, where the probe has
    none of its own. `execute(name)` gives what runs the commands of its probes; without it they fail."""

    def __init__(
        self,
        ports: Mapping[str, int],
        probes: Mapping[str, Probe],
        spawn: Callable[[str, Mapping[str, str]], Child],
        run: Path,
        emit: Callable[..., None],
        in_rotation: Callable[[str, bool], None] = lambda name, on: None,
        state: Path = Path(),
        grace_s: float = 30.0,
        execute: Callable[[str], Execute] = lambda name: None,
    ):
        self.replicas: list[Replica] = []
        self._grace_s = grace_s
        for name, port in ports.items():
            component = Component(name, run, partial(spawn, name))
            supervisor = Supervisor(component, emit, partial(in_rotation, name), grace_s)
            prober = Prober(component, port, probes, run, emit, supervisor.carry_out, state, execute(name))
            self.replicas.append(Replica(component, prober, supervisor))

    def start(self) -> None:
        """Start the servers and the probing."""
        for replica in self.replicas:
            replica.supervisor.start()
            replica.prober.start()

    def wait_ready(self, within_s: float) -> None:
        """Return when every replica is in traffic. Raises ProcessDied or StackError."""
        until = time.monotonic() + within_s
        for replica in self.replicas:
            replica.wait_ready(within_s, until)

    def restart(self, added: Mapping[str, str], within_s: float) -> None:
        """Start every replica anew, as a new release does, with this added to its environment from then on. Returns
        when all are in traffic again; no back-off is left of it. Raises StackError where one takes longer."""
        for replica in self.replicas:
            replica.supervisor.restart(added)
        until = time.monotonic() + self._grace_s + within_s
        for replica in self.replicas:
            replica.wait_ready(within_s, until)
        self.forget_backoff()

    def check(self) -> None:
        """Raise StackError if a prober or a supervisor has stopped working."""
        for replica in self.replicas:
            replica.check()

    def forget_backoff(self) -> None:
        """Treat the next crash of each replica as its first."""
        for replica in self.replicas:
            replica.supervisor.forget_backoff()

    def stop(self, grace_s: float = 5.0) -> None:
        """Delete the pods: probing ends, then each server gets SIGTERM and its grace."""
        for replica in self.replicas:
            replica.prober.stop()
            replica.supervisor.stop()
        for replica in self.replicas:
            replica.component.end(grace_s)

    @property
    def in_traffic(self) -> bool:
        """Whether any replica takes requests."""
        return any(replica.supervisor.in_traffic for replica in self.replicas)

    @property
    def latest(self) -> dict[str, list[bool]]:
        """The latest few results of each probe, for the screen; with several replicas by `NAME PROBE`."""
        several = len(self.replicas) > 1
        return {
            f"{replica.component.name} {which}" if several else which: results
            for replica in self.replicas
            for which, results in replica.prober.latest.items()
        }
