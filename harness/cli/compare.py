"""`harness compare`: two runs beside each other."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.cli.options import RUNS, command, with_gate
from harness.cli.output import near, remark, standard_output
from harness.errors import EvidenceError, UsageError
from harness.verdict import Verdict

if TYPE_CHECKING:
    from harness.checks.two import Difference
    from harness.history import History, PastRun

NO_NOISE = "their noise from run to run is not known"
ROW = "  {:<6} {:<48} {:>12} {:>12} {:>8}  {}\n"


class One(NamedTuple):
    """A run to be compared."""

    run: PastRun
    plan: str
    machine: str
    history: History | None  # where its folder is at hand


def add_to(commands: Any) -> None:
    sub = command(commands, "compare", run, "Compare a run with an earlier one: what got worse.")
    sub.add_argument("first", metavar="RUN", help="the earlier run: its folder, or its id in `harness history`")
    sub.add_argument("second", metavar="RUN", help="the run that is compared with it")
    with_gate(sub)


def run(args: argparse.Namespace) -> int:
    from harness.checks.two import differences, slower_by_chance
    from harness.run import runs

    path = runs.file_of(args.gate) if args.gate.exists() else None
    first, second = (_one(text, path) for text in (args.first, args.second))
    against = []
    if first.plan != second.plan:
        plans = (one.plan or "an unknown one" for one in (first, second))
        against.append(f"they are of different plans, {' and '.join(plans)}")
    if first.machine != second.machine:
        machines = (f"({one.machine})" if one.machine else "an unknown one" for one in (first, second))
        against.append(f"they ran on different kinds of machines, {' and '.join(machines)}")
    earlier = runs.baseline(path, second.plan, second.machine, 20) if path is not None and not against else []
    earlier = [past for past in earlier if past.id != second.run.id]
    both = [one.history for one in (first, second) if one.history is not None]
    found = differences(first.run, second.run, both if len(both) == 2 else [], earlier)
    verdict = _verdict(found, bool(against))
    with standard_output() as out:
        out.write(f"{verdict.name}  {second.run.id} against {first.run.id}\n\n")
        out.write(ROW.format("", "", "first", "second", "change", "99 % interval at the same pace"))
        judged = [one for one in found if one.verdict is not Verdict.INCONCLUSIVE]
        for one in sorted(judged, key=lambda one: (-one.verdict, not one.better)):
            word = "worse" if one.verdict is Verdict.FAIL else "better" if one.better else ""
            out.write(ROW.format(word, f"{one.phase}: {one.name}"[:48], one.first, one.second, *_spread(one)))
        if len(judged) < len(found):
            out.write(f"\n  {len(found) - len(judged)} other figures are not judged: {NO_NOISE}\n")
        if len(both) == 2 and (chance := slower_by_chance(*both)) is not None:
            out.write(f"\n  a request of the second run is slower than one of the first in {chance:.1%} of pairs\n")
        out.write(f"exit {verdict.exit_code}\n")
    for why in against:
        remark(f"{why}, so nothing is judged")
    if not against and len(earlier) < 5:
        remark(f"only {len(earlier)} earlier passing runs are recorded, of 5: {NO_NOISE}")
    return verdict.exit_code


def _verdict(found: list[Difference], against: bool) -> Verdict:
    judged = [one.verdict for one in found if one.verdict is not Verdict.INCONCLUSIVE]
    return max(judged) if judged and not against else Verdict.INCONCLUSIVE


def _spread(one: Difference) -> tuple[str, str]:
    change = "" if math.isnan(one.change) else f"{one.change:+.1%}"
    return change, "" if math.isnan(one.low) else f"{one.low:+.1%} .. {one.high:+.1%}"


def _one(text: str, path: Path | None) -> One:
    """A run by its folder, else by its id. Raises UsageError where there is neither, EvidenceError where it is
    damaged."""
    from harness.checks.two import of_history
    from harness.history import History
    from harness.run import runs, seal

    folder = next((at for at in (Path(text), RUNS / text) if (at / "events.jsonl").exists()), None)
    if folder is not None:
        if (folder / seal.SEAL).exists() and (changes := seal.broken(folder)):
            raise EvidenceError(f"{near(folder)}: {changes}")
        history, about = History.read(folder), ("", "")
        if (folder / "environment.json").exists():
            about = runs.comparable(folder)
        return One(of_history(history, folder.resolve().name), *about, history)
    entry = next((e for e in runs.listed(path) if e.run.id == text), None) if path is not None else None
    if entry is None:
        raise UsageError(f"no run {text}: neither a folder nor in the history; `harness history` lists them")
    return One(entry.run, entry.plan, entry.machine, None)
