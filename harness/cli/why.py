"""`harness why`: what a result of a judged run rests on: its rows, log lines, samples, notifications and events."""

from __future__ import annotations

import argparse
import difflib
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.cli.options import command
from harness.cli.output import near, standard_output
from harness.errors import UsageError
from harness.report import json as as_json
from harness.report.summary import Summary, printable
from harness.report.text import MARK, WIDTH
from harness.verdict import Result, Verdict
from harness.watch.found import found

NEAREST = 3  # names that are offered for one that is unknown


def add_to(commands: Any) -> None:
    sub = command(commands, "why", run, "Show what the results of a judged run rest on.")
    sub.add_argument("run", type=Path, help="a folder under runs/")
    about = "which: its number in the report, or its check and subject, or a part of these (default: all that failed)"
    sub.add_argument("result", nargs="*", help=about)


def run(args: argparse.Namespace) -> int:
    from harness.history import History
    from harness.report.references import References
    from harness.run.evidence import verified

    verified(args.run)
    stored, version = _stored(args.run)
    failing, passed = stored.failing, stored.of(Verdict.PASS)
    chosen = _chosen(" ".join(args.result), failing, passed)
    references = References(args.run, History.read(args.run), lambda kind, key: found(args.run, kind, key))
    lines: list[str] = []
    for number, result in chosen:
        title = f"{f'{number}  ' if number else ''}{MARK[result.verdict]}  {result.check}  {result.subject}"
        lines += [*_wrapped(title, 6), *_wrapped(result.reason, 6, "      ")]
        lines += _wrapped(result.remedy, 8, "      → ") if result.remedy else []
        lines += _wrapped(result.place, 6, "      at ") if result.place else []
        for reference in result.evidence:
            first, *more = references.lines(reference)
            lines += _wrapped(first, 10, "    - ")
            for line in more:
                lines += _wrapped(line, 12, "        ")
        if not result.evidence and version < 3:
            lines.append(f"    (what it rests on is not stored yet: `harness check {near(args.run)}` makes it)")
        elif not result.evidence:
            lines.append("    (no single record is behind it)")
        lines.append("")
    with standard_output() as out:
        out.write("\n".join(lines or ["every result passed", ""]))
    return 0


def _stored(run: Path) -> tuple[Summary, int]:
    """The results of a run as they were judged last, and the version of their file. Raises UsageError where it was not
    judged yet, EvidenceError where the file is damaged."""
    if not (path := run / "results.json").exists():
        raise UsageError(f"{near(run)} is not judged yet; `harness check {near(run)}` does it")
    results, version = as_json.read(path)
    return Summary("", 0.0, 0.0, results), version


def _chosen(text: str, failing: Sequence[Result], passed: Sequence[Result]) -> list[tuple[int, Result]]:
    """The results that a text means, each with its number (0: it passed). Raises UsageError."""
    numbered = [*enumerate(failing, 1), *((0, result) for result in passed)]
    if not text:
        return numbered[: len(failing)]
    if text.isascii() and text.isdigit():
        if 1 <= int(text[:9]) <= len(failing):
            return [numbered[int(text) - 1]]
        most = f"the failing results are 1 to {len(failing)}" if failing else "every result passed"
        raise UsageError(f"there is no result {text[:20]}: {most}")
    names = [(f"{result.check} {result.subject}", number, result) for number, result in numbered]
    exact = [(number, result) for name, number, result in names if text in (name, result.subject)]
    part = [(number, result) for name, number, result in names if text.casefold() in name.casefold()]
    if not (found := exact or [one for one in part if one[0]] or part):
        known = {name: None for _, _, r in names for name in (r.check, r.subject, f"{r.check} {r.subject}")}
        near = difflib.get_close_matches(text, known, NEAREST, 0.5) or [*dict.fromkeys(r.check for _, _, r in names)]
        raise UsageError(f"no result is called {printable(text)[:80]}; there is {', '.join(map(printable, near))}")
    return found


def _wrapped(text: str, hang: int, before: str = "") -> list[str]:
    return textwrap.wrap(
        printable(text), WIDTH, initial_indent=before, subsequent_indent=" " * hang, break_on_hyphens=False
    )
