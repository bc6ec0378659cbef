"""What the unmodified rules make of a recorded fault, in production seconds, by promtool's own evaluation."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import promql_parser as promql

from harness.errors import HarnessError
from harness.history import Replay, Series, Window
from harness.rules import rulefile
from harness.rules.expression import ANY, children, edges_s, longest_window_s, metrics_used, parse, walk
from harness.rules.rulefile import AlertRule, RecordingRule, Rule
from harness.rules.stretch import lay_grid, stretch
from harness.units import prometheus_duration

# Rules are asked together with those that look back about as far: what each needs of baseline is its cost.
REACHES_S = (3600.0, 6 * 3600.0, 86400.0, math.inf)
AT_ONCE = 2
ANSWER_WITHIN_S = 600.0
WHOLE_BASELINE_S = 6 * 3600.0  # promtool takes 10 s for a whole day, and cannot for two

_NEEDS_ENDS = {"rate", "increase"}
_OF_THE_RULES = {"ALERTS", "ALERTS_FOR_STATE"}


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
) -> dict[str, Replay]:
    """When each alert of the rule files would have fired in production, by alert name.

    `window` is the recorded stretch and `fault` the fault with its effect, both in Unix seconds; `scrape_s` is the
    gate's interval, the other intervals are production's; a rule of a group with an interval of its own is evaluated as
    often as that says. `types` maps metric names to Prometheus types. What promtool
    was given is left in `workdir`. Raises PlanError for unreadable rules, HarnessError when the record holds no `up` of
    the job or too little baseline, or promtool does not answer.
    """
    paths = [Path(path).resolve() for path in rules_paths]
    alerts, records = rulefile.load(paths), rulefile.recordings(paths)
    grid = lay_grid(
        series, window, fault.start, job=job, time_scale=time_scale, scrape_s=scrape_s, step_s=production_scrape_s
    )
    groups = [group for path in paths for group in rulefile.groups(path)]
    found: dict[str, Replay] = {}
    shorter = -1.0
    asks: list[tuple[str, float, list[AlertRule]]] = []
    for reach in REACHES_S:
        within = [rule for rule in alerts if shorter < reach_s(rule, records) <= reach]
        shorter = reach
        parts = _alike(within, records, apart=reach > WHOLE_BASELINE_S)
        asks += [(f"reach-{reach:g}{'-more' * n}", reach, mine) for n, mine in enumerate(parts)]

    def answers(ask: tuple[str, float, list[AlertRule]]) -> dict[str, Replay]:
        name, reach, mine = ask
        names = _needed(mine, alerts, records)
        files = [_subset(groups, names, workdir / f"{name}.rules.yaml")]
        baseline_slots = math.ceil(max(reach_s(rule, records) for rule in mine) / grid.step_s) + 1
        asked = [rule for rule in (*alerts, *records) if rule.name in names]
        every_s = min(rule.interval_s or evaluation_s for rule in asked)
        length_s = (grid.slots - grid.fault_slot) * grid.step_s
        if length_s < 2 * every_s and any(rule.for_s < length_s for rule in mine):
            every_s = evaluation_s  # else what comes and goes between two evaluations would not be seen
        ends_s = (baseline_slots + grid.slots - 1) * grid.step_s
        if math.ceil((baseline_slots + grid.fault_slot) * grid.step_s / every_s) > ends_s // every_s:
            # The fault lies between two evaluations: promtool's are at multiples of their interval, so move the record.
            baseline_slots += math.ceil(-ends_s % every_s / grid.step_s)
        dense_at_s = _dense_at_s(asked) if reach > WHOLE_BASELINE_S else ()
        wanted = _wanted(series, asked, records)
        zero_s = baseline_slots * grid.step_s
        return _ask(
            asking,
            workdir / f"{name}.test.yaml",
            files,
            stretch(wanted, grid, window, baseline_slots, types or {}, dense_at_s),
            {name: min(rule.for_s for rule in mine if rule.name == name) for name in sorted({r.name for r in mine})},
            step_s=grid.step_s,
            evaluation_s=every_s,
            record_s=zero_s,
            first_s=math.ceil((zero_s + grid.fault_slot * grid.step_s) / every_s) * every_s,
            end_s=(zero_s + (grid.slots - 1) * grid.step_s) // every_s * every_s,
            fault_s=zero_s + (fault.start - grid.start) * time_scale,
            fault_length_s=fault.length * time_scale,
        )

    asking = _Promtool(promtool)
    with ThreadPoolExecutor(AT_ONCE) as several:  # each works on one processor
        try:
            for answer in several.map(answers, asks):
                found.update(answer)  # an alert with several rules is answered last with the baseline of the longest
        except BaseException:
            several.shutdown(wait=False, cancel_futures=True)
            asking.end()
            raise
    return {rule.name: found[rule.name] for rule in alerts}


def without_data(series: Sequence[Series], rules_paths: Iterable[str | Path], window: Window) -> dict[str, set[str]]:
    """For each alert the metrics it rests on, also through recordings, that have no sample in the window.

    An alert that stays silent without data is not quiet but blind. Alerts that have all their data are left out.
    """
    paths = list(rules_paths)
    alerts, records = rulefile.load(paths), rulefile.recordings(paths)
    seen = {s.labels.get("__name__") for s in series if any(window.start <= at <= window.end for at in s.at)}
    made = {record.name for record in records} | _OF_THE_RULES | {ANY}
    blind = {rule.name: set().union(*map(_metrics, _through([rule], records))) - made - seen for rule in alerts}
    return {name: missing for name, missing in blind.items() if missing}


def reach_s(rule: Rule, records: Sequence[RecordingRule], above: tuple[str, ...] = ()) -> float:
    """How many seconds before the present decide about a rule: its `for` and windows, and those of what it reads."""
    used = _metrics(rule) - set(above)  # a recording that reads itself looks back no further by that
    inner = [reach_s(record, records, (*above, record.name)) for record in records if record.name in used]
    return getattr(rule, "for_s", 0.0) + longest_window_s(rule.expr) + max(inner, default=0.0)


def _alike(rules: Sequence[AlertRule], records: Sequence[RecordingRule], apart: bool) -> list[list[AlertRule]]:
    """The rules that can be asked together: promtool evaluates all at one interval. With `apart`, those for which the
    ends of a long baseline are enough are also asked apart from those that need it whole, which take far longer."""
    groups: dict[tuple[float | None, bool], list[AlertRule]] = {}
    for rule in rules:
        whole = apart and not _dense_at_s(_through([rule], records))
        groups.setdefault((rule.interval_s, whole), []).append(rule)
    return list(groups.values())


def _dense_at_s(rules: Sequence[Rule]) -> set[float]:
    """Where a baseline must be whole for rules that need only the ends of their windows; empty: everywhere."""
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


def _metrics(rule: Rule) -> set[str]:
    return metrics_used(rule.expr)


def _through(rules: Sequence[Rule], records: Sequence[RecordingRule]) -> list[Rule]:
    """The rules and the recordings they read, and those that these read."""
    found = list(rules)
    for rule in found:  # grows as it goes
        found += [record for record in records if record.name in _metrics(rule) and record not in found]
    return found


def _needed(mine: Sequence[Rule], alerts: Sequence[AlertRule], records: Sequence[RecordingRule]) -> set[str]:
    """The names of all rules that must be evaluated for some to come out right."""
    needed = _through(mine, records)
    if any((_OF_THE_RULES | {ANY}) & _metrics(rule) for rule in needed):
        needed = [*alerts, *records]
    return {rule.name for rule in needed}


def _subset(groups: Sequence[tuple[dict, list]], names: set[str], file: Path) -> Path:
    """A file with the rules of these names, as they are written."""
    kept = [(group, [raw for raw, rule in rules if rule.name in names]) for group, rules in groups]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(rulefile.dump(kept), encoding="utf-8")
    return file


def _wanted(series: Sequence[Series], rules: Sequence[Rule], records: Sequence[RecordingRule]) -> list[Series]:
    """The series the rules read, and every `up`; what rules made live is left out, because they make it here again."""
    made = {record.name for record in records} | _OF_THE_RULES
    used = set().union(*map(_metrics, rules), {"up"})
    return [s for s in series if s.labels["__name__"] not in made and (ANY in used or s.labels["__name__"] in used)]


class _Promtool:
    """Runs promtool, which may take minutes, so that it ends with us: by `end`, or when we are killed."""

    def __init__(self, promtool: str | Path):
        setpriv = shutil.which("setpriv")  # of util-linux
        self._argv = [*([setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []), str(promtool)]
        self._running: set[subprocess.Popen] = set()
        self._over = False

    def test_rules(self, file: Path) -> tuple[int, str, str]:
        """Its exit code, output and errors. Raises HarnessError when it gives none."""
        with subprocess.Popen(
            [*self._argv, "test", "rules", str(file)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "TMPDIR": str(file.parent)},  # its storage, which it leaves when it is killed
        ) as process:  # fmt: skip
            self._running.add(process)
            if self._over:
                process.kill()
            try:
                out, errors = process.communicate(timeout=ANSWER_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise HarnessError(f"promtool gave no answer to {file} within {ANSWER_WITHIN_S:g} s") from None
            finally:
                self._running.discard(process)
        return process.returncode, out, errors

    def end(self) -> None:
        """Kill what runs, and what is started from now on."""
        self._over = True
        for process in list(self._running):
            process.kill()


def _ask(
    promtool: _Promtool,
    test_file: Path,
    rule_files: Sequence[Path],
    input_series: Sequence[tuple[str, str]],
    alerts: Mapping[str, float],
    *,
    step_s: float,
    evaluation_s: float,
    record_s: float,
    first_s: float,
    end_s: float,
    fault_s: float,
    fault_length_s: float,
) -> dict[str, Replay]:
    """What promtool finds for each alert.

    `alerts` maps each to its `for`, in seconds. All moments are seconds of the test: where the record begins, the first
    evaluation in the fault, the last one, and where the fault begins. Each question is put as an expectation that
    cannot hold, because what promtool got instead is exact. One alert a question, because promtool holds 10,000 samples
    in a query at most.
    """
    half = evaluation_s / 2  # windows open between evaluations: versions differ on whether their start belongs to them

    def question(alert: str, state: str, since_s: float, until_s: float, pick: str) -> str:
        window = f"[{prometheus_duration(round(until_s - since_s, 3))}:{prometheus_duration(evaluation_s)}]"
        offset = f" offset {prometheus_duration(round(end_s - until_s, 3))}" if until_s < end_s else ""
        selector = f'ALERTS{{alertname={json.dumps(alert, ensure_ascii=False)},alertstate="{state}"}}'
        return f"{pick}({pick}_over_time(timestamp({selector}){window}{offset}))"

    before = first_s - half
    questions = [
        text
        for alert, for_s in alerts.items()
        for text in (
            question(alert, "pending", before, end_s, "min"),
            question(alert, "firing", before, end_s, "min"),
            question(alert, "firing", before, end_s, "max"),
            question(alert, "firing", record_s - half, before, "max"),
            question(alert, "pending", record_s - half, before, "max"),
            question(alert, "firing", min(before + for_s, end_s - half), end_s, "min"),
        )
    ]
    impossible = [{"labels": "nothing", "value": -1}]
    at = prometheus_duration(end_s)
    test = {
        "rule_files": [str(path) for path in rule_files],
        "evaluation_interval": prometheus_duration(evaluation_s),
        "tests": [
            {
                "interval": prometheus_duration(step_s),
                "input_series": [{"series": name, "values": values} for name, values in input_series],
                "promql_expr_test": [{"expr": q, "eval_time": at, "exp_samples": impossible} for q in questions],
            }
        ],
    }
    test_file.parent.mkdir(parents=True, exist_ok=True)
    test_file.write_text(json.dumps(test, indent=0, ensure_ascii=False), encoding="utf-8")  # JSON is YAML
    code, out, errors = promtool.test_rules(test_file)
    got = re.findall(r"^ +got: ?(nil|\{\} \S+)$", errors + out, re.MULTILINE)
    if len(got) != len(questions):
        raise HarnessError(f"promtool did not answer ({code}): {(errors or out).strip()[-2000:]}")
    values = iter(None if answer == "nil" else float(answer.removeprefix("{} ")) for answer in got)

    def since_fault(moment_s: float | None) -> float | None:
        return None if moment_s is None else round(moment_s - fault_s, 3)

    found = {}
    for alert in alerts:
        pending, first, last, earlier, waited, sure = (next(values) for _ in range(6))
        through = earlier == first_s - evaluation_s and first == first_s
        found[alert] = Replay(
            pending_s=since_fault(pending),
            firing_s=None if through else since_fault(first),
            last_firing_s=since_fault(last),
            ended_s=since_fault(end_s),
            fault_end_s=round(fault_length_s, 3),
            fired_before=earlier is not None,
            pending_before=waited == first_s - evaluation_s and first_s in (pending, first),
            sure_s=since_fault(sure if first_s + alerts[alert] <= end_s else None),
        )
    return found
