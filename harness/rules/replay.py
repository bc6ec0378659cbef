"""What the unmodified rules make of a recorded fault, in production seconds, by promtool's own evaluation.

promtool evaluates all groups at one interval, in an order that can be given. So groups with another interval are
evaluated first, each at its own, and what they record is read as series. And where a group reads another, it is
evaluated before that one and sees what it recorded a round earlier: production gives groups no order, and this is the
latest that an alert may fire or resolve. Rules that read the clock get it moved to the present
(harness/rules/moments.py), and annotations are left out; all else is as it is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import promql_parser as promql

from harness.alert import Alert
from harness.history import Replay, Series, Window
from harness.rules import inactive, moments, rulefile
from harness.rules.dependencies import OF_ALERTS, Dependencies, Entry, entries, matches
from harness.rules.expression import ANY, children, edges_s, metric, metrics_used, parse, walk
from harness.rules.hold import Hold, holds
from harness.rules.promtool import Promtool, Question, Sample, Unanswered
from harness.rules.rulefile import RecordingRule, Rule
from harness.rules.stretch import Grid, clock_s, lay_grid, notation, number, stretch
from harness.units import duration, listed

# Rules are asked together with those that look back about as far: what each needs of baseline is its cost.
REACHES_S = (3600.0, 6 * 3600.0, 86400.0, 2 * 86400.0, math.inf)
AT_ONCE = 2
ANSWER_WITHIN_S = 600.0
ALONE_WITHIN_S = 60.0  # for each alert of several that together gave no answer in time
WHOLE_BASELINE_S = 6 * 3600.0  # promtool takes 10 s for a whole day, and cannot for two
WORTH = 3.0  # by how many times fewer evaluations it must be to ask for expressions first
LOOKBACK_S = 300.0  # how old a sample Prometheus still reads

_NEEDS_ENDS = {"rate", "increase"}

AlertRules = tuple[Entry, ...]  # the rules of one alert


def replay(
    series: Sequence[Series],
    rules_paths: Iterable[str | Path],
    *,
    promtool: str | Path,
    time_scale: float,
    scrape_s: float,
    production_scrape_s: float = 15.0,
    evaluation_s: float = 15.0,
    window: Window,
    fault: Window,
    job: str,
    workdir: Path,
    types: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
    hold: Hold | None = None,
) -> dict[str, Replay]:
    """When each alert of the rule files would have fired in production, by str(rule.alert).

    `window` is the recorded stretch and `fault` the fault with its effect, both in Unix seconds; `scrape_s` is the
    gate's interval, the other intervals are production's; a group with an interval of its own is evaluated as often as
    that says. `types` maps metric names to Prometheus types. `only` names the alerts that are asked about, None: all.
    `hold` says what of the record is repeated. What promtool was given is left in `workdir`. An alert
    that promtool cannot evaluate has a `problem`. Raises PlanError for unreadable rules, HarnessError when the record
    holds no `up` of the job or too little baseline, or promtool cannot be started.
    """
    depends = Dependencies(entries([Path(path).resolve() for path in rules_paths]))
    grid = lay_grid(
        series, window, fault.start, job=job, time_scale=time_scale, scrape_s=scrape_s, step_s=production_scrape_s
    )
    grid = replace(grid, hold=hold)
    workdir.mkdir(parents=True, exist_ok=True)
    running = Promtool(promtool)
    record = _Record(
        series, types or {}, window, fault, grid, time_scale, evaluation_s, depends,
        moments.moments(entry.rule for entry in depends.entries), workdir.resolve(), running,
    )  # fmt: skip
    alerts = {name: mine for name, mine in _alerts(depends).items() if only is None or name in only}
    asks: list[tuple[str, list[AlertRules]]] = []
    shorter = -1.0
    for reach in REACHES_S:
        within = [mine for mine in alerts.values() if shorter < max(map(depends.reach_s, mine)) <= reach]
        shorter = reach
        parts = _alike(within, depends, apart=reach > WHOLE_BASELINE_S)
        asks += [(f"reach-{reach:g}{'-more' * n}", mine) for n, mine in enumerate(parts)]
    found: dict[str, Replay] = {}
    with ThreadPoolExecutor(AT_ONCE) as several:  # each works on one processor
        try:
            for answer in several.map(lambda ask: _answers(record, *ask), asks):
                found.update(answer)
        except BaseException:
            several.shutdown(wait=False, cancel_futures=True)
            running.end()
            raise
    return {name: found[name] for name in alerts}


def replay_held(
    series: Sequence[Series],
    rules_paths: Iterable[str | Path],
    *,
    held_s: float,
    rest_s: float,
    gone: float,
    over: float | None,
    growing: Collection[str] = (),
    only: Collection[str],
    workdir: Path,
    **about: Any,
) -> dict[str, Replay]:
    """When some alerts would have fired in production had the fault lasted for `held_s`, and how they would have
    resolved in `rest_s` after its effect; production seconds. The fault itself was gone and its effect over at `gone`
    and `over`, Unix seconds; the rest is as in `replay`.

    Each alert is asked with either half of the fault's plateau. Where both agree, the answer is of the one by which it
    fires later, else it is a `problem`. Raises as `replay`, and HarnessError where nothing can be held.
    """
    rules_paths, fault, step_s = list(rules_paths), about["fault"], about["production_scrape_s"]
    grid = lay_grid(
        series, about["window"], fault.start, job=about["job"], time_scale=about["time_scale"],
        scrape_s=about["scrape_s"], step_s=step_s,
    )  # fmt: skip
    end = min(grid.slots, math.floor((gone - grid.start) / grid.slot_s))
    after = None if over is None else min(grid.slots, math.ceil((over - grid.start) / grid.slot_s))
    hold_slots, rest_slots = math.ceil(held_s / step_s), math.ceil(rest_s / step_s)
    either = holds(grid.slots, (grid.fault_slot, end), after, hold_slots, rest_slots, frozenset(growing))
    with ThreadPoolExecutor(AT_ONCE) as several:
        asked = [
            several.submit(replay, series, rules_paths, only=only, hold=hold, workdir=workdir / f"half-{n}", **about)
            for n, hold in enumerate(either, 1)
        ]
        one, other = (answer.result() for answer in asked)
    plateau_s = (either[0].steady[1] - either[0].steady[0]) * step_s
    said = f"as it was in its last {duration(plateau_s)}"
    if growing:
        said += f", with {listed(sorted(growing))} going on as it grew there"
    return {name: _agreed(one[name], other[name], about["evaluation_s"], said) for name in only}


def _agreed(one: Replay, other: Replay, evaluation_s: float, said: str) -> Replay:
    """The answer of two halves of a plateau."""
    if problem := one.problem or other.problem:
        return unanswered(problem)
    if (one.firing_s is None) != (other.firing_s is None):
        which, at_s = ("first", one.firing_s) if other.firing_s is None else ("second", other.firing_s)
        return unanswered(
            f"the effect of the recorded fault is not steady: held by the {which} half of its plateau the alert fires "
            f"after {duration(at_s)}, held by the other it never does"
        )

    def lasts(found: Replay) -> bool:
        return found.last_firing_s is not None and found.last_firing_s >= found.fault_end_s - 2 * evaluation_s

    if lasts(one) != lasts(other):
        why = "by one half of its plateau the alert goes on firing to the fault's end, by the other it does not"
        return unanswered(f"the effect of the recorded fault is not steady: held {why}")
    return max(one, other, key=lambda found: found.firing_s or 0.0)._replace(held=said)


def without_data(series: Sequence[Series], rules_paths: Iterable[str | Path], window: Window) -> dict[str, set[str]]:
    """For each alert the metrics it rests on, also through recordings, that have no sample in the window.

    An alert that stays silent without data is not quiet but blind. Alerts that have all their data are left out.
    """
    seen = {s.labels.get("__name__") for s in series if any(window.start <= at <= window.end for at in s.at)}
    return {name: missing for name, read in metrics_read(rules_paths).items() if (missing := read - seen)}


def metrics_read(rules_paths: Iterable[str | Path]) -> dict[str, set[str]]:
    """For each alert the metrics that its rule reads, also through recordings, which are none themselves."""
    depends = Dependencies(entries(rules_paths))
    made = {entry.rule.name for entry in depends.entries if entry.alert is None} | {*OF_ALERTS, ANY}
    return {name: set().union(*map(_metrics, _read(depends, mine))) - made for name, mine in _alerts(depends).items()}


def unanswered(problem: str) -> Replay:
    """What is known of an alert without an answer."""
    return Replay(None, None, None, None, None, problem=problem)


def _alerts(depends: Dependencies) -> dict[str, AlertRules]:
    """The rules of each alert, by its name."""
    found: dict[str, AlertRules] = {}
    for entry in depends.entries:
        if entry.alert is not None:
            found[str(entry.alert)] = (*found.get(str(entry.alert), ()), entry)
    return found


def _alike(alerts: Sequence[AlertRules], depends: Dependencies, apart: bool) -> list[list[AlertRules]]:
    """The alerts that can be asked together: those evaluated at one interval, and no two that may raise the same alert.
    With `apart`, those for which the ends of a long baseline are enough are also asked apart from those that need it
    whole, which take far longer."""
    groups: dict[tuple[float | None, bool, int], list[AlertRules]] = {}
    for i, mine in enumerate(alerts):
        whole = apart and not _dense_at_s(entry.rule for entry in depends.through(mine))
        of_name = [other for other in alerts[:i] if other[0].rule.name == mine[0].rule.name]
        turn = len(of_name) if mine[0].alert.rivals else 0
        groups.setdefault((mine[0].rule.interval_s, whole, turn), []).append(mine)
    return list(groups.values())


def _dense_at_s(rules: Iterable[Rule]) -> set[float]:
    """Where a baseline must be whole for rules that need only the ends of their windows; empty: everywhere."""
    rules = list(rules)
    if any(isinstance(rule, RecordingRule) for rule in rules):
        return set()  # what recordings make of a sparse past is not what they made of the whole one
    for rule in rules:
        for node in walk(parse(rule.expr)):
            inner = [
                child for child in children(node) if isinstance(child, promql.MatrixSelector | promql.SubqueryExpr)
            ]
            if inner and not (node.func.name in _NEEDS_ENDS and isinstance(inner[0], promql.MatrixSelector)):
                return set()
    return set().union(*(edges_s(rule.expr) for rule in rules))


def _metrics(entry: Entry) -> set[str]:
    return metrics_used(entry.rule.expr)


def _read(depends: Dependencies, mine: Iterable[Entry]) -> list[Entry]:
    """Some rules and the recordings that they read, also through others."""
    mine = list(mine)
    return [entry for entry in depends.through(mine) if entry.alert is None or entry in mine]


@dataclass(frozen=True)
class _Record:
    """What is replayed, and all that is the same for every question about it."""

    series: Sequence[Series]
    types: Mapping[str, str]
    window: Window
    fault: Window
    grid: Grid
    time_scale: float
    evaluation_s: float  # production's
    depends: Dependencies
    moments: set[str]
    workdir: Path
    promtool: Promtool

    @property
    def added_s(self) -> float:
        """For how much longer than it was recorded the fault lasts, in production seconds."""
        return 0.0 if self.grid.hold is None else self.grid.hold.repeats[0].added * self.grid.step_s

    def every_s(self, entry: Entry) -> float:
        """How often production evaluates a rule."""
        return entry.rule.interval_s or self.evaluation_s


def _answers(record: _Record, name: str, alerts: list[AlertRules]) -> dict[str, Replay]:
    """What promtool finds for each alert, asked together; those that fail are asked apart from the others."""
    found: dict[str, Replay] = {}
    todo, attempt, within_s = [alerts], 0, ANSWER_WITHIN_S
    while todo:
        mine = todo.pop()
        try:
            found.update(_Ask(record, f"{name}{f'-again-{attempt}' * bool(attempt)}", mine, within_s).answers())
            continue
        except Unanswered as error:
            failed = error
        finally:
            attempt += 1
        through = {one: set(record.depends.through(one)) for one in mine}
        asked = set().union(*through.values())
        guilty = {rule: {entry for entry in asked if entry.rule.name == rule} for rule in failed.rules}
        left = []
        for one in mine:
            own = one[0].rule.name
            sure = [rule for rule, suspects in guilty.items() if suspects and suspects <= through[one]]
            rule = own if own in sure else next(iter(sure), own)
            if sure or len(mine) == 1:
                what = "it" if rule == own else f"{rule}, which it reads"
                reason = f"promtool could not evaluate {what}: {failed.rules.get(rule, failed)}"
                found[str(one[0].alert)] = unanswered(reason)
            else:
                left.append(one)
        suspect = [one for one in left if any(through[one] & suspects for suspects in guilty.values())]
        if failed.late:
            within_s, suspect = ALONE_WITHIN_S, left
        elif len(left) == len(mine) and not suspect:  # it does not say which: halve them
            todo += [left[: len(left) // 2], left[len(left) // 2 :]]
            continue
        todo += [[one] for one in suspect]
        if rest := [one for one in left if one not in suspect]:
            todo.append(rest)
    return found


class _Ask:
    """One question: some alerts, the moments of the test, and how far back it begins."""

    def __init__(self, record: _Record, name: str, alerts: Sequence[AlertRules], within_s: float):
        self.record, self.name, self.alerts, self.within_s = record, name, alerts, within_s
        self.mine = [entry for one in alerts for entry in one]
        self.every_s = every_s = record.every_s(alerts[0][0])
        self.at_once = {e for e in record.depends.entries if record.every_s(e) == every_s}
        grid, depends = record.grid, record.depends
        length_s = (grid.length - grid.fault_slot) * grid.step_s
        if length_s < 2 * every_s and any(entry.rule.for_s < length_s for entry in self.mine):
            self.every_s = every_s = record.evaluation_s  # else what comes and goes between two would not be seen
        reach_s = max(map(depends.reach_s, self.mine))
        slots = math.ceil(reach_s / grid.step_s) + 1
        ends_s = (slots + grid.length - 1) * grid.step_s
        if math.ceil((slots + grid.fault_slot) * grid.step_s / every_s) > ends_s // every_s:
            # The fault lies between two evaluations: promtool's are at multiples of their interval, so move the record.
            slots += math.ceil(-ends_s % every_s / grid.step_s)
        longest_s = max(every_s, *map(record.every_s, depends.through(self.mine)))
        if longest_s > grid.step_s and length_s >= longest_s:
            slots += _until_just_missed(slots + grid.fault_slot, grid.step_s, longest_s)
        self.baseline_slots = slots
        long = reach_s > WHOLE_BASELINE_S
        self.dense_at_s = _dense_at_s(e.rule for e in depends.through(self.mine)) if long else ()
        self.zero_s = slots * grid.step_s  # where the record begins
        self.first_s = math.ceil((self.zero_s + grid.fault_slot * grid.step_s) / every_s) * every_s  # in the fault
        self.end_s = (self.zero_s + (grid.length - 1) * grid.step_s) // every_s * every_s

    def answers(self) -> dict[str, Replay]:
        """What promtool finds for each alert. Raises Unanswered."""
        start_s = math.ceil((self.zero_s - self.every_s / 2) / self.every_s) * self.every_s
        at_s = _ticks(start_s, self.end_s, self.every_s)
        states = self._not_firing(at_s)
        if rest := [one for one in self.alerts if one not in states]:
            wanted = [entry for one in rest for entry in one]
            found = self._found(self.name, wanted, self.at_once, self.every_s, "ALERTS", at_s, ())
            states |= {one: dict(zip(at_s, found, strict=True)) for one in rest}
        return {str(one[0].alert): self._replay(one, states[one]) for one in self.alerts}

    def _not_firing(self, at_s: Sequence[float]) -> dict[AlertRules, dict[float, list[Sample]]]:
        """Those alerts that do not fire, as far as their expressions show it, with what promtool would find of them.
        Nothing where these cost no less than the rules, or cannot all be evaluated."""
        record, depends = self.record, self.record.depends
        at_s = sorted({self.first_s - self.every_s, *at_s})
        plain = [
            one
            for one in self.alerts
            if not one[0].alert.others and all(inactive.told_by_expression(e, depends.reads[e]) for e in one)
        ]
        if not plain or WORTH * len(at_s) * self.every_s > self.end_s:
            return {}
        ahead = repr(clock_s(record.grid, self.zero_s))
        mine = [entry for one in plain for entry in one]
        asks = [(_raw(entry, ahead)["expr"], at) for entry in mine for at in at_s]
        question = Question(None, (), self.every_s, record.grid.step_s, self._lines(mine, self.every_s), asks)
        try:
            answers = iter(record.promtool.answer(question, self._file(f"{self.name}-first"), self.within_s))
        except Unanswered as error:
            if error.late:
                raise
            return {}
        there = {entry: {at for at in at_s if next(answers)} for entry in mine}
        found = {}
        for one in plain:
            for_s = min(entry.rule.for_s for entry in one)
            states = inactive.states(one[0].alert, set().union(*(there[e] for e in one)), at_s, self.first_s, for_s)
            if states is not None:
                found[one] = states
        return found

    def _lines(self, here: Sequence[Entry], every_s: float) -> list[tuple[str, str]]:
        """The series of the record that some rules read, as promtool takes them."""
        record = self.record
        return stretch(
            _wanted(record.series, here, record.depends), record.grid, record.window, self.baseline_slots, record.types,
            self.dense_at_s, record.moments, every_s,
        )  # fmt: skip

    def _file(self, name: str) -> Path:
        return self.record.workdir / f"{name}.test.yaml"

    def _found(
        self,
        name: str,
        wanted: Sequence[Entry],
        at_once: set[Entry],
        every_s: float,
        expr: str,
        at_s: Sequence[float],
        above: tuple[Entry, ...],
    ) -> list[list[Sample]]:
        """What an expression gives when some rules are evaluated, and those of the same interval that they read;
        what the others make of the record is found first."""
        record, depends = self.record, self.record.depends
        here = [entry for entry in wanted if entry in at_once]
        for entry in here:  # grows as it goes
            here += [read for read in depends.reads[entry] if read in at_once and read not in here]
        apart = dict.fromkeys(entry for entry in wanted if entry not in at_once)
        apart |= dict.fromkeys(read for entry in here for read in depends.reads[entry] if read not in at_once)
        fed: list[tuple[str, str]] = []
        for other_s in dict.fromkeys(map(record.every_s, apart)):
            mine = [entry for entry in apart if record.every_s(entry) == other_s]
            if known := [entry.rule.name for entry in mine if entry in above]:
                why = f"rules of different intervals read each other: {', '.join(known)}"
                raise Unanswered(why, dict.fromkeys(known, why))
            alike = {entry for entry in depends.entries if record.every_s(entry) == other_s}
            fed += self._recorded(f"{name}-every-{other_s:g}", mine, alike, other_s, (*above, *mine))
        rules, order = self._rules_file(name, here, every_s)
        asks = [(expr, at) for at in at_s]
        question = Question(rules, order, every_s, record.grid.step_s, [*self._lines(here, every_s), *fed], asks)
        return record.promtool.answer(question, self._file(name), self.within_s)

    def _recorded(
        self, name: str, wanted: list[Entry], at_once: set[Entry], every_s: float, above: tuple[Entry, ...]
    ) -> list[tuple[str, str]]:
        """The series that some rules make of the record, in promtool's notation: each sample is there to be read one
        scrape after it was made."""
        step_s = self.record.grid.step_s
        names = sorted(set().union(*(OF_ALERTS if e.alert is not None else (e.rule.name,) for e in wanted)))
        at_s = _ticks(0.0, self.zero_s + (self.record.grid.length - 1) * step_s, every_s)
        expr = " or ".join(f'{{__name__="{name}"}}' for name in names)
        rounds = self._found(name, wanted, at_once, every_s, expr, at_s, above)
        values: dict[tuple[tuple[str, str], ...], dict[int, str]] = {}
        there: set[tuple[tuple[str, str], ...]] = set()
        for at, samples in zip(at_s, rounds, strict=True):
            slot = int(at // step_s) + 1
            now = {tuple(sorted(labels.items())): value for labels, value in samples}
            for labels in there - now.keys():
                values[labels][slot] = "stale"
            for labels, value in now.items():
                values.setdefault(labels, {})[slot] = number(value)
            there = set(now)
        slots = self.baseline_slots + self.record.grid.length
        return [
            (notation(dict(labels)), " ".join(at_slot.get(slot, "_") for slot in range(slots)))
            for labels, at_slot in sorted(values.items())
        ]

    def _rules_file(self, name: str, here: Sequence[Entry], every_s: float) -> tuple[Path, list[str]]:
        """A file with some rules, each in its group, and the names of its groups in the order of their evaluation."""
        order = self.record.depends.readers_first(here)
        if every_s >= LOOKBACK_S:
            order.reverse()  # what was recorded a round earlier would be too old to be read
        ahead = repr(clock_s(self.record.grid, self.zero_s))
        mine, groups = set(here), []
        for place in order:
            members = [entry for entry in self.record.depends.entries if entry.group == place and entry in mine]
            header = {k: v for k, v in members[0].header.items() if k != "interval"}
            header["name"] = f"{place:03} {header['name']}"
            groups.append((header, [_raw(entry, ahead) for entry in members]))
        file = self.record.workdir / f"{name}.rules.yaml"
        file.write_text(rulefile.dump(groups), encoding="utf-8")
        return file, [header["name"] for header, _ in groups]

    def _replay(self, one: AlertRules, found: Mapping[float, Sequence[Sample]]) -> Replay:
        """An alert's times, of what was active at each evaluation of the record."""
        alert, for_s = one[0].alert, min(entry.rule.for_s for entry in one)
        here = {str(entry.alert) for entry in self.record.depends.through(self.mine) if entry.alert is not None}
        if not here & {str(rival) for rival in alert.rivaling()}:
            alert = alert.without_rivals()
        for labels, _ in (sample for samples in found.values() for sample in samples):
            if rivals := [str(rival) for rival in alert.disputed(labels) if str(rival) in here]:
                return unanswered(f"what fired may be of {listed([str(alert), *rivals])}, whose labels may be the same")
        states = {
            at: {labels.get("alertstate") for labels, _ in samples if alert.owns(labels)}
            for at, samples in found.items()
        }
        firing = [at for at, state in states.items() if "firing" in state]
        pending = [at for at, state in states.items() if "pending" in state]
        record, before = self.record, self.first_s - self.every_s
        fault_s = self.zero_s + (record.fault.start - record.grid.start) * record.time_scale

        def first(moments: Sequence[float], since_s: float, pick: Callable = min) -> float | None:
            return pick((at for at in moments if at >= since_s), default=None)

        def since_fault(moment_s: float | None) -> float | None:
            return None if moment_s is None else round(moment_s - fault_s, 3)

        through = before in firing and self.first_s in firing
        sure_s = first(firing, min(self.first_s - self.every_s / 2 + for_s, self.end_s - self.every_s / 2))
        return Replay(
            pending_s=since_fault(first(pending, self.first_s)),
            firing_s=None if through else since_fault(first(firing, self.first_s)),
            last_firing_s=since_fault(first(firing, self.first_s, max)),
            ended_s=since_fault(self.end_s),
            fault_end_s=round(record.fault.length * record.time_scale + record.added_s, 3),
            fired_before=any(at < self.first_s for at in firing),
            pending_before=before in pending
            and self.first_s in (first(pending, self.first_s), first(firing, self.first_s)),
            sure_s=since_fault(sure_s if self.first_s + for_s <= self.end_s else None),
            added_s=record.added_s,
            labels=[] if (at := first(firing, self.first_s)) is None or through else _instances(alert, found[at]),
        )


def _instances(alert: Alert, samples: Sequence[Sample]) -> list[dict[str, str]]:
    """The labels of each instance of an alert that fires, as Prometheus sends them."""
    firing = [labels for labels, _ in samples if labels.get("alertstate") == "firing" and alert.owns(labels)]
    return [{k: v for k, v in labels.items() if k not in ("__name__", "alertstate")} for labels in firing]


def _until_just_missed(slot: int, step_s: float, every_s: float) -> int:
    """By how many slots to move a fault that begins at one, so that its first sample is just too late for an evaluation
    of the longest interval: where it falls in production is chance, and this is the latest that an alert may fire."""
    least = 0
    for moved in range(1, math.ceil(every_s / step_s)):
        if (slot + moved - 1) * step_s % every_s < (slot + least - 1) * step_s % every_s:
            least = moved
    return least


def _ticks(first_s: float, end_s: float, every_s: float) -> list[float]:
    return [round(first_s + k * every_s, 3) for k in range(int((end_s - first_s) / every_s + 1e-9) + 1)]


def _raw(entry: Entry, ahead: str) -> dict:
    """A rule as it is written, without what is only for its readers, and with the clock of production."""
    raw = {key: value for key, value in entry.raw.items() if key != "annotations"}
    return raw | ({"expr": moments.with_clock(raw["expr"], ahead)} if moments.reads_clock(raw["expr"]) else {})


def _wanted(series: Sequence[Series], rules: Sequence[Entry], depends: Dependencies) -> list[Series]:
    """The series the rules select, and every `up`; what rules made live is left out: they make it here again."""
    made = {entry.rule.name for entry in depends.entries if entry.alert is None} | set(OF_ALERTS)
    selectors: dict[str, list[Any]] = {}
    for entry in rules:
        for node in walk(parse(entry.rule.expr)):
            if isinstance(node, promql.VectorSelector):
                selectors.setdefault(metric(node), []).append(node)

    def selected(labels: Mapping[str, str]) -> bool:
        name = labels["__name__"]
        return name == "up" or any(_selects(one, labels) for key in (name, ANY) for one in selectors.get(key, ()))

    return [s for s in series if s.labels["__name__"] not in made and selected(s.labels)]


def _selects(selector: Any, labels: Mapping[str, str]) -> bool:
    if selector.matchers.or_matchers:
        return True
    return all(matches(m, labels.get(m.name, "")) for m in selector.matchers.matchers)
