"""What the service recorded of each request, as arrays: its log lines, audit records, database rows and spans.

`signals/` of a run's folder holds for each signal NAME (log, audit, record, span):

    NAME.rows    LINE, or SPAN, one fixed-width record each
    NAME.json    what is known of the whole source: where it lies, how many rows it has, what could not be read
    links.rows   LINK, what spans say of others
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import EvidenceError
from harness.recordfile import document, parts, regular
from harness.units import count

FOLDER = "signals"
RECEIVED = f"{FOLDER}/spans.otlp"  # what the receiver of spans was sent, as stack/collector.py writes it
LONGEST_ID = 32  # bytes of a request's id that are kept
UNNAMED = -2  # a class that has none of the names of telemetry.classes
ABOUT = [  # what lines and spans of requests may say
    ("request_id", f"S{LONGEST_ID}"),
    ("part", "<u2"),  # which of several inputs of one request, from 1; 0 where it is the request's only one
    ("status", "<u2"),  # 0 where it says none
    ("label", "i1"),  # the class by its number, -1 where it says none
    ("probability", "<f4"),  # nan where it says none
    ("confidence", "<f4"),
    ("trace", "<u8", (2,)),  # 0, 0 where it says none
]
LINE = np.dtype(
    [
        *ABOUT,
        ("at", "<f8"),  # Unix seconds, nan where it says none
        ("file", "u1"),  # position in the list of files
        ("place", "<u8"),  # byte within the file at which the line begins
    ]
)
SPAN = np.dtype(
    [
        *ABOUT,
        ("span", "<u8"),
        ("parent", "<u8"),  # 0: it has none
        ("began", "<f8"),  # Unix seconds
        ("ended", "<f8"),
        ("received", "<f8"),
        ("name", "<u2"),  # position in the list of names
        ("kind", "u1"),  # SpanKind of OpenTelemetry: 2 is a server's, 5 a consumer's
        ("failed", "u1"),
        ("place", "<u8"),  # byte within RECEIVED at which the message begins that it came in
    ]
)
LINK = np.dtype([("trace", "<u8", (2,)), ("span", "<u8"), ("to_trace", "<u8", (2,)), ("to_span", "<u8")])
VERSION = 1
FORMS = {  # of what NAME.json holds
    "files": Sequence[str],
    "counts": Mapping[str, int],
    "lacking": Mapping[str, int],
    "names": Sequence[str],
    "values": Mapping[str, Sequence[Any]],
    "spans": Sequence[str],
    "refused": Sequence[str],
    "verified": Sequence[Mapping[str, Any]],
    "problem": str,
    "remedy": str,
    "rows": int,
    "links": int,
}
KINDS = {"log": LINE, "audit": LINE, "record": LINE, "span": SPAN}


@dataclass(frozen=True)
class Signal:
    """All of one signal in a run. about: `files`, `problem` (why nothing can be said of it, with its `remedy`), counts
    of what was read, and the names that were found."""

    rows: np.ndarray
    about: Mapping[str, Any] = field(default_factory=dict)
    links: np.ndarray = field(default_factory=lambda: np.empty(0, LINK))


def write(run: Path, name: str, signal: Signal) -> None:
    """Store a signal in a run's folder."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    signal.rows.astype(KINDS[name], copy=False).tofile(folder / f"{name}.rows")
    if len(signal.links):
        signal.links.tofile(folder / "links.rows")
    stored = {"version": VERSION, "rows": len(signal.rows), "links": len(signal.links), **signal.about}
    (folder / f"{name}.json").write_text(json.dumps(stored, indent=1))


def read(run: Path) -> dict[str, Signal]:
    """The signals that are stored in a run's folder; none of a run that was cut off before. Raises EvidenceError."""
    found = {}
    for name, kind in KINDS.items():
        path = run / FOLDER / f"{name}.json"
        if path.exists():
            about = document(path, Mapping[str, Any])
            if about.get("version", VERSION) != VERSION:
                known = f"this harness reads version {VERSION}"
                raise EvidenceError(f"{path}: is of version {str(about['version'])[:20]}; {known}")
            parts(about, FORMS, path)
            links = run / FOLDER / "links.rows"
            has_links = name == "span" and (about.get("links", 0) or links.exists())
            linked = _rows(links, LINK, about.get("links")) if has_links else np.empty(0, LINK)
            rows = _rows(run / FOLDER / f"{name}.rows", kind, about.get("rows"))
            named = "name" if name == "span" else "file"
            if len(rows) and rows[named].max() >= len(about.get("spans" if name == "span" else "files", ())):
                raise EvidenceError(f"{path}: does not name all {named}s that its rows are about")
            found[name] = Signal(rows, about, linked)
    return found


def _rows(path: Path, kind: np.dtype, stored: int | None) -> np.ndarray:
    """The rows of a file. stored: how many were written; None where an older harness did not say."""
    whole, rest = divmod(regular(path), kind.itemsize)
    if rest:
        raise EvidenceError(f"{path}: is cut short after row {whole}")
    if stored is not None and whole != stored:
        raise EvidenceError(f"{path}: has {count(whole, 'row')}, and {stored:,} were written")
    return np.fromfile(path, kind)
