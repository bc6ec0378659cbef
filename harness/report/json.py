"""results.json: the verdict for programs. Its form is results.schema.json beside this file; `schema` is its version."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from harness.report.summary import Summary, utc
from harness.verdict import Result

# 2 had neither evidence nor remarks; 1 had told_s and told_over_s for notified_s and resolved_notified_s, and names
# for keys of alerts.
VERSION = 3
RESULT = ("check", "subject", "verdict", "reason", "measured", "bound", "unit", "status", "place", "remedy")
SCHEMA = Path(__file__).with_name("results.schema.json")


def write(summary: Summary, out: TextIO) -> None:
    """Write one JSON object. A figure that is not finite (no answer ever came) is null."""
    json.dump(_finite(document(summary)), out, indent=1, ensure_ascii=False, allow_nan=False)
    out.write("\n")


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
        "left_behind": list(summary.left),
        "remarks": list(summary.remarks),
    }


def _result(result: Result) -> dict[str, Any]:
    said = {name: getattr(result, name) for name in RESULT}
    return said | {"verdict": result.verdict.name, "evidence": [one._asdict() for one in result.evidence]}


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
