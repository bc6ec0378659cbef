"""A run's folder: opened with all that is known before the run begins."""

from __future__ import annotations

import json
import os
import platform
import secrets
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import harness
from harness.document import text_of
from harness.errors import UsageError
from harness.masking import hidden_file, masked
from harness.plan.plan import Plan
from harness.plan.stored import dump
from harness.run.comparable import digest, machine
from harness.stack import yamltext
from harness.stack.tools import Tools


def open_run(plan: Plan, tools: Tools, runs: Path) -> Path:
    """A new run folder with the plan, the files it names and the environment in it. Raises UsageError where none can be
    made."""
    try:
        run = (runs / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}").resolve()
        run.mkdir(parents=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        why = getattr(error, "strerror", None) or "it is a link that leads to itself"
        raise UsageError(f"no folder for a run can be made in {runs}: {why}") from None
    (run / "plan.yaml").write_text(dump(plan.resolved()))
    (run / "events.jsonl").touch()
    for folder in ("rules", "experiments"):
        (run / folder).mkdir(exist_ok=True)
    stored = [(file, "rules") for file in plan.rules] + [(e.path, "experiments") for e in plan.experiments]
    for i, (file, folder) in enumerate([*stored, (plan.path, "")]):
        copy = run / folder / (file.name if folder else "gate.yaml")
        copy = copy.with_name(f"{i + 1}-{file.name}") if copy.exists() else copy
        text = text_of(file)
        copy.write_text(text if folder == "rules" else hidden_file(text, as_json=file.suffix == ".json"))
    production = Path(plan.service.monitoring.alertmanager)
    (run / "production-alertmanager.yaml").write_text(yamltext.dump(masked(yamltext.read(production))))
    (run / "journals").mkdir()
    (run / "environment.json").write_text(json.dumps(_environment(plan, tools), indent=1))
    return run


def commit(where: Path) -> str:
    """The short commit of a working tree, with a + when it has changes; empty outside git."""
    try:
        found = subprocess.run(
            ["git", "-C", str(where), "describe", "--always", "--dirty=+", "--abbrev=7", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except OSError:
        return ""
    return found.stdout.strip()


def committed_at(where: Path, revision: str) -> float | None:
    """When a commit was made, in Unix seconds; None where git knows no such one."""
    ask = ["git", "-C", str(where), "show", "--no-patch", "--format=%ct", "--end-of-options", f"{revision}^{{commit}}"]
    try:
        found = subprocess.run(ask, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return float(found.stdout.split()[-1]) if found.returncode == 0 else None


def _environment(plan: Plan, tools: Tools) -> dict[str, Any]:
    return {
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "harness": harness.__version__,
        "commit": commit(plan.workdir),
        "packages": {p: version(p) for p in ("chaostoolkit", "chaostoolkit-lib", "locust", "prometheus-api-client")},
        "tools": {k: str(v) for k, v in asdict(tools).items()},
        "comparable": {"plan": digest(plan), "machine": machine()},
    }
