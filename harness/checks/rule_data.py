"""RuleData: every rule reads series that there are, so that it can fire at all."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import setting, target_up
from harness.checks.findings import said
from harness.checks.view import DEPLOYMENT, Finding, Read, View
from harness.history import History, Window
from harness.units import count, listed
from harness.verdict import EVIDENCE_AT_MOST, Reference, Result, Verdict

SUFFIXES = ("_total", "_bucket", "_sum", "_count", "_created", "_info")
ON_FIRST_EVENT = ("_total", "_bucket", "_sum", "_count")  # metrics with labels that some clients show only then
EXPORTERS = (  # how metrics begin that well-known exporters have, whatever else begins with the same word
    "alertmanager_", "apiserver_", "container_cpu_", "container_fs_", "container_last_seen", "container_memory_",
    "container_network_", "container_spec_", "container_start_time_", "container_tasks_", "coredns_", "etcd_",
    "grafana_", "kube_", "kubelet_", "kubernetes_", "machine_", "node_", "probe_dns_", "probe_duration_seconds",
    "probe_failed_due_", "probe_http_", "probe_icmp_", "probe_ip_", "probe_ssl_", "probe_success", "probe_tls_",
    "prometheus_",
)  # fmt: skip
OTHER_JOB = "\N{BULLET}"  # a job that no rule means
NEAR = 0.8  # of two names of labels or jobs that are taken for one, by the letters that they share
SLIPS = 2  # letters by which the name of a metric may be misspelt
UNPROVEN_SHOWN = 3


@dataclass(frozen=True)
class RuleData(Check):
    """Each selector of the rules against the series of the run. A metric or label that does not exist is FAIL, and so
    is a value that is nearly one that exists, or of another form; one that only did not occur is named as unproven."""

    reads: tuple[Read, ...]
    job: str  # of the service's own series: those of others are not recorded
    recordings: tuple[str, ...] = ()  # names of what rules record
    kind: ClassVar[str] = "rule_data"
    subject: ClassVar[str] = "data of the rules"
    timing_independent: ClassVar[bool] = True

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[RuleData, ...]:
        """One, where the rules read anything; without the rules that watch what this host lacks."""
        cls.Parameters.read(parameters, view)
        lacking = {rule.place for rule in view.rules if not rule.applicable}
        elsewhere = {read.metric for read in view.reads if read.place in lacking}
        elsewhere -= {read.metric for read in view.reads if read.place in {r.place for r in view.rules} - lacking}
        reads = tuple(read for read in view.reads if read.place not in lacking and read.metric not in elsewhere)
        return (cls(reads, view.job, view.recordings),) if reads else ()

    def judge(self, history: History) -> Result:
        """FAIL with each selector that can never match; INCONCLUSIVE where the service was never scraped."""
        setting(history, "time_scale")
        _, value = target_up(history, Window(-float("inf"), float("inf")), self.job or None)
        if not value.any():
            raise NoEvidence(
                "no scrape of the service succeeded, so nothing is known of its series", "see Prometheus' log"
            )
        known = _Known(history, self.job, frozenset(self.recordings))
        reads = [Read(*stored) for stored in self.reads]
        found, evidence, unproven, matched = [], [], [], 0
        for read in reads:
            wrong = known.wrong(read)
            if isinstance(wrong, Finding):
                found.append(wrong)
                evidence += [Reference("sample", key) for key in known.like(read)]
            elif wrong:
                unproven.append(f"{read.selector} of {read.rule} ({read.place}; {wrong})")
            else:
                matched += 1
        rules = count(len({(read.place, read.rule) for read in reads}), "rule")
        figures = {"measured": len(found), "bound": 0, "unit": "selectors"}
        if found:
            reason = f"{count(len(found), 'selector')} of {rules} can match nothing, bound 0: {said(found)}"
            evidence = tuple(dict.fromkeys(evidence))[:EVIDENCE_AT_MOST]
            return self.result(
                Verdict.FAIL, reason, found[0].remedy, place=found[0].place, evidence=evidence, **figures
            )
        reason = (
            f"{matched} of {count(len(reads), 'selector')} of {rules} match series, and 0 can match nothing, bound 0"
        )
        if unproven:
            more = f" and {len(unproven) - UNPROVEN_SHOWN} more" if len(unproven) > UNPROVEN_SHOWN else ""
            reason += f"; {len(unproven)} matched nothing in this run, so they are unproven: "
            reason += "; ".join(unproven[:UNPROVEN_SHOWN]) + more
        return self.result(Verdict.PASS, reason, **figures)


@dataclass(frozen=True)
class _Known:
    """The series of a run, and what the service declares."""

    history: History
    job: str
    recordings: frozenset[str]

    @cached_property
    def series(self) -> Mapping[str, list[Mapping[str, str]]]:
        """By the name of the metric the labels of each."""
        found: dict[str, list[Mapping[str, str]]] = {}
        for s in self.history.series:
            found.setdefault(s.labels.get("__name__", ""), []).append(s.labels)
        return found

    @cached_property
    def labels(self) -> frozenset[str]:
        """Those of any series."""
        return frozenset(name for of in self.series.values() for labels in of for name in labels)

    @cached_property
    def declares(self) -> bool:
        """Whether the service declares metrics without series, so that one that it does not declare is none."""
        stems = {_stem(name) for name in self.series}
        return "python_info" in self.series or any(_stem(name) not in stems for name in self.history.types)

    def misspelt(self, name: str) -> str:
        """The metric that a name was probably meant to be; empty where there is none."""
        alike = [each for each in sorted(self.series) if abs(len(each) - len(name)) <= SLIPS]
        return next((each for each in alike if _bare(each) == _bare(name) or _edits(each, name) <= SLIPS), "")

    def like(self, read: Read) -> list[str]:
        """Some series of the metric that a selector names."""
        return [
            read.metric + "{" + ", ".join(f'{k}="{v}"' for k, v in labels.items() if k != "__name__") + "}"
            for labels in self.series.get(read.metric, ())[:3]
        ]

    def wrong(self, read: Read) -> Finding | str:
        """Why a selector can match nothing; as a text why it only matched nothing in this run; empty where it did."""
        if any(all(_fits(m, labels) for m in read.matchers) for labels in self.series.get(read.metric, ())):
            return next(self._ignored(read), "")
        if job := self._of_another_job(read):
            return job
        if read.may_be_empty:
            return "its form allows for that"
        if read.metric not in self.series:
            return self._no_metric(read)
        return next(self._no_label(read), None) or next(self._no_value(read), "no series has all of these labels")

    def _of_another_job(self, read: Read) -> Finding | str:
        for label, op, value in read.matchers:
            if label == "job" and self.job and not _fits((label, op, value), {"job": self.job}):
                if op == "=" and _near(value, [self.job]):
                    why = f"no series has job={value!r}; did you mean {self.job}?"
                    return _finding(read, why, "write the job of service.yaml, monitoring.job, into the rule")
                return "of another job, whose series are not recorded"
        return ""

    def _no_metric(self, read: Read) -> Finding | str:
        name = read.metric
        if name in self.recordings:
            return "recorded by a rule, without a result that the run has"
        if ":" in name:
            near = difflib.get_close_matches(name, sorted(self.recordings), 1, 0.7)
            hint = f"; did you mean {near[0]}?" if near else ""
            return _finding(read, f"no rule records {name}{hint}", "record it, or read what is recorded")
        if _stem(name) in {_stem(declared) for declared in self.history.types}:
            return "declared, and without a series yet"
        if near := self.misspelt(name):
            remedy = "mend the rule, or bring the metric back: until then the rule is blind"
            return _finding(read, f"no series is called {name}; did you mean {near}?", remedy)
        if not self.history.types or (name.endswith(ON_FIRST_EVENT) and not self.declares):
            return "never there in this run; some clients show a counter only once it has counted"
        own = any(  # a selector of another job was left before
            label == "job" and op in ("=", "=~") and not _fits((label, op, value), {"job": OTHER_JOB})
            for label, op, value in read.matchers
        )
        family = name.partition("_")[0]
        akin = not name.startswith(EXPORTERS) and any(other.partition("_")[0] == family for other in self.series)
        if own or akin:
            why = f"no series is called {name}, and the service does not declare it"
            remedy = "mend the rule, or bring the metric back: until then the rule is blind"
            return _finding(read, why, remedy if own else f"{remedy}; where it is of another service, select its job")
        return "of a metric that the service does not have; another exporter's?"

    def _no_label(self, read: Read) -> Iterator[Finding | str]:
        """For the first label that no series of the metric has."""
        here = {name for labels in self.series[read.metric] for name in labels} - {"__name__"}
        for label, op, value in read.matchers:
            if label in here or _fits((label, op, value), {}):
                continue
            near = _near(label, sorted(here))
            if near or label not in DEPLOYMENT or label in self.labels:
                hint = f"did you mean {near}?" if near else f"it has {listed(sorted(here)) or 'no labels'}"
                why = f"no series of {read.metric} has a label {label}; {hint}"
                yield _finding(read, why, "mend the rule, or what the service exposes: until then the rule is blind")
            else:
                yield f"no series has a label {label}; what a discovery adds, say in monitoring.target_labels"

    def _ignored(self, read: Read) -> Iterator[Finding | str]:
        """The conditions that exclude nothing, because they name no label of the metric, but nearly one."""
        here = {name for labels in self.series.get(read.metric, ()) for name in labels} - {"__name__"}
        for label, _, _ in read.matchers:
            if label not in here and label not in DEPLOYMENT and (near := _near(label, sorted(here))):
                why = f"no series of {read.metric} has a label {label}, so it excludes nothing; did you mean {near}?"
                yield _finding(read, why, f"write {near}")

    def _no_value(self, read: Read) -> Iterator[Finding | str]:
        """For the first label whose values all fail its condition."""
        for label, op, value in read.matchers:
            values = sorted({labels.get(label, "") for labels in self.series[read.metric]} - {""})
            if not values or any(_fits((label, op, value), {label: each}) for each in values):
                continue
            there = listed(values[:5]) + (" and others" if len(values) > 5 else "")
            if label == "instance" or label in DEPLOYMENT or op not in ("=", "=~"):
                yield f"{label} is {there}"
            elif near := _nearly(op, value, values):
                why = f"{label} is never {value} in {read.metric}; did you mean {near}? There is {there}"
                yield _finding(read, why, "write a value that there is")
            elif _other_form(op, value, values):
                why = f"{label} of {read.metric} has values of another form than {value}: {there}"
                yield _finding(read, why, "write it as the service does")
            else:
                yield f"{label} is {there}"


def _finding(read: Read, why: str, remedy: str) -> Finding:
    return Finding(read.place, f"{read.rule} reads {read.selector}: {why}", remedy)


def _stem(name: str) -> str:
    """The name of a metric without what its samples add to it."""
    return next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)


def _fits(matcher: Sequence[str], labels: Mapping[str, str]) -> bool:
    label, op, wanted = matcher
    value = labels.get(label, "")
    if op in ("=", "!="):
        return (value == wanted) == (op == "=")
    try:
        return (re.fullmatch(wanted, value) is not None) == (op == "=~")
    except re.error:  # written for another engine
        return True


def _near(word: str, known: Sequence[str]) -> str:
    """The known name that a word was probably meant to be; empty where it is nearly none."""
    found = difflib.get_close_matches(word, [each for each in known if each != word], 1, NEAR)
    return found[0] if found else ""


def _literals(op: str, value: str) -> list[str]:
    """The texts that a condition may stand for, where it names them."""
    if op == "=":
        return [value]
    return [part for part in value.strip("^$()").split("|") if re.fullmatch(r"[\w /:,-]+", part)]


def _nearly(op: str, value: str, values: Sequence[str]) -> str:
    """The value that there is for one that differs from it by case, by signs between words, or by a letter or two."""
    for literal in _literals(op, value):
        for each in values:
            if _bare(each) == _bare(literal) or (
                _letters(each, literal) and 0 < _edits(each, literal) <= 1 + (len(each) > 8)
            ):
                return each
            if each.startswith("/") and literal.startswith("/") and (each.endswith(literal) or literal.endswith(each)):
                return each
    return ""


def _letters(one: str, other: str) -> bool:
    return min(len(one), len(other)) >= 5 and not re.search(r"\d", one + other)


def _bare(text: str) -> str:
    return re.sub(r"[\s_.-]", "", text).lower()


@lru_cache(maxsize=1 << 14)
def _edits(one: str, other: str) -> int:
    """Letters to be put in, left out or exchanged (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def _other_form(op: str, value: str, values: Sequence[str]) -> bool:
    """Whether what a condition asks for begins with a digit, a letter or a sign where no value that there is does."""
    begins = {_form(part.lstrip("^(?:")) for part in (value.split("|") if op == "=~" else [value])}
    if "" in begins:
        return False
    if values and all(re.fullmatch(r"[1-5]\d\d", each) for each in values):  # a status: any may come
        return not any(_fits(("", op, value), {"": str(status)}) for status in range(100, 600))
    return not begins & {_form(each) for each in values}


def _form(text: str) -> str:
    """What a text begins with; empty where a pattern leaves that open."""
    first = text[:1]
    if not first or first in ".[\\(*":
        return ""
    return "digit" if first.isdigit() else "letter" if first.isalpha() else first
