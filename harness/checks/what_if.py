"""What if the probes were set otherwise: other periods, timeouts and thresholds, tried on the answers of a stored run.

Each setting is walked over the recorded answers as the kubelet would have asked (streak.py). A longer period takes some
of them and leaves the others out, so its every sequence is one that was recorded; which it begins with is not known in
production, so that each is tried, and the results are the median and the worst of all. The worst of a detection is
longer by one recorded period: the fault may begin right after a probe, and between two answers nothing is recorded.

What the record cannot say is `unknown`, never guessed: what an answer would have been that the prober gave up to wait
for, with a longer timeout; and what came after a probe's restart, which a slower setting would have had later.
"""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, NamedTuple

from harness.checks.check import Check
from harness.checks.effect import effect
from harness.checks.injected import Injected
from harness.checks.probe_decisions import ProbeDecisions
from harness.checks.view import STEADY
from harness.history import History, ProbeAnswer, Window
from harness.streak import CONTAINER_ENDED, INITIAL, Streak
from harness.units import listed

Which = Literal["liveness", "readiness"]
TIMES_PERIOD = (1, 2, 3, 5, 10)  # of the recorded one
TIMEOUTS_S = (1, 2, 3, 5, 10)
FAILURES = (1, 2, 3, 5, 10)
SUCCESSES = (1, 2, 3)  # of readiness
EARLY = 0.25  # of the recorded period by which an answer may be before its tick: what makes its moments uneven
GIVEN_UP_S = 0.05  # an answer that took so little less than its timeout may have been given up
SLOWER = 2.0  # how much slower answers may become before a setting with room for it is no longer calm
NOT_SLOWER = 1.0


class Setting(NamedTuple):
    """How a probe is set; seconds, as in a pod specification."""

    period_s: int
    timeout_s: int
    failures: int
    successes: int = 1

    @property
    def at_most_s(self) -> float:
        """When a fault is decided at the latest from which on no answer is good."""
        return self.period_s * self.failures + self.timeout_s


class Case(NamedTuple):
    """What a probe had to do with one component in one phase."""

    phase: str
    component: str
    window: Window
    began: float | None  # when the fault did that had to be detected; None: the probe had to stay calm
    gone: float | None = None

    @property
    def name(self) -> str:
        return self.phase if self.component == "server" else f"{self.phase} ({self.component})"


class Detection(NamedTuple):
    """How long a setting took to decide, from the fault's begin."""

    median_s: float | None  # None: in some sampling phase it did not decide as far as the record goes
    worst_s: float | None
    recorded_s: float  # so far the record goes
    cut: bool = False  # it did not, and was counting failures when the process was restarted
    unknown: bool = False  # it rests on answers that were given up
    back_s: float | None = None  # readiness: from the fault's end until in traffic again, at the worst


class Outcome(NamedTuple):
    """What one setting makes of the record."""

    setting: Setting
    detected: Mapping[str, Detection]  # by the name of its case
    needless: tuple[str, ...]  # calm cases that it would have disturbed, in some sampling phase
    unknown: tuple[str, ...]  # calm cases of which the record does not say

    @property
    def calm(self) -> bool:
        return not self.needless and not self.unknown

    @property
    def proven(self) -> bool:
        """Whether the record shows that it stays calm and detects."""
        return self.calm and all(one.worst_s is not None and not one.unknown for one in self.detected.values())

    @property
    def open(self) -> bool:
        """Whether it may be better or worse than recorded, and nothing speaks against it."""
        return self.calm and all(one.worst_s is not None or one.cut or one.unknown for one in self.detected.values())

    @property
    def worst_s(self) -> float:
        """The slowest detection; by arithmetic where the record does not say."""
        known = [self.setting.at_most_s if one.worst_s is None else one.worst_s for one in self.detected.values()]
        return max(known, default=self.setting.at_most_s)


class Proposal(NamedTuple):
    """The setting to take."""

    setting: Setting
    why: tuple[str, ...]  # sentences without their ends
    proven: bool


@dataclass(frozen=True)
class Probed:
    """One probe, with all that its recorded answers say of other settings."""

    which: Which
    now: Setting
    cases: tuple[Case, ...]
    outcomes: tuple[Outcome, ...]
    left_out: tuple[str, ...]  # why phases are not among the cases
    given_up: int  # answers that came to no end in their time
    calm_answers: int  # where it had to stay calm
    slowest_calm_s: float
    longest_calm_row: int  # of failures
    proposal: Proposal

    def of(self, setting: Setting) -> Outcome:
        return next(one for one in self.outcomes if one.setting == setting)


class StartUp(NamedTuple):
    """The startup probe, by the starts of the run."""

    now: Setting
    delay_s: int
    starts: int  # that came to their end
    slowest_s: float
    setting: Setting
    why: str


class Ask(NamedTuple):
    """One recorded attempt."""

    at: float  # its begin
    took: float
    ok: bool
    given_up: bool


@dataclass
class Span:
    """The attempts of one process of a component, and how that ended."""

    period_s: float  # the recorded one
    asks: list[Ask] = field(default_factory=list)
    end: float = float("inf")
    by_probe: bool = False  # it was restarted for a probe's decision

    def of(self, setting: Setting, slower: float, given_up_ok: bool, first: int, initial: bool | None) -> Walked:
        """What a probe so set would have decided, had it begun with this attempt."""
        streak, changes = Streak(setting.failures, setting.successes, initial), []
        early, due = EARLY * self.period_s, float("-inf")
        for ask in self.asks[first:]:
            if ask.at < due - early:
                continue
            took = min(ask.took * slower, setting.timeout_s)
            if ask.given_up and setting.timeout_s > ask.took + GIVEN_UP_S:
                ok = given_up_ok
            else:
                ok = ask.ok and ask.took * slower <= setting.timeout_s
            if streak.feed(ok):
                changes.append((ask.at + took, ok))
                if initial is True and not ok:
                    streak.reset()  # as for the process that would have taken its place
            due = ask.at + max(setting.period_s, took)
        return Walked(changes, streak.last is False and streak.decision is not False)


class Walked(NamedTuple):
    """The decisions of one walk: when, and which; and whether it was counting failures at the end."""

    changes: list[tuple[float, bool]]
    pending: bool


def tried(
    history: History, checks: Sequence[Check], which: Which, now: Setting, patient: Setting | None = None
) -> Probed:
    """All that the record says of one probe. patient: how readiness is set, before which liveness is not to decide."""
    cases, left_out = _cases(history, checks, which)
    spans = {component: _spans(history, which, component, now) for component in {case.component for case in cases}}
    grid = dict.fromkeys([now, *_grid(which, now)])
    outcomes = tuple(_outcome(setting, cases, spans, which, now) for setting in grid)
    calm = [_within(span, [c for c in cases if c.component == name]) for name, found in spans.items() for span in found]
    return Probed(
        which=which,
        now=now,
        cases=tuple(cases),
        outcomes=outcomes,
        left_out=tuple(left_out),
        given_up=sum(ask.given_up for found in spans.values() for span in found for ask in span.asks),
        calm_answers=sum(map(len, calm)),
        slowest_calm_s=max((ask.took for asks in calm for ask in asks), default=0.0),
        longest_calm_row=max(map(_longest_row, calm), default=0),
        proposal=_proposal(which, now, outcomes, cases, spans, patient),
    )


def started(history: History, now: Setting, delay_s: int) -> StartUp | None:
    """What the starts of the run say of the startup probe; None where it has none that came to its end."""
    took = []
    for component in {probe.component for probe in history.probes}:
        begun = _starts(history, component)
        for answer in history.probes:
            if (answer.component, answer.decision) == (component, "started") and answer.at > begun[0]:
                took.append(answer.at - begun[bisect.bisect(begun, answer.at) - 1])
    if not took:
        return None
    slowest, budget = max(took), delay_s + now.period_s * now.failures
    setting, why = now, "more than three times the slowest start is left"
    if budget < 3 * slowest:
        setting = now._replace(failures=-int(-(3 * slowest - delay_s) // now.period_s))
        why = "less than three times the slowest start was left, and another host may be slower"
    return StartUp(now, delay_s, len(took), slowest, setting, why)


def _grid(which: Which, now: Setting) -> Iterator[Setting]:
    """The settings that are tried: a finer period than the recorded one cannot be."""
    periods = [now.period_s * times for times in TIMES_PERIOD]
    successes = SUCCESSES if which == "readiness" else (1,)
    for values in product(periods, TIMEOUTS_S, FAILURES, successes):
        yield Setting(*values)


def _cases(history: History, checks: Sequence[Check], which: Which) -> tuple[list[Case], list[str]]:
    """What the probe had to do in each phase, by the contracts; and why other phases say nothing of it."""
    cases, left_out = [], []
    decided = [check for check in checks if isinstance(check, ProbeDecisions)]
    if steady := history.phase(STEADY):
        components = dict.fromkeys(probe.component for probe in history.probes)
        cases += [Case(STEADY, component, steady, None) for component in components]
    for check in decided:
        must = check.restart == "liveness" if which == "liveness" else check.readiness == "unready"
        window, name = history.phase(check.experiment), check.experiment
        if window is None:
            left_out.append(f"{name}: did not take place")
        elif troubles := Injected(name).troubles(history):
            left_out.append(f"{name}: is no evidence: {troubles[0]}")
        elif which == "readiness" and check.readiness == "any":
            left_out.append(f"{name}: its contract allows readiness either")
        elif not must:
            cases.append(Case(name, check.component, window, None))
        elif (found := effect(history, name)) is None:
            left_out.append(f"{name}: no fault is recorded to have begun")
        elif which == "readiness" and _ended_first(history, check.component, window, found.start):
            left_out.append(f"{name}: the process ended by itself, which takes it out of traffic without a probe")
        else:
            cases.append(Case(name, check.component, window, found.start, found.gone))
    seen = {(probe.component, probe.probe) for probe in history.probes}
    left_out += [f"{case.name}: no answer is recorded" for case in cases if (case.component, which) not in seen]
    return [case for case in cases if (case.component, which) in seen], left_out


def _ended_first(history: History, component: str, window: Window, began: float) -> bool:
    """Whether a container that had ended was out of traffic before a probe said so."""
    first = min(
        (p for p in history.probes if p.component == component and p.decision == "unready" and p.at >= began),
        default=None,
    )
    exits = [
        e.at
        for e in history.of("probe", "restart", window)
        if e.detail.get("process") == component and e.detail.get("cause") == "exit" and e.at >= began
    ]
    return bool(exits) and (first is None or first.reason == CONTAINER_ENDED or first.at > min(exits))


def _starts(history: History, component: str) -> list[float]:
    """When each process of a component was started."""
    found = [e.at for e in history.of("stack", "start") if e.detail.get("component") == component]
    return [float("-inf"), *found]


def _spans(history: History, which: Which, component: str, now: Setting) -> list[Span]:
    """The attempts of each process of a component."""
    begun = _starts(history, component)
    spans = [Span(now.period_s, end=end) for end in (*begun[1:], float("inf"))]
    causes = {
        e.at: e.detail.get("cause")
        for e in history.of("probe", "restart")
        if e.detail.get("process") == component
    }  # fmt: skip
    for span, start in zip(spans, begun, strict=True):
        ends = [at for at in causes if start < at <= span.end]
        span.by_probe = bool(ends) and causes[min(ends)] in ("liveness", "startup")
    for answer in history.probes:
        if (answer.probe, answer.component) == (which, component) and answer.reason != CONTAINER_ENDED:
            span = spans[bisect.bisect(begun, answer.at - answer.took) - 1]
            span.asks.append(_ask(answer, now))
    spans = [span for span in spans if span.asks]
    for span in spans:
        span.asks.sort()
    return spans


def _ask(answer: ProbeAnswer, now: Setting) -> Ask:
    given_up = not answer.ok and not answer.status and answer.took >= now.timeout_s - GIVEN_UP_S
    return Ask(answer.at - answer.took, answer.took, answer.ok, given_up)


def _outcome(
    setting: Setting, cases: Sequence[Case], spans: Mapping[str, list[Span]], which: Which, now: Setting,
    slower: float = NOT_SLOWER,
) -> Outcome:  # fmt: skip
    offsets = -(-setting.period_s // now.period_s)
    walks = {
        (component, ok): [
            [span.of(setting, slower, ok, min(first, len(span.asks) - 1), INITIAL[which]) for span in found]
            for first in range(offsets)
        ]
        for component, found in spans.items()
        for ok in (True, False)
    }
    detected, needless, unknown = {}, [], []
    for case in cases:
        mine = spans[case.component]
        lenient, strict = walks[case.component, True], walks[case.component, False]
        if case.began is not None:
            late = _detection(case, mine, lenient, now)
            early = _detection(case, mine, strict, now)
            detected[case.name] = late if late == early else late._replace(unknown=True)
        elif any(_disturbs(case, walk) for walk in lenient):
            needless.append(case.name)
        elif any(_disturbs(case, walk) or _cut(case, mine, walk) for walk in strict):
            unknown.append(case.name)
    return Outcome(setting, detected, tuple(needless), tuple(unknown))


def _disturbs(case: Case, walk: Sequence[Walked]) -> bool:
    return any(not ok and case.window.start <= at <= case.window.end for one in walk for at, ok in one.changes)


def _cut(case: Case, spans: Sequence[Span], walk: Sequence[Walked]) -> bool:
    """Whether it was counting failures when a probe's restart ended the record of a process in this phase."""
    return any(
        span.by_probe and one.pending and case.window.start <= span.asks[-1].at <= case.window.end
        for span, one in zip(spans, walk, strict=True)
    )


def _detection(case: Case, spans: Sequence[Span], walks: Sequence[Sequence[Walked]], now: Setting) -> Detection:
    hit = next(i for i, span in enumerate(spans) if span.end > case.began)  # the process that the fault met
    last = spans[hit].asks[-1]
    until = min(case.window.end, last.at + last.took, float("inf") if case.gone is None else case.gone)
    recorded_s = max(0.0, until - case.began)
    took, back = [], []
    for walk in walks:
        changes = sorted(change for one in walk for change in one.changes if case.began <= change[0] <= case.window.end)
        decided = next((at for at, ok in changes if not ok), None)
        if decided is None:
            return Detection(None, None, recorded_s, spans[hit].by_probe and walk[hit].pending)
        took.append(decided - case.began)
        if case.gone is not None:
            back += [next((at - case.gone for at, ok in changes if ok and at > max(case.gone, decided)), None)]
    known = [s for s in back if s is not None]
    back_s = max(known) + now.period_s if known and len(known) == len(back) else None
    return Detection(statistics.median(took), max(took) + now.period_s, recorded_s, back_s=back_s)


def _proposal(
    which: Which, now: Setting, outcomes: Sequence[Outcome], cases: Sequence[Case], spans: Mapping[str, list[Span]],
    patient: Setting | None,
) -> Proposal:  # fmt: skip
    """The setting that detects soonest of those that stay calm with room to spare; the present one where no other is
    better by more than the record can tell."""
    must = [case.name for case in cases if case.began is not None]
    calm = [case for case in cases if case.began is None]
    present = next(one for one in outcomes if one.setting == now)
    if not calm:
        return Proposal(now, ("no phase of this run shows where it has to stay calm; it is left as it is",), False)

    def spare(one: Outcome) -> bool:
        """Whether it would still be calm with one failure fewer allowed, and with every answer twice as slow."""
        fewer = one.setting._replace(failures=one.setting.failures - 1)
        return (
            fewer.failures > 0
            and _outcome(fewer, calm, spans, which, now).calm
            and _outcome(one.setting, calm, spans, which, now, SLOWER).calm
        )

    in_order = [one for one in outcomes if patient is None or _after(one.setting, patient)] or list(outcomes)
    proven = [one for one in in_order if one.proven]
    pool, why = proven, []
    if not must:
        why = ["no experiment of this run asks it to decide, so that how soon a setting does is arithmetic"]
        pool = [present] if present.calm and spare(present) else proven
    elif not proven:
        pool = [one for one in in_order if one.open]
        why = ["no setting is recorded both to detect all and to stay calm; this one is calm, its time is arithmetic"]
    if not pool:
        disturbed = listed(sorted({name for one in in_order for name in one.needless}))
        reason = f"none that was tried stays calm in {disturbed} and" if disturbed else "none that was tried"
        return Proposal(now, (f"{reason} detects what it has to; it is left as it is",), False)
    roomy = [one for one in pool if spare(one)]
    if not roomy:
        why.append("none of them would stay calm with one failure fewer, or with answers twice as slow")
    roomy = roomy or pool
    soonest = min(one.worst_s for one in roomy)
    equal = [one for one in roomy if one.worst_s <= soonest + (1 + EARLY) * now.period_s]
    best = max(equal, key=lambda one: (_as_now(one.setting, now), *one.setting[:3]))  # the most patient
    if present in equal:
        why.append("no other is better by more than one recorded period" if must else "it is calm, and stays as it is")
        return Proposal(now, tuple(why), bool(proven))
    if present.needless:
        why.append(f"the present one disturbs {listed(present.needless)}")
    elif must and present.worst_s > best.worst_s:
        why.append(f"it decides within {best.worst_s:.1f} s, the present one within {present.worst_s:.1f} s")
    if spare(best):
        why.append("it stays calm with one failure fewer, and with answers twice as slow")
    return Proposal(best.setting, tuple(why), bool(proven))


def _as_now(setting: Setting, now: Setting) -> int:
    """How much of the present setting it leaves as it is."""
    return sum(one == other for one, other in zip(setting, now, strict=True))


def _after(liveness: Setting, readiness: Setting) -> bool:
    """Whether what is to be restarted is out of traffic before."""
    return liveness.period_s * liveness.failures >= readiness.period_s * readiness.failures


def _within(span: Span, cases: Sequence[Case]) -> list[Ask]:
    """The attempts of a process where it had to stay calm; phases may lie in each other."""
    windows = [case.window for case in cases if case.began is None]
    return [ask for ask in span.asks if any(start <= ask.at <= end for start, end in windows)]


def _longest_row(asks: Sequence[Ask]) -> int:
    longest = row = 0
    for ask in sorted(asks):
        row = 0 if ask.ok else row + 1
        longest = max(longest, row)
    return longest
