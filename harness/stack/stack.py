"""A running stack, as anything that works against it sees it: where things are, and what may be done to them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import StackError, UsageError
from harness.stack.by_process import PidFile, Processes
from harness.stack.control import Control, made
from harness.stack.ledger import PRIVATE, Ledger
from harness.stack.process import Pid, end_members, identify, members, origin
from harness.stack.reach import Reaction, answer, react
from harness.witness import ADDRESSES

ENV = ADDRESSES[0]  # by which a Chaos Toolkit child knows the stack it works against
CURRENT = Path("runs/up")  # a link to the folder of the stack that `harness up` holds


@dataclass(frozen=True)
class Stack:
    """Addresses of a running stack and the folder of its run. Stored as `stack.json`; `read` gives it back."""

    run: Path
    service: str
    service_url: str
    prometheus_url: str
    alertmanager_url: str
    time_scale: float
    access: Mapping[str, Any] = field(default_factory=dict)  # arguments of generator.command: how requests get in
    dependencies: tuple[str, ...] = ()  # the components that nobody restarts unasked
    addresses: Mapping[str, str] = field(default_factory=dict)  # HOST:PORT of each component, where it is known
    volumes: Mapping[str, str] = field(default_factory=dict)  # the folder of each component that has a disk of its own
    grace_s: float = 30.0  # how long a component that is asked to end has for it
    monitoring: tuple[str, ...] = ()  # the components that watch the service, and not it; nobody restarts them either
    proxy_url: str = ""  # of the control of the proxy; empty where no link goes through one
    links: Mapping[str, Any] = field(default_factory=dict)  # link -> its ways (stack.proxied.Way), of those that do
    controls: Mapping[str, Any] = field(default_factory=dict)  # component -> arguments of its control, where attached
    asked: Mapping[str, str] = field(default_factory=dict)  # component -> URL whose answer says that it is there

    def write(self) -> None:
        (self.run / "stack.json").write_text(json.dumps(asdict(self), default=str, indent=1))

    @classmethod
    def read(cls, run: Path) -> Stack:
        """The stack of a run's folder. Raises StackError if there is none."""
        try:
            facts = json.loads((run / "stack.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise StackError(f"{run}: no running stack here ({error})") from error
        several = {key: tuple(facts.get(key, ())) for key in ("dependencies", "monitoring")}
        return cls(**{**facts, **several, "run": Path(facts["run"])})

    @classmethod
    def current(cls, env: Mapping[str, str] = os.environ) -> Stack:
        """The stack this process was started for, else the one that `harness up` holds in this folder."""
        if run := env.get(ENV):
            return cls.read(Path(run))
        if (CURRENT / "owner.json").exists():
            return cls.read(CURRENT.resolve())
        raise UsageError("no stack is running here: start one with `harness up` in another terminal")

    @property
    def environment(self) -> dict[str, str]:
        """By what variables a process finds the stack: ADDRESSES."""
        service = self.service_url
        where = (str(self.run.resolve()), service, self.prometheus_url, self.alertmanager_url, service)
        return dict(zip(ADDRESSES, where, strict=True))

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.run)

    @property
    def unattended(self) -> tuple[str, ...]:
        """The components that nobody restarts unasked: a fault that ends one has it started again."""
        return (*self.dependencies, *self.monitoring)

    @property
    def renewal(self) -> Path:
        """The file by which whoever holds the stack is asked for an Alertmanager with empty storage; it goes when that
        one is ready."""
        return self.run / "requests" / "renew-alertmanager"

    @property
    def state(self) -> Path:
        """The folder that service.yaml calls {state}."""
        return self.run.resolve() / PRIVATE / "state"

    @property
    def values(self) -> dict[str, object]:
        """What stands for {state} and for {NAME.host} and {NAME.port} of each component in a parameter of a fault."""
        ways = {name: address.rpartition(":") for name, address in self.addresses.items()}
        hosts = {f"{name}.host": host for name, (host, _, _) in ways.items()}
        return {"state": self.state, **hosts, **{f"{name}.port": port for name, (_, _, port) in ways.items()}}

    def volume(self, component: str) -> Path:
        """The folder of a component that is a disk of its own. Raises StackError."""
        if component not in self.volumes:
            remedy = "give it one in service.yaml, like `start: {disk: 4 GB}`; it is made where the host allows it"
            raise StackError(f"{component} has no disk of its own: {remedy}")
        return Path(self.volumes[component])

    def pid(self, process: str) -> Pid:
        """The process that a name stands for now. Raises StackError, naming the known ones, if there is none."""
        if (control := self.controls.get(process, {})).get("kind") == "pid_file":
            now = PidFile(Path(control["path"])).look()
            if now is None:
                raise StackError(f"{process} is not running ({control['path']} names no process)")
            return now
        facts = self._on_file(process)
        last = Pid(facts["pid"], facts["started"])
        if identify(last.pid) != last:
            raise StackError(f"{process} is not running (its last process was {last.pid})")
        return last

    def control(self, component: str) -> Control:
        """What may be done to a component, and to whatever has its name now. Raises StackError where nothing may."""
        about = self.controls.get(component)
        if about == {}:
            raise StackError(f"{component} is only observed; say `control` in service.yaml")
        if about and about["kind"] != "pid_file":
            return made(about["kind"])(**{key: value for key, value in about.items() if key != "kind"})
        main = self.pid(component)
        return Processes(self.run, component, main, self._mark(component, main))

    def members(self, component: str, main: Pid) -> list[Pid]:
        """Every live process of a component, its main one first."""
        return members(self.run, self._mark(component, main), main)

    def kill(self, component: str, main: Pid) -> list[Pid]:
        """SIGKILL to every process of a component; gives those it ended. What takes its place meanwhile is spared."""
        return end_members(self.run, self._mark(component, main), main)

    def started_since(self, process: str, at: float) -> bool:
        """Whether whoever looks after a process has started it anew since a moment."""
        return (self.run / "pids" / process).stat().st_mtime > at

    def ask_restart(self, component: str) -> None:
        """Have the supervisor of a component start it anew, which leaves out its back-off; returns at once."""
        request = self.restart_request(component)
        request.parent.mkdir(exist_ok=True)
        request.touch()

    def restart_request(self, component: str) -> Path:
        """The file by which a restart is asked for; its supervisor removes it when the component is ready again."""
        return self.run / "requests" / f"restart-{component}"

    def _mark(self, component: str, main: Pid) -> str:
        if component in self.controls:
            return component  # nothing carries our mark
        facts = self._on_file(component)
        same = (facts["pid"], facts["started"]) == main
        return facts.get("mark", component) if same else origin(main.pid, self.run) or component

    def _on_file(self, process: str) -> dict[str, Any]:
        path = self.run / "pids" / process
        try:
            return json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            known = ", ".join(sorted(p.name for p in path.parent.glob("*"))) or "none"
            raise StackError(f"unknown process {process!r} (known: {known})") from error

    def react(self, component: str, within_s: float) -> Reaction | None:
        """How a component reacts to a client of its own address; None where none is known."""
        if url := self.asked.get(component):
            return answer(url, within_s)
        address = self.addresses.get(component)
        return None if address is None else react(address, within_s, http=component not in self.unattended)
