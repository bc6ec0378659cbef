"""`harness history`: the runs that later ones are compared with, and where the baseline begins."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.options import Command, with_gate
from harness.cli.output import near, remark, standard_output
from harness.errors import EvidenceError, HistoryError
from harness.verdict import Verdict

if TYPE_CHECKING:
    from harness.run.runs import Entry

SHOWN = {"p50": "latency p50", "p99": "latency p99", "errors": "errors", "processor": "processor", "memory": "memory"}
ROW = "{:1} {:<22} {:<12} {:>8} {:>8} {:>8} {:>9} {:>8}  {}\n"


def add_to(commands: Any) -> None:
    about = "List the runs that later ones are compared with."
    history = commands.add_parser("history", help=about, description=about)
    history.set_defaults(command=run)
    with_gate(history)
    kinds = history.add_subparsers(metavar="WHAT")

    def of_run(name: str, does: Command, about: str) -> None:
        sub = kinds.add_parser(name, help=about, description=about)
        sub.set_defaults(command=does)
        sub.add_argument("run", metavar="RUN", help="its id, as `harness history` lists it, or its folder")
        with_gate(sub)

    of_run("accept", _accept, "A run shows an intended change: from it on the baseline begins anew.")
    of_run("add", _add, "Add a stored run that is not in the history.")


def run(args: argparse.Namespace) -> int:
    from harness.run import runs

    path = runs.file_of(args.gate)
    entries = runs.listed(path)
    with standard_output() as out:
        if not entries:
            out.write(f"no run is recorded in {near(path)}; `harness gate` adds each of its runs\n")
        for plan, machine in dict.fromkeys((entry.plan, entry.machine) for entry in entries):
            mine = [entry for entry in entries if (entry.plan, entry.machine) == (plan, machine)]
            kept = {past.id for past in runs.baseline(path, plan, machine, last=_last())}
            out.write(f"{mine[-1].service} · plan {plan} · {machine}\n")
            out.write(ROW.format("", "run", "verdict", *SHOWN, ""))
            for entry in mine:
                out.write(ROW.format(*_columns(entry, kept)))
            for line in _changes([entry for entry in mine if entry.verdict == Verdict.PASS.name]):
                out.write(f"  change  {line}\n")
            out.write("\n")
        if entries:
            out.write("* the next run of this plan on such a machine is compared with these\n")
    return 0


def remember(path: Path, folder: Path, verdict: Verdict) -> None:
    """Add a run that was judged to the history. What stands against it is no verdict: it is a remark."""
    from harness.run import runs

    try:
        runs.add(path, runs.entry_of(folder, verdict))
    except (EvidenceError, HistoryError) as error:
        remark(f"{error}\n  the run is not in the history; to add it later: harness history add {near(folder)}")


def _accept(args: argparse.Namespace) -> int:
    from harness.run import runs

    entry = runs.accept(runs.file_of(args.gate), Path(args.run).name)
    own = "with it" if entry.verdict == Verdict.PASS.name else f"after it, for it ended {entry.verdict}"
    with standard_output() as out:
        out.write(f"the baseline of plan {entry.plan} begins {own}: {entry.run.id}\n")
    return 0


def _add(args: argparse.Namespace) -> int:
    from harness.cli.report import summarized
    from harness.run import runs

    folder = Path(args.run)
    verdict = summarized(folder).verdict
    added = runs.add(runs.file_of(args.gate), runs.entry_of(folder, verdict))
    with standard_output() as out:
        out.write(f"{folder.resolve().name} {'is added' if added else 'was there already'}: {verdict.name}\n")
    return 0


def _last() -> int:
    from harness.checks.earlier import LAST

    return LAST


def _columns(entry: Entry, kept: set[str]) -> Iterator[str]:
    from harness.checks.figures import kind_of
    from harness.checks.view import STEADY

    yield "*" if entry.run.id in kept else ""
    yield entry.run.id
    yield entry.verdict
    figures = entry.run.figures.get(STEADY, {})
    yield from (kind_of(STEADY, name).text(figures[name]) if name in figures else "-" for name in SHOWN.values())
    about = [entry.revision, "accepted: the baseline begins here" if entry.accepted else ""]
    yield " ".join(filter(None, about)) or f"{datetime.fromtimestamp(entry.run.started, UTC):%Y-%m-%d %H:%M}"


def _changes(entries: Sequence[Entry]) -> Iterator[str]:
    """Where a figure's level changed, each a line."""
    import numpy as np

    from harness.checks.baseline_figures import words
    from harness.checks.changes import changes
    from harness.checks.figures import is_compared, kind_of

    pairs = dict.fromkeys((phase, name) for entry in entries for phase, of in entry.run.figures.items() for name in of)
    for phase, name in (pair for pair in pairs if is_compared(pair[1])):
        having = [entry for entry in entries if name in entry.run.figures.get(phase, {})]
        values = [entry.run.figures[phase][name] for entry in having]
        kind, starts = kind_of(phase, name), changes(values)
        for at, before, after in zip(starts, [0, *starts], [*starts[1:], len(values)], strict=False):
            old, new = (float(np.median(values[i:j])) for i, j in ((before, at), (at, after)))
            if abs(new - old) >= max(kind.worse_by * abs(old), kind.floor):
                yield f"{phase}: {words(name, kind)} {kind.text(old)}, from {having[at].run.id} on {kind.text(new)}"
