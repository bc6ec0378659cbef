"""Whether a gate, or the judging of an edited record, saw a defect, and for the right reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from defect import Defect, says
from scipy.special import betaincinv

VERDICTS = (0, 1, 3)  # exit codes of a gate that was judged
SAID_AT_MOST = 5


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, what it printed, and its results as in results.json."""

    exit_code: int
    said: str
    results: Sequence[Mapping[str, Any]] = ()

    @property
    def red(self) -> list[Mapping[str, Any]]:
        return [result for result in self.results if result["verdict"] != "PASS"]


class Finding(NamedTuple):
    """What became of one defect."""

    seen: bool  # something was red
    right: bool  # each result that must name it does, and none that must not be there is
    missing: list[str]  # what should have been said
    instead: list[str]  # what was


def finding(defect: Defect, outcome: Outcome, others: Sequence[Defect] = ()) -> Finding:
    """Judge an outcome. others: the defects that the same gate had; what else is red may then be theirs, so that only a
    red result that is about this one counts as seeing it."""
    mine = [r for r in outcome.red if not others or any(seen.about(r) for seen in defect.seen_by)]
    missing = [f"no {seen}" for seen in defect.seen_by if not _found(seen, outcome)]
    missing += [f"{seen}, which must not be" for seen in defect.never if _found(seen, outcome)]
    judged = outcome.exit_code in VERDICTS
    instead = [_line(r) for r in sorted(mine, key=lambda r: r["verdict"] != "FAIL")]
    if not judged:
        instead = [f"exit code {outcome.exit_code}: {' '.join(outcome.said.split())[-400:]}"]
    return Finding(bool(mine) or not judged, bool(defect.seen_by) and not missing, missing, instead[:SAID_AT_MOST])


def unexplained(defects: Sequence[Defect], outcome: Outcome) -> list[str]:
    """What failed although no defect of the gate says that it will: a consequence of one, or a mistake."""
    wanted = [seen for defect in defects for seen in defect.seen_by]
    failed = [r for r in outcome.red if r["verdict"] == "FAIL"]
    return [_line(r) for r in failed if not any(seen.about(r) for seen in wanted)]


def _found(seen, outcome: Outcome) -> bool:
    if seen.exit is not None:
        return seen.exit == outcome.exit_code and says(outcome.said, seen.words)
    return any(seen.found_in(result) for result in outcome.results)


def _line(result: Mapping[str, Any]) -> str:
    return f"{result['verdict']} {result['check']}, {result['subject']}: {result['reason']}"[:300]


def interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share of which k of n were seen."""
    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


def share(k: int, n: int) -> str:
    """k of n as text, with its interval."""
    if not n:
        return "none of 0"
    low, high = interval(k, n)
    return f"{k} of {n}, {100 * k / n:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)"
