"""`harness report`: a stored run as one page for a browser, whatever state its folder is in."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.cli.options import command
from harness.cli.output import complain, near, say
from harness.errors import UsageError

NAME = "report.html"


def add_to(commands: Any) -> None:
    sub = command(commands, "report", run, "Write a stored run as one page for a browser.")
    sub.add_argument("run", type=Path, help="a folder under runs/")
    about = f"where to (default: {NAME} in the run's folder)"
    sub.add_argument("--html", nargs="?", type=Path, metavar="FILE", help=about)


def run(args: argparse.Namespace) -> int:
    from harness.report.stored import read

    if not args.run.is_dir() or not any(os.path.lexists(args.run / name) for name in ("events.jsonl", "plan.yaml")):
        raise UsageError(f"{args.run}: not a run's folder; `ls runs/` shows the stored runs")
    stored = read(args.run)
    path = args.html or args.run / NAME
    try:
        write(path, judged(args.run), stored)
    except OSError as error:
        if args.html is not None:
            raise
        path = Path(f"{args.run.resolve().name}.html")
        complain(f"{near(args.run)} takes no file ({error.strerror}); the page is written here")
        write(path, judged(args.run), stored)
    for what in stored.missing:
        complain(f"not in the page: {what}")
    say(near(path))
    return 0


def judged(run: Path) -> Mapping[str, Any]:
    """What results.json holds; {} where there is none that can be read."""
    try:
        found = json.loads((run / "results.json").read_text("utf-8", "replace"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, results: Mapping[str, Any], stored: Any) -> None:
    """Write the page. Raises OSError."""
    from harness.report import html
    from harness.watch.found import found

    @cache
    def find(kind: str, key: str) -> list[str]:
        try:
            return found(stored.run, kind, key, stored.history.signals)
        except Exception:  # what is missing was said when the folder was read
            return []

    scratch = path.with_name(f"{path.name}.new")  # whatever has the name is not written through
    with open(scratch, "w", encoding="utf-8") as out:
        html.write(results, stored, out, find, near(stored.run))
    scratch.replace(path)
