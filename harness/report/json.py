"""results.json: the verdict for programs. Its form is results.schema.json beside this file; `schema` is its version."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO, get_args

from harness.errors import EvidenceError
from harness.recordfile import document as read_document
from harness.report.summary import Summary, utc
from harness.verdict import EVIDENCE_AT_MOST, Kind, Reference, Result, Verdict

# 3 said neither which alerts are simulated nor what is not applicable.
# 2 had neither evidence nor remarks; 1 had told_s and told_over_s for notified_s and resolved_notified_s, and names
# for keys of alerts.
VERSION = 4
RESULT = ("check", "subject", "verdict", "reason", "measured", "bound", "unit", "status", "place", "remedy")
SCHEMA = Path(__file__).with_name("results.schema.json")


def write(summary: Summary, out: TextIO) -> None:
    """Write one JSON object. A figure that is not finite (no answer ever came) is null."""
    json.dump(_finite(document(summary)), out, indent=1, ensure_ascii=False, allow_nan=False)
    out.write("\n")


def read(path: Path) -> tuple[tuple[Result, ...], int]:
    """The results of such a file, with what is said of each and what it rests on, and the file's version. Raises
    EvidenceError."""
    stored = read_document(path, Mapping[str, Any])
    version = stored.get("schema")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise EvidenceError(f"{path}: is of version {version!r}; this harness reads versions 1 to {VERSION}")
    try:
        return tuple(map(_as_result, stored["results"])), version
    except (AttributeError, KeyError, TypeError, ValueError):
        why = "does not hold what the harness writes there; `harness check` writes it again"
        raise EvidenceError(f"{path}: {why}") from None


def document(summary: Summary) -> dict[str, Any]:
    """The object that is written."""
    return {
        "schema": VERSION,
        "verdict": summary.verdict.name,
        "exit_code": summary.exit_code,
        "service": {"name": summary.service, "version": summary.version, "commit": summary.commit},
        "started": utc(summary.started),
        "ended": utc(summary.ended),
        "experiments": list(summary.experiments),
        "requests": summary.requests,
        "generator": {"lag_p99_ms": summary.lag_p99_ms},
        "results": [_result(r) for r in summary.results],
        "alerts": {name: dict(status) for name, status in summary.alerts.items()},
        "coverage": {severity: dict(tally) for severity, tally in summary.coverage.items()},
        "not_applicable": [each._asdict() for each in summary.not_applicable],
        "left_behind": list(summary.left),
        "remarks": list(summary.remarks),
    }


def _result(result: Result) -> dict[str, Any]:
    said = {name: getattr(result, name) for name in RESULT}
    return said | {"verdict": result.verdict.name, "evidence": [one._asdict() for one in result.evidence]}


def _as_result(entry: Mapping[str, Any]) -> Result:
    """The inverse, but for the figures. Raises KeyError, TypeError or ValueError."""
    said = {name: entry.get(name, "") for name in ("check", "subject", "reason", "status", "place", "remedy")}
    evidence = tuple(map(_as_reference, entry.get("evidence", ())))[:EVIDENCE_AT_MOST]
    if {*map(type, said.values())} != {str}:
        raise TypeError
    return Result(**said, verdict=Verdict[entry["verdict"]], evidence=evidence)


def _as_reference(entry: Mapping[str, Any]) -> Reference:
    at, until = (math.nan if entry[name] is None else entry[name] for name in ("at", "until"))
    numbers = {type(at), type(until)} <= {int, float}
    if entry["kind"] not in get_args(Kind) or type(entry["key"]) is not str or not numbers:
        raise ValueError
    return Reference(entry["kind"], entry["key"], float(at), float(until))


def _finite(value: Any) -> Any:
    """The same, as JSON can say it: no infinities, and numpy's numbers as plain ones."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # lone surrogates, from undecodable output, are not UTF-8
    if isinstance(value, Mapping):
        return {_finite(str(k)): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
