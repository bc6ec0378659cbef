"""Seals a run's evidence once, at its end, and finds what was changed since.

`seal.json` holds a SHA-256 digest of every file of the run's folder, but of what no verdict rests on: the storage of
Prometheus (`snapshot/` holds what it stored) and of Alertmanager, the scratch files of processes, and the ledger, to
which a later `harness heal` may write. Reports are made after it, and may be made again. It shows damage and edits; it
is no signature.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import EvidenceError
from harness.recordfile import document, regular

SEAL = "seal.json"
VERSION = 1
NO_EVIDENCE = {"alertmanager", "pids", "private", "prometheus/data", "requests", "tmp"}  # folders
LATER = {"results.json", "junit.xml", "report.html", "summary.md", "ledger.jsonl", "owner.json"}  # may be written later
# What a file has only to be there for to be judged.
JUDGED_BY_PATTERN = ("requests-*.rows", "requests-*.bin", "journals/*.json", "baseline.json", "signals/*")
NAMED_AT_MOST = 5


def seal(run: Path) -> None:
    """Seal a run that has ended and to which nobody writes any more. Raises EvidenceError."""
    scratch = run / f"{SEAL}.new"
    try:
        files = {name: _digest(run / name) for name in _evidence(run)}
        with open(scratch, "w") as out:
            out.write(_text(files))
            out.flush()
            os.fsync(out.fileno())
        scratch.rename(run / SEAL)
    except OSError as error:
        raise EvidenceError(f"{run}: could not be sealed: {error.strerror}") from error


def broken(run: Path) -> str:
    """What is not as it was sealed, in a few words that name the files; empty where all is. Raises EvidenceError where
    the seal itself is missing or damaged."""
    path = run / SEAL
    stored = document(path, Mapping[str, Any])
    files = stored.get("files")
    if stored.get("version") != VERSION:
        raise EvidenceError(f"{path}: is of version {stored.get('version')!r}; this harness reads version {VERSION}")
    if not isinstance(files, dict) or path.read_bytes() != _text(files).encode():
        raise EvidenceError(f"{path}: is damaged or edited: its digest is not that of its list of files")
    missing = [name for name in files if not (run / name).exists()]
    edited = [name for name in files if name not in missing and _digest_or_none(run / name) != files[name]]
    found = [str(p.relative_to(run)) for pattern in JUDGED_BY_PATTERN for p in sorted(run.glob(pattern))]
    added = [name for name in found if name not in files]
    changes = (("edited", edited), ("removed", missing), ("added", added))
    return "; ".join(f"{what} since it was sealed: {_named(names)}" for what, names in changes if names)


def _evidence(run: Path) -> Iterator[str]:
    """Every regular file of a run that is evidence, by its path in the run's folder."""
    for folder, folders, names in os.walk(run):
        here = Path(folder).relative_to(run)
        folders[:] = sorted(name for name in folders if str(here / name) not in NO_EVIDENCE)
        found = [str(here / name) for name in sorted(names) if (run / here / name).is_file()]
        yield from (name for name in found if name not in LATER)


def _digest(path: Path) -> str:
    regular(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_or_none(path: Path) -> str | None:
    try:
        return _digest(path)
    except (OSError, EvidenceError):
        return None  # what cannot be read is not as it was


def _text(files: Mapping[str, Any]) -> str:
    """The seal of a list of files, with a digest of the list itself."""
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return json.dumps({"version": VERSION, "digest": digest, "files": files}, indent=1) + "\n"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return ", ".join(names[:NAMED_AT_MOST]) + more
