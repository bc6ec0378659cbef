"""Keeps what the service itself records of its requests: followed while the stack is up, stored when it is down."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import signals
from harness.errors import StackError
from harness.signals import FOLDER, KINDS, Signal
from harness.stack.ledger import PRIVATE
from harness.stack.process import spawn
from harness.stack.spec import ServiceSpec, filled
from harness.stack.stack import Stack
from harness.telemetry import Lines
from harness.watch import lines, records, traces
from harness.watch.follow import following

UNCLEAR = 3  # exit code of a command that cannot say whether a log is whole
VERIFIED_WITHIN_S = 60.0
SAID_AT_MOST = 500  # characters of what such a command prints last
VERIFIED = f"{FOLDER}/audit-verified.json"
WRITTEN_WITHIN_S = 2.5  # by a service that goes on: it writes what it has gathered
LINES = {"log": "logs", "audit": "audit"}  # signal -> section of `telemetry`


@contextmanager
def kept(service: ServiceSpec, run: Path, emit: Callable[..., None], workdir: Path | None = None) -> Iterator[None]:
    """While the service is up its files are followed; when it has ended its database is read, and
    its audit log verified, unless the run broke. workdir: where its commands are run."""
    files = {run / copy: path for _, copy, path in _followed(service, run)}
    names = {str(path): kind for kind, _, path in _followed(service, run)}
    if files:
        (run / FOLDER).mkdir(exist_ok=True)

    def tell(name: str, outcome: str, **about: Any) -> None:
        emit("watch", name, outcome, signal=names[about["file"]], **about)

    with following(files, tell):
        yield
    _store_records(service, run)
    _verify(service, run, workdir)


def store(service: ServiceSpec, run: Path, down: bool = True) -> None:
    """Store what the service recorded of each request. down: it has ended; else what it writes late is waited for."""
    telemetry = service.telemetry
    if not down and any((telemetry.logs, telemetry.audit, telemetry.database, telemetry.traces)):
        time.sleep(WRITTEN_WITHIN_S)
        _store_records(service, run)
    for kind, section in LINES.items():
        if (form := getattr(telemetry, section)) is not None:
            _store(
                run,
                kind,
                lambda kind=kind, form=form: lines.read(run, _files(service, run, kind, form), form, telemetry.classes),
            )
    if telemetry.traces is not None:
        _store(run, "span", lambda: traces.read(run, telemetry.traces, telemetry.classes))


def _store(run: Path, kind: str, read: Callable[[], Signal]) -> None:
    """Store a signal, or why it could not be read: that is for its check to say, and ends no run."""
    try:
        found = read()
    except Exception as error:
        found = Signal(np.empty(0, KINDS[kind]), {"problem": f"{type(error).__name__}: {error}"})
    if kind == "audit" and (run / VERIFIED).exists():
        found = replace(found, about={**found.about, "verified": json.loads((run / VERIFIED).read_text())})
    signals.write(run, kind, found)


def _store_records(service: ServiceSpec, run: Path) -> None:
    form = service.telemetry.database
    if form is None:
        return
    urls = [filled(form.url, values) for values in _values(service, run)] if "{replica}" in form.url else None
    urls = urls or [filled(form.url, _values(service, run)[0])]
    _store(run, "record", lambda: records.read(urls, form, service.telemetry.classes))


def _verify(service: ServiceSpec, run: Path, workdir: Path | None) -> None:
    """Have the service's own command say whether each audit log is whole, while the logs are still there."""
    form = service.telemetry.audit
    if form is None or form.verify is None:
        return
    found = []
    for values in _values(service, run)[: None if "{replica}" in form.file else 1]:
        values = {**values, "python": sys.executable, "file": filled(form.file, values)}
        argv = [filled(part, values) for part in shlex.split(form.verify)]
        output = Path(FOLDER) / f"verified-{values['replica']}.txt"
        try:
            with open(run / output, "wb") as out:
                child = spawn("verify-audit", argv, run, cwd=workdir, stdout=out)
            try:
                code = child.popen.wait(VERIFIED_WITHIN_S)
            finally:
                child.end(0)
            said = (run / output).read_text(errors="replace").strip()
        except (StackError, subprocess.TimeoutExpired) as error:
            code, said = UNCLEAR, f"the command did not end well: {error}"
        found.append({"replica": values["replica"], "code": code, "said": said[-SAID_AT_MOST:]})
    (run / VERIFIED).write_text(json.dumps(found, indent=1))


def _values(service: ServiceSpec, run: Path) -> list[dict[str, object]]:
    """The placeholders of each replica."""
    values: dict[str, object] = {"state": (run / PRIVATE / "state").resolve()}
    try:
        addresses = dict(Stack.read(run).addresses)
    except (StackError, json.JSONDecodeError, TypeError):
        addresses = {}  # the stack did not come up
    addresses |= {name: d.address for name, d in service.dependencies.items() if d.address is not None}
    for name, address in addresses.items():
        values[f"{name}.host"], _, values[f"{name}.port"] = address.rpartition(":")
    return [{**values, "replica": name} for name in service.replica_names]


def _followed(service: ServiceSpec, run: Path) -> Iterator[tuple[str, Path, Path]]:
    """(signal, copy below the run's folder, file) of each file that the service writes by itself."""
    for kind, section in LINES.items():
        form: Lines | None = getattr(service.telemetry, section)
        if form is not None and form.file:
            for values in _values(service, run)[: None if "{replica}" in form.file else 1]:
                whose = f"-{values['replica']}" if "{replica}" in form.file else ""
                yield kind, Path(FOLDER) / f"{kind}{whose}.jsonl", Path(filled(form.file, values))


def _files(service: ServiceSpec, run: Path, kind: str, form: Lines) -> list[Path]:
    """Where the lines of a signal lie below the run's folder."""
    if form.file:
        return [copy for which, copy, _ in _followed(service, run) if which == kind]
    return [Path("logs") / f"{name}.log" for name in service.replica_names]
