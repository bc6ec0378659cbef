"""What is judged alike of log lines, audit records and database rows: one for each answer, and it says the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from harness.checks import joined
from harness.checks.check import Check, NoEvidence
from harness.checks.effect import all_broken
from harness.checks.joined import Truth
from harness.checks.view import View
from harness.history import History
from harness.signals import SPAN, Signal
from harness.telemetry import Telemetry
from harness.units import count, listed, percent
from harness.verdict import Result, Verdict

AS_A_RULE = 0.9  # of the answers
MAPPABLE = ("time", "trace_id", "status", "label", "probability", "confidence")


@dataclass(frozen=True)
class OneEach(Check):
    """Every request that was answered with status 2xx left one line, which says what the answer said; and nothing else
    did. What a killed process may take with it is counted and allowed for."""

    within_s: float  # before a kill; what was answered since may be lost
    at_most: float  # share of all other answers that may be missing
    maps: tuple[str, ...]  # what service.yaml says where to find in a line
    classes: tuple[str, ...] = ()
    only: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (name, values): which lines are of requests
    refused: bool = True  # a request that is refused may leave one, too
    fresh: bool = True  # nothing can be there of before the run
    also: tuple[str, ...] = ()  # other statuses than 2xx whose answers leave one
    lossy: tuple[str, ...] = ()  # the experiments whose faults may lose some
    untimed: tuple[str, ...] = ()  # those whose fault makes the times of what they leave wrong
    signal: ClassVar[str]  # in History.signals
    what: ClassVar[str]
    section: ClassVar[str]  # of `telemetry` in service.yaml
    timing_independent: ClassVar[bool] = True  # what is missing or wrong is so, however slow everything was
    compares_clocks: ClassVar[bool] = True

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        cls.Parameters.read(parameters, view)
        lossy = tuple(name for name, contract in view.contracts if cls.section in contract.may_lose)
        untimed = tuple(name for name, contract in view.contracts if "times" in contract.may_be_wrong)
        return tuple(cls(**fields, lossy=lossy, untimed=untimed) for fields in cls._fields(view.telemetry))

    @classmethod
    def _fields(cls, telemetry: Telemetry) -> Iterator[dict[str, Any]]:
        if (form := getattr(telemetry, cls.section)) is None:
            return
        losses = form.may_lose or telemetry.may_lose
        only = getattr(form, "only", {})
        yield {
            "within_s": losses.within,
            "at_most": losses.at_most,
            "maps": tuple(name for name in MAPPABLE if getattr(form, name, None) is not None),
            "classes": telemetry.classes,
            "only": tuple((name, tuple(map(str, v if isinstance(v, list) else [v]))) for name, v in only.items()),
            "refused": getattr(form, "refused", False),
            "also": form.also,
            "fresh": "{state}" in getattr(form, "url", "{state}"),  # files are followed from when the run begins
        }

    @property
    def subject(self) -> str:
        return self.what

    def judge(self, history: History) -> Result:
        """FAIL with what is missing, twice, of nobody's request, or says something else than the answer."""
        signal = joined.evidence(history.signals.get(self.signal), history, self.signal, self.what)
        sent = joined.truth(history, self.within_s, bool(self.classes), self.also)
        lossy = all_broken(history, self.lossy)
        sent, excused = joined.excusing(sent, lossy.values(), self.within_s)
        if said := joined.nothing_due(sent):
            return self.result(Verdict.PASS, said)
        self._readable(signal)
        of = joined.rows_of(sent, signal.rows["request_id"])
        kept = (of >= 0) | joined.within_run(history, sent, signal.rows["at"])  # of others' only what is of this run
        lines, of = signal.rows[kept], of[kept]
        known = of >= 0
        lines_of = np.bincount(of[known], minlength=len(sent.rows))
        self._told_apart(sent, lines[known], of[known])
        missing = sent.due & (lines_of == 0)
        gone, unexplained = missing & sent.lost, missing & ~sent.lost
        due = int(np.count_nonzero(sent.due & ~sent.lost))
        there = due - int(np.count_nonzero(unexplained))
        wrong: list[tuple[str, np.ndarray]] = []  # what is wrong, and the rows that it is about
        if np.count_nonzero(unexplained) > self.at_most * due:
            many, places = int(np.count_nonzero(unexplained)), joined.by_phase(sent, unexplained)
            share = percent(self.at_most) if self.at_most else "0"
            share += joined.by_status(sent, unexplained)
            wrong.append((f"{many:,} of {count(due, 'answer')} left none (bound {share}): {places}", unexplained))
        wrong += self._twice(sent, lines[known], of[known])
        problems = [f"{what}, as {joined.example(sent, rows)}" for what, rows in wrong]
        nobody, unaccounted = list(self._of_nobody(lines[~known], history)), joined.unaccounted(history)
        problems += [] if unaccounted else nobody
        untimed = joined.meanwhile(sent, all_broken(history, self.untimed).values(), self.within_s)
        timed = ~untimed[of[known]]
        differing = joined.differing(sent.rows[of[known]], lines[known], self.maps, self.refused, timed)
        if "trace_id" in self.maps:
            differing |= self._other_trace(history, lines[known], of[known])
        for says, which in differing.items():
            rows = of[known][which]
            wrong.append((says, rows))
            first = int(np.argmin(sent.rows["intended"][rows]))
            said = self._said(lines[known][which][first], sent.rows[rows[first]], says)
            problems.append(
                f"{len(rows):,} say {says}: {joined.by_phase(sent, rows)}, as {joined.example(sent, rows)}{said}"
            )
        if not len(signal.rows):
            problems += self._others(signal)
        remarks = self._remarks(signal, history)
        remarks += [f"{one}, but {unaccounted}" for one in nobody if unaccounted]
        share = there / due if due else 0.0
        figures = {"measured": share, "bound": 1 - self.at_most, "unit": "share"}
        held = f"{there:,} of {count(due, 'answer')} left one ({percent(share)}, bound {percent(1 - self.at_most)})"
        if excused:
            whose = listed(list(lossy))
            remarks.insert(0, f"{count(excused, 'answer')} during the fault of {whose} need not have left one")
        if gone.any() or sent.lost.any():
            may = int(np.count_nonzero(sent.lost))
            remarks.insert(
                0, f"{np.count_nonzero(gone):,} of the {may:,} {joined.allowed(self.within_s)} are lost (allowed)"
            )
        if not due:
            raise NoEvidence("every answer came right before a kill", "let the load go on for longer")
        if not problems:
            said = f"{held}, once and with what was answered" if len(self.maps) else f"{held}, once"
            return self.result(Verdict.PASS, "; ".join([said, *remarks]), **figures)
        if why := self._interrupted(history):
            raise NoEvidence(f"{why}, so what is missing proves nothing: {'; '.join(problems)}", ROTATION_REMEDY)
        held = [] if unexplained.any() else [held]
        cited = joined.references(sent, self.signal, *(rows for _, rows in wrong))
        reason = "; ".join([*problems, *held, *remarks])
        return self.result(Verdict.FAIL, reason, self._remedy(), evidence=cited, **figures)

    def _remedy(self) -> str:
        return f"`harness why` shows the {self.what} of a request; allow for losses by may_lose in service.yaml"

    def _readable(self, signal: Signal) -> None:
        """Raises NoEvidence where nothing was found because service.yaml looks for it by a name that is not there."""
        about, counts = signal.about, signal.about.get("counts", {})
        lacking, names = about.get("lacking", {}), listed(list(about.get("names", ()))) or "none"
        picked = len(signal.rows) + lacking.get("request_id", 0)
        where = listed(list(about.get("files", ())))
        if not picked and self.signal != "record":
            if not counts.get("JSON"):
                found = ", ".join(f"{n:,} {what}" for what, n in counts.items()) or "nothing at all"
                raise NoEvidence(f"{where} holds no line of JSON; it holds {found}", self._mapping())
            for name, values in about.get("values", {}).items():
                if not values:
                    why = f"no line in {where} that could be of a request has {name}; they have {names}"
                    raise NoEvidence(why, self._mapping())
        for field, n in lacking.items():
            if n == picked:
                name = "request_id" if field == "request_id" else field
                why = (
                    f"not one of {count(picked, 'line')} in {where} has what {self._at(name)} names; they have {names}"
                )
                raise NoEvidence(why, self._mapping())

    def _others(self, signal: Signal) -> Iterator[str]:
        """What there is in place of lines of requests."""
        for name, wanted in self.only:
            if values := signal.about.get("values", {}).get(name):
                yield f"no line has {name} {listed(wanted)}, but {listed(list(values)[:5])}"

    def _at(self, name: str) -> str:
        return f"telemetry.{self.section}.{name}"

    def _mapping(self) -> str:
        return f"correct telemetry.{self.section} in service.yaml, or have the service write there what it names"

    def _told_apart(self, sent: Truth, lines: np.ndarray, of: np.ndarray) -> None:
        """Raises NoEvidence where requests leave several lines as a rule, and nothing says which is that of each."""
        many = np.bincount(of[lines["part"] == 0], minlength=len(sent.rows))[sent.answered]
        several = int(np.count_nonzero(many > 1))
        if self.signal != "record" and not self.only and several > AS_A_RULE * len(many):
            why = f"{several:,} of {count(len(many), 'answer')} left {int(np.median(many))} {self.what} each, as "
            why += f"{joined.example(sent, sent.answered)}, and nothing says which of them is to be one for each"
            raise NoEvidence(why, f"name it, {self._at('only')} in service.yaml: only: {{message: request done}}")

    def _twice(self, sent: Truth, lines: np.ndarray, of: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        key = of.astype("<u8") << np.uint64(16) | lines["part"]
        keys, many = np.unique(key, return_counts=True)
        rows = np.unique((keys[many > 1] >> np.uint64(16)).astype(np.int64))
        if len(rows):
            more = int((many[many > 1] - 1).sum())
            yield f"{more:,} too many, for {count(len(rows), 'request')}: {joined.by_phase(sent, rows)}", rows

    def _of_nobody(self, lines: np.ndarray, history: History) -> Iterator[str]:
        lines = lines if self.fresh else lines[~np.isnan(lines["at"])]
        if len(lines):
            one = lines["request_id"][0].decode(errors="replace")
            yield f"{len(lines):,} are of requests that nobody sent, as {one}"

    def _other_trace(self, history: History, lines: np.ndarray, of: np.ndarray) -> dict[str, np.ndarray]:
        """Which lines name another trace than the span of the same request is in."""
        spans = history.signals["span"].rows if "span" in history.signals else np.empty(0, SPAN)
        spans = spans[spans["request_id"] != b""]
        if not len(spans):
            return {}
        find = joined.lookup(joined.keys_of(spans["request_id"]), np.arange(len(spans)))
        at = find(joined.keys_of(lines["request_id"]))
        other = (at >= 0) & (spans["trace"][at] != lines["trace"]).any(axis=1)
        return {"another trace than its span's": other} if other.any() else {}

    def _said(self, line: np.void, row: np.void, says: str) -> str:
        """What a line said, and what was answered."""
        if says == "another class":
            return f" ({self._named(line['label'])} for {self._named(row['predicted'])})"
        if says in ("another probability", "another confidence"):
            field = says.rpartition(" ")[2]
            meant = row["probability"] if field == "probability" else max(row["probability"], 1 - row["probability"])
            return f" ({line[field]:.4g} for {meant:.4g})"
        if says == "another status":
            return f" ({line['status']} for {row['status']})"
        if says.startswith("a time"):
            return f" ({line['at'] - row['done']:+.3g} s from its answer)"
        return f" (status {row['status']})" if "refused" in says else ""

    def _named(self, label: int) -> str:
        if 0 <= label < len(self.classes):
            return self.classes[label]
        return "none" if label == -1 else "no class" if label < 0 else str(label)

    def _remarks(self, signal: Signal, history: History) -> list[str]:
        counts, remarks = signal.about.get("counts", {}), []
        if others := counts.get("no JSON", 0) + counts.get("too long", 0):
            long = f", {counts['too long']:,} of them too long" if counts.get("too long") else ""
            remarks.append(f"{count(others, 'line')} beside {counts.get('JSON', 0):,} of JSON could not be read{long}")
        if lacking := signal.about.get("lacking", {}).get("request_id"):
            remarks.append(f"{count(lacking, 'line')} lack a request id")
        if rotated := [e for e in self._watched(history) if e.name == "rotated" or e.outcome == "ok"]:
            remarks.append(f"rotated {count(len(rotated), 'time')} meanwhile, and followed")
        return remarks

    def _watched(self, history: History) -> list[Any]:
        return [e for e in history.of("watch") if e.detail.get("signal") == self.signal]

    def _interrupted(self, history: History) -> str:
        """That the file was truncated, or could not be read, while the run went on."""
        for e in self._watched(history):
            if e.outcome != "ok":
                return f"{e.detail.get('file')} was {e.name} meanwhile{_because(e.detail.get('problem'))}"
        return ""


ROTATION_REMEDY = "rotate it by renaming, not by truncating, or not while the gate runs"


def _because(problem: Any) -> str:
    return f" ({problem})" if problem else ""
