"""What a stored run has of one request: its log lines, audit records, database rows and spans, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness import signals
from harness.signals import RECEIVED, Signal
from harness.watch.lines import LONGEST
from harness.watch.traces import HEAD, request_of, value_of


def found(run: Path, kind: str, request_id: str, known: Mapping[str, Signal] | None = None) -> list[str]:
    """A line of text for each log line (kind `log`), audit record (`audit`), database row (`record`) or span (`span`)
    that belongs to a request, in the order they were written; spans with all others of their traces. Empty where there
    is none. known: the run's signals, where they are read already. Raises EvidenceError."""
    signal = (signals.read(run) if known is None else known).get(kind)
    if signal is None:
        return []
    mine = signal.rows[signal.rows["request_id"] == request_id.encode()]
    if kind == "record":
        return [_record(row, signal) for row in mine]
    if kind == "span":
        traces = {tuple(row["trace"].tolist()) for row in mine}
        return [line for trace in traces for line in _spans(run, signal, trace)]
    return [_line(run, signal, row) for row in mine]


def _line(run: Path, signal: Signal, row: np.void) -> str:
    with open(run / signal.about["files"][row["file"]], "rb") as file:
        file.seek(int(row["place"]))
        return file.readline(LONGEST).decode(errors="replace").rstrip("\n")


def _record(row: np.void, signal: Signal) -> str:
    """Of a database only what was asked for is kept."""
    said = {name: row[name] for name in ("label", "probability", "confidence", "status")}
    known = [f"{name} {value:.6g}" for name, value in said.items() if value == value and (name, value) not in UNSAID]
    return " ".join([signal.about["files"][row["file"]], row["request_id"].decode(), *known, _time(row["at"])]).strip()


UNSAID = {("label", -1), ("status", 0)}


def _spans(run: Path, signal: Signal, trace: tuple[int, int]) -> Iterator[str]:
    mine = signal.rows[(signal.rows["trace"] == trace).all(axis=1)]
    for row in np.sort(mine, order=["began", "ended"]):
        said = _attributes(run, row)
        took_ms = 1000 * (row["ended"] - row["began"])
        whose = f"within {row['parent']:016x}" if row["parent"] else "of the request"
        about = [f"trace {trace[0]:016x}{trace[1]:016x}", f"span {row['span']:016x}", whose, _time(row["began"])]
        about += [f"{took_ms:.3f} ms", *(f"{key}={value}" for key, value in said.items())]
        yield f"{signal.about['spans'][row['name']]}: {', '.join(about)}"


def _attributes(run: Path, row: np.void) -> dict[str, Any]:
    with open(run / RECEIVED, "rb") as file:
        file.seek(int(row["place"]))
        _, length, _ = HEAD.unpack(file.read(HEAD.size))
        request = request_of(file.read(length))
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                if int.from_bytes(span.span_id) == row["span"]:
                    return {one.key: value_of(one.value) for one in span.attributes}
    return {}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") if at == at else ""
