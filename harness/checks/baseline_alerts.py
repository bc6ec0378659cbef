"""BaselineAlerts: what fired, and whom it reached, against the earlier runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from harness.checks.check import Check
from harness.checks.earlier import AT_LEAST, FAIL, LAST, Compared, compared
from harness.checks.evidence import phase
from harness.checks.figures import alerts_of
from harness.checks.noise import band
from harness.checks.view import View
from harness.history import History, PastRun
from harness.units import count, listed
from harness.verdict import EVIDENCE_AT_MOST, Reference, Result, Verdict

BY_CHANCE = 0.001  # that an alert which fires surely does not: what it is held, or when it fires, varies so far
ENDED = {"quiet": "did not fire", "pending": "was only pending"}
REMEDY = "compare the rule, its route and inhibitions with those of the last passing run; if it is meant to be so: "
State = Mapping[str, Any]


class _Finding(NamedTuple):
    alert: str
    how: str
    status: str
    receivers: tuple[str, ...] = ()


@dataclass(frozen=True)
class BaselineAlerts(Check):
    """An alert that fired in a phase of every earlier run still does, and reaches the same receivers, whether or not a
    contract asks for it.

    One that fires in some of them only, or so shortly or late that by their noise it might not, is not judged. One that
    fires for the first time is a remark: whether it may is judged by `quiet`.
    """

    phase: str
    experiment: str = ""
    mode: str = FAIL
    last: int = LAST
    at_least: int = AT_LEAST
    places: tuple[tuple[str, str], ...] = ()  # (`str` of an alert, file:line of its rule)
    kind: ClassVar[str] = "baseline_alerts"
    Parameters: ClassVar[type[Compared]] = Compared

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> list[BaselineAlerts]:
        """One for each phase."""
        given = cls.Parameters.read(parameters, view)
        del given["worse_by"]  # which is about figures
        steady, *experiments = view.phases
        places = tuple((str(rule.alert), rule.place) for rule in view.rules)
        return [cls(steady, places=places, **given), *(cls(e, e, places=places, **given) for e in experiments)]

    @property
    def about(self) -> tuple[str, ...]:
        return (self.phase,)

    @property
    def subject(self) -> str:
        return f"{self.phase}: alerts against the baseline"

    def judge(self, history: History) -> Result:
        """FAIL with each alert that no longer fires, only pends, or reaches others; INCONCLUSIVE without a replay."""
        phase(history, self.phase)
        return compared(self, history, lambda runs: self._judge(history, runs))

    def _judge(self, history: History, runs: Sequence[PastRun]) -> Result:
        now, past = alerts_of(history, self.phase), [run.alerts.get(self.phase, {}) for run in runs]
        always = [key for key in dict.fromkeys(key for one in past for key in one) if all(key in one for one in past)]
        states = {key: [one[key] for one in past] for key in always}
        found = [finding for key, each in states.items() for finding in self._findings(key, now, each)]
        fired = [key for key, each in states.items() if _all(each, "replay") or _all(each, "live")]
        of = f"{count(len(fired), 'alert')} that fired in each of {len(runs)} earlier runs"
        remarks = tuple(self._new(now, past, len(runs)))
        if found:
            keys = dict.fromkeys(finding.alert for finding in found)
            reason = "; ".join(f"{finding.alert} {finding.how}" for finding in found)
            reason = f"not as before: {len(keys)} of {of} (bound 0): {reason}"
            place = dict(self.places).get(found[0].alert, "")
            result = self.result(
                Verdict.FAIL, reason, f"{REMEDY}`harness history accept RUN`", status=found[0].status,
                measured=len(keys), bound=0, unit="alerts", remarks=remarks,
                evidence=tuple(dict.fromkeys(self._evidence(history, found)))[:EVIDENCE_AT_MOST],
            )  # fmt: skip
            return Result(**{**vars(result), "place": place})
        unknown = [key for key in fired if now[key]["replay"] == "unknown" and _all(states[key], "replay")]
        if unknown:
            why = (
                f"of {listed(unknown)} there is no replay in {self.phase}, and each of {len(runs)} earlier runs has one"
            )
            return self.result(Verdict.INCONCLUSIVE, why, "see the run's log for why")
        figures = {"measured": 0, "bound": 0, "unit": "alerts", "remarks": remarks}
        return self.result(Verdict.PASS, f"none of {of} differs", **figures)

    def _findings(self, key: str, now: Mapping[str, State], past: Sequence[State]) -> Iterator[_Finding]:
        if key not in now and (_all(past, "replay") or _all(past, "live")):
            yield _Finding(key, "has no rule any more", "SILENT")
            return
        state = now.get(key, {"replay": "unknown", "live": "unknown", "receivers": ()})
        if _surely(past, "replay", "held_s") and _by_then(past, now) and state["replay"] in ENDED:
            yield _Finding(key, f"{ENDED[state['replay']]} in the replay", "SILENT")
        if not _surely(past, "live", "live_held_s"):
            return
        if state["live"] in ENDED:
            yield _Finding(key, f"{ENDED[state['live']]} live", "SILENT")
            return
        reached = [set(one["receivers"]) for one in past]
        each, any_, mine = set.intersection(*reached), set.union(*reached), set(state["receivers"])
        lost, new = sorted(each - mine), sorted(mine - any_) if each else []
        if new:
            instead = f" instead of {listed(lost)}" if lost else f" beside {listed(sorted(each & mine))}"
            yield _Finding(key, f"was sent to {listed(new)}{instead}", "MISROUTED", (*new, *lost))
        elif lost and state.get("live_held_s", 0.0) >= 0.5 * min(one["live_held_s"] for one in past):
            yield _Finding(key, f"fired live, but {listed(lost)} was not notified", "SILENT", tuple(lost))

    def _new(self, now: Mapping[str, State], past: Sequence[Mapping[str, State]], runs: int) -> Iterator[str]:
        """Alerts that never fired before."""
        before = {key for one in past for key, state in one.items() if "fired" in (state["replay"], state["live"])}
        fired = {key for key, state in now.items() if "fired" in (state["replay"], state["live"])}
        if new := sorted(fired - before):
            yield f"{self.phase}: {listed(new)} fired, and in none of {runs} earlier runs"

    def _evidence(self, history: History, found: Sequence[_Finding]) -> Iterator[Reference]:
        window = phase(history, self.phase)
        for finding in found:
            name = finding.alert.partition("{")[0]
            yield Reference("sample", f'ALERTS{{alertname="{name}"}}', window.start, window.end)
            for n in history.notifications:
                if n.receiver in finding.receivers and name in n.alerts and window.start <= n.at <= window.end:
                    yield Reference("notification", n.receiver, n.at)


def _all(past: Sequence[State], proof: str) -> bool:
    return all(one[proof] == "fired" for one in past)


def _surely(past: Sequence[State], proof: str, held: str) -> bool:
    """Whether it fired every time, and for so long that by the noise of that it could not have been for no time."""
    if not _all(past, proof):
        return False
    lies = band([-one[held] for one in past], 0.0)
    return lies is not None and lies.bound(BY_CHANCE) < 0


def _by_then(past: Sequence[State], now: Mapping[str, State]) -> bool:
    """Whether it should have fired, by the noise of when it did, before this record ends."""
    recorded = [state["fires_s"] + state["left_s"] for state in now.values() if "left_s" in state]
    lies = band([one["fires_s"] for one in past], 0.0)
    return not recorded or (lies is not None and lies.bound(BY_CHANCE) < max(recorded))
