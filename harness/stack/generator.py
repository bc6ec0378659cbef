"""How a load generator is started: as a child process, because Locust patches the process it is imported into."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.errors import UsageError
from harness.stack.process import free_ports


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
) -> list[str]:
    """The argv of a headless generator: appends rows to `rows` and its account, under `name`, to `events`.

    arrivals, corpus: None leaves the scenario's own. for_s: None runs until SIGINT or SIGTERM, after which requests in
    flight get their own timeout to end. processes: how many share the schedule, beside one that only collects. ca_file:
    whom to trust for https instead of the system's authorities; insecure: anybody. It exits with 0 whatever its
    requests met; with something else when its rows cannot be relied on. Raises UsageError when there is no such
    scenario.
    """
    if not scenario.is_file():
        raise UsageError(f"{scenario}: no such scenario")
    argv = [sys.executable, "-m", "locust", "-f", str(scenario), "-H", url, "--headless", "--only-summary", "-u", "1"]
    argv += ["--exit-code-on-error", "0"]  # what requests meet is in the rows, and for others to judge
    argv += ["--rows", str(rows), "--events", str(events), "--generator", name]
    for option, value in (("--arrivals", arrivals), ("--for", for_s), ("--corpus", corpus), ("--ca-file", ca_file)):
        if value is not None:
            argv += [option, str(value)]
    if insecure:
        argv.append("--insecure")
    if processes > 1:
        port = str(free_ports(1)[0])
        argv += ["--processes", str(processes), "--expect-workers", str(processes)]
        argv += ["--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port]
    return argv
