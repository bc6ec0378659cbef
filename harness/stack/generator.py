"""How a load generator is started, a child because Locust patches the process it is imported into, and why it ended."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.errors import LoadEnded, UsageError
from harness.stack.process import Child, free_ports, spawn

_ERROR = re.compile(r"^\[[^\]]*\] \S+/ERROR/harness\.load\.[\w.]+: (.*)$", re.MULTILINE)
_UNKNOWN_USER = re.compile(r"Unknown User\(s\): (\w+)")
_NO_CHOICE = re.compile(r"^ValueError: ((?:The following user classes|There are no users) .*)$", re.MULTILINE)
_FRAME = re.compile(r'^  File "(.*)", line (\d+)', re.MULTILINE)
_RAISED = re.compile(r"^(?:[a-z_]\w*\.)*([A-Z]\w*(?:: .*)?)$", re.MULTILINE)


@dataclass(frozen=True)
class Users:
    """The users of a locustfile that keep no schedule: how many, how many are started a second (None: all in the
    first), and which of their tasks they have."""

    number: int = 1
    spawn_rate: float | None = None
    tags: tuple[str, ...] = ()
    exclude_tags: tuple[str, ...] = ()

    def options(self) -> list[str]:
        """As Locust takes them; more must follow."""
        argv = ["-u", str(self.number), "--spawn-rate", f"{self.spawn_rate or self.number:g}"]
        for option, tags in (("--tags", self.tags), ("--exclude-tags", self.exclude_tags)):
            argv += [option, *tags] if tags else []
        return argv


@dataclass
class Generator(Child):
    """A running generator, whose end has a reason that its user can act on."""

    scenario: Path

    def check(self) -> None:
        """Raise if it ended: LoadEnded where its schedule was over, UsageError with the scenario's mistake, else
        ProcessDied as for any child."""
        code = self.popen.poll()
        if code == 0:
            raise LoadEnded(time.time())
        if code in (1, 2) and (mistake := complaint(self.log.read_text(errors="replace"), self.scenario)):
            raise UsageError(mistake)
        super().check()


def start(name: str, argv: list[str], run: Path, scenario: Path, cwd: Path | None = None) -> Generator:
    """Start a generator with a log of its own: what an earlier load left in it is not this one's."""
    (run / "logs" / f"{name}.log").unlink(missing_ok=True)
    return Generator(**vars(spawn(name, argv, run, cwd=cwd)), scenario=scenario)


def complaint(log: str, scenario: Path) -> str:
    """What a generator that gave up found wrong with its scenario or options, in one line; empty where it did not.

    Our part of it logs that as one line. Before that it is Python that complains, in a traceback through the scenario,
    or Locust.
    """
    name = scenario.name
    if "No User class found!" in log:
        return f"{name}: has no user class that Locust would run (an abstract one is none), so nothing would be sent"
    if unknown := _UNKNOWN_USER.search(log):
        return f"{name}: has no user class {unknown[1]}"
    if refused := _NO_CHOICE.search(log):
        return f"{name}: {refused[1]}"
    if found := list(dict.fromkeys(_ERROR.findall(log))):
        first = found[0].removeprefix(f"{name}: ") if found[0].startswith(f"{name}: {name}:") else found[0]
        return first if len(found) == 1 else f"{first} (and {len(found) - 1} more in its log)"
    raised = log.rpartition("Traceback (most recent call last)")[2]
    lines = [line for file, line in _FRAME.findall(raised) if Path(file) == scenario]
    if lines and (error := _RAISED.search(raised)):
        return f"{name}:{lines[-1]}: {error[1]}"
    return ""


def command(
    scenario: Path,
    url: str,
    *,
    arrivals: str | None,
    for_s: float | None,
    rows: Path,
    events: Path,
    name: str,
    corpus: Path | None = None,
    processes: int = 1,
    ca_file: Path | None = None,
    insecure: bool = False,
    client_cert: Path | None = None,
    client_key: Path | None = None,
    headers_file: Path | None = None,
    connect_to: str | None = None,
    user: str | None = None,
    golden: Path | None = None,
    golden_each: int = 1,
    users: Users = Users(),
) -> list[str]:
    """The argv of a headless generator: appends rows to `rows` and its account, under `name`, to `events`.

    arrivals, corpus: None leaves the scenario's own. for_s: None runs until SIGINT or SIGTERM, after which requests in
    flight get their own timeout to end. processes: how many share the schedule, beside one that only collects. ca_file:
    the authorities to trust for https instead of the system's; insecure: any certificate; client_cert, client_key: its
    own. headers_file: JSON object of headers for every request. connect_to: HOST:PORT that stands before the one in
    the URL, whose name requests and certificates go by. user: which of the scenario's user classes. golden:
    where the rows of the golden answers go; None: none are taken; golden_each: how often each input is asked for them.
    users: how many, and which of their tasks, where they keep no schedule.
    It exits with 0 whatever its requests met; with something else when its rows cannot be relied on. Raises UsageError
    when there is no such scenario.
    """
    if not scenario.is_file():
        raise UsageError(f"{scenario}: no such scenario")
    argv = [sys.executable, "-m", "harness.load.locust", "-f", str(scenario), "-H", url, "--headless", "--only-summary"]
    argv += users.options()
    argv += ["--exit-code-on-error", "0"]  # what requests meet is in the rows, and for others to judge
    argv += ["--rows", str(rows), "--events", str(events), "--generator", name]
    for option, value in (
        ("--arrivals", arrivals), ("--for", for_s), ("--corpus", corpus), ("--ca-file", ca_file),
        ("--client-cert", client_cert), ("--client-key", client_key), ("--headers-file", headers_file),
        ("--connect-to", connect_to),
    ):  # fmt: skip
        if value is not None:
            argv += [option, str(value)]
    if golden is not None:
        argv += ["--golden", str(golden), "--golden-each", str(golden_each)]
    if insecure:
        argv.append("--insecure")
    if processes > 1:
        port = str(free_ports(1)[0])
        argv += ["--processes", str(processes), "--expect-workers", str(processes)]
        argv += ["--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port]
    if user is not None:
        if not user.isidentifier():
            raise UsageError(f"{scenario.name}: a user class has a name like Steady, not {user!r}")
        argv.append(user)
    return argv
