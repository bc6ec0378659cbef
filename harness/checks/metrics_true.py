"""MetricsTrue: what the service says of itself in a metric is what its clients saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from harness.checks.check import Check, NoEvidence
from harness.checks.counted import (
    COUNTED_WITHIN_S,
    Counted,
    Misfit,
    Span,
    Target,
    answered,
    counted,
    grouped,
    lost,
    misfit,
    of_status,
    rows_of,
    selected,
    targets,
)
from harness.checks.evidence import undisturbed
from harness.checks.flight import flight, misstated
from harness.checks.observed import Latencies, misread
from harness.checks.parameters import Parameters
from harness.checks.view import STEADY, View
from harness.history import History, Series, Window
from harness.parameters import Duration, Share
from harness.stats import at_most
from harness.units import count, listed, nearest, percent
from harness.verdict import EVIDENCE_AT_MOST, Reference, Result, Verdict

WHAT = {
    "requests": "answers",
    "duration": "latencies",
    "predictions": "predictions",
    "in_flight": "requests in flight",
    "shed": "refusals",
}
UNIT_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
SWAPPED_AT = 1e-6  # how improbable it must be that two classes fit each other's answers by chance
FEWEST = 20  # requests without which nothing is judged


class Mislabelled(Exception):
    """The metric has not the labels that service.yaml says it has; `remedy` says where."""

    def __init__(self, why: str, remedy: str):
        super().__init__(why)
        self.remedy = remedy


class Part(NamedTuple):
    """Some requests that are counted together: which series count them, and the words for them."""

    words: str
    selector: str
    series: Sequence[Series]
    surely: np.ndarray  # the rows of those that are counted
    perhaps: np.ndarray  # and of those that may be


@dataclass(frozen=True)
class MetricsTrue(Check):
    """A metric of the service says of the run's requests what their rows say: each status, class and duration as often,
    as exactly as what was in flight at a scrape allows.

    The rows are those of all generators. What a process counted after its last scrape goes with it; that is counted.
    """

    signal: str  # one of WHAT
    name: str
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    by: str | None = None  # its label with the status or the class
    answers: tuple[str, ...] = ()  # the statuses that it is about, as 503 or 5xx; (): all
    uncounted: tuple[str, ...] = ()  # statuses that it need not count
    classes: tuple[str, ...] = ()  # their names, by the numbers that rows have them by
    unit_s: float = 1.0
    may_lose: float = 0.0  # the share of its requests that may be missing
    phases: tuple[str, ...] = (STEADY,)
    latency_within_s: float = 0.002  # a client and the service measure one request so far apart
    latency_share: float = 0.25  # and the client longer by this share of it, for what lies between them
    outliers: float = 0.02  # of the requests of a phase, which waited elsewhere
    kind: ClassVar[str] = "metrics_true"
    compares_clocks: ClassVar[bool] = True

    class Parameters(Parameters):
        latency_within: Duration = Field(0.002, ge=0)
        latency_share: Share = Field(0.25, lt=1)
        outliers: Share = Field(0.02, lt=1)

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[MetricsTrue, ...]:
        """One for each metric that service.yaml names under telemetry.metrics; none where it names none."""
        given = cls.Parameters.read(parameters, view)
        metrics = view.telemetry.metrics
        return tuple(
            cls(
                signal=signal,
                name=one.name,
                labels=tuple(one.labels.items()),
                by=getattr(one, "status", getattr(one, "label", None)),
                answers=getattr(one, "answers", ()),
                uncounted=metrics.uncounted,
                classes=view.telemetry.classes if signal == "predictions" else (),
                unit_s=UNIT_S[getattr(one, "unit", "s")],
                may_lose=view.telemetry.may_lose.at_most,
                phases=view.phases,
                latency_within_s=given["latency_within"],
                latency_share=given["latency_share"],
                outliers=given["outliers"],
            )
            for signal, one in (metrics.given.items() if metrics else ())
        )

    @property
    def timing_independent(self) -> bool:
        """A count is wrong however slow everything was; how long something took is not."""
        return self.signal != "duration"

    @property
    def generator(self) -> str:
        """A generator that stalls reads its answers late, and its clients then seem to have waited."""
        return "load" if self.signal == "duration" else ""

    @property
    def subject(self) -> str:
        return f"{WHAT[self.signal]} in {self.name}"

    def judge(self, history: History) -> Result:
        """FAIL with the counts and an example; INCONCLUSIVE without requests or scrapes."""
        some = targets(history)
        rows = rows_of(history, some)
        if not some:
            raise NoEvidence("no scrape of the service succeeded", "see `up` and Prometheus' targets")
        if len(rows) < FEWEST:
            raise NoEvidence(f"{count(len(rows), 'request')} were sent, {FEWEST} needed", "load for longer")
        series = selected(history, self.name + ("_count" if self.signal == "duration" else ""), self.labels)
        if not series and not (self.signal == "shed" and not of_status(rows, self.answers).any()):
            return self._missing(history, rows)  # a series of what never happened need not be there
        judge = self._flight if self.signal == "in_flight" else self._counts
        return judge(history, some, series, rows)

    def _missing(self, history: History, rows: np.ndarray) -> Result:
        names = sorted({s.labels["__name__"] for s in history.series})
        name = self.name + ("_count" if self.signal == "duration" else "")
        have = f"no series of {name} in any scrape ({nearest(name, names)})"
        if name in names:
            wanted = [f"{label} {' or '.join(values)}" for label, values in self.labels]
            have = f"no series of {name} has {listed(wanted)}"
        reason = f"{have}, where service.yaml says that it counts {WHAT[self.signal]}; {len(rows):,} were asked for"
        remedy = "have the service expose it, or correct telemetry.metrics in service.yaml"
        return self.result(Verdict.FAIL, reason, remedy, measured=0, bound=len(rows), unit=WHAT[self.signal])

    def _counts(self, history: History, some: list[Target], series: list[Series], rows: np.ndarray) -> Result:
        """Each part of a counter against the rows that it counts."""
        try:
            parts = self._parts(history, series, rows)
        except Mislabelled as wrong:
            return self.result(Verdict.FAIL, str(wrong), wrong.remedy, evidence=(Reference("sample", self.name),))
        wrong: list[str] = []
        evidence: list[Reference] = []
        says = true = gone = 0
        figures = []
        windows = {name: window for name in self.phases if (window := history.phase(name))}
        for part in parts:
            counter = counted(some, part.series)
            surely, perhaps = Span.of(part.surely, COUNTED_WITHIN_S), Span.of(part.perhaps, COUNTED_WITHIN_S)
            whole = misfit(counter, surely, perhaps)
            whole = whole._replace(too_few=0) if whole.too_few <= self.may_lose * len(part.surely) else whole
            begin, end = counter.at[0], counter.at[-1]
            theirs = int(np.count_nonzero((part.surely["done"] > begin) & (part.surely["done"] <= end)))
            mine, ended = round(float(counter.value[-1])), int(lost(counter, surely)[-1])
            says, true, gone = says + min(mine, theirs), true + theirs, gone + ended
            if theirs:
                figures.append(f"{part.words} {mine:,} of {theirs:,}")
            elif mine:
                figures.append(f"{part.words} {mine:,} to clients that did not wait for the end")
            wrong += [
                f"{part.selector} fell from {f.before:g} to {f.after:g} at {f.instance or 'the target'}, "
                "whose process was the same"
                for f in counter.falls[:1]
            ]
            if whole.too_few or whole.too_many:
                reason, between = self._off(part, counter, surely, perhaps, whole, windows)
                wrong.append(reason)
                evidence += _examples(part, between)
            if counter.falls:
                evidence.append(Reference("sample", part.selector, counter.falls[0].at))
        wrong += self._swapped(some, parts, rows)
        if self.signal == "duration":
            wrong += self._durations(history, some, rows, windows)
        measured = {"measured": round(100 * says / true, 3) if true else None, "bound": 100, "unit": "%"}
        if not wrong:
            share = f" ({percent(round(says / true, 5))})" if true else ""
            reason = f"the service counted {says:,} of {true:,} {WHAT[self.signal]}{share}"
            reason += f": {listed(figures)}" if figures else ""
            reason += "; none more or less than what was in flight at a scrape explains"
            reason += f"; {gone:,} of them may have gone with a process after its last scrape" if gone else ""
            return self.result(Verdict.PASS, reason, **measured)
        remedy = f"see where the service counts {self.name}, and what it counts there"
        if self.signal == "duration" and not evidence:
            evidence.append(Reference("sample", self.name))
        return self.result(
            Verdict.FAIL, "; ".join(wrong), remedy, evidence=tuple(evidence[:EVIDENCE_AT_MOST]), **measured
        )

    def _parts(self, history: History, series: list[Series], rows: np.ndarray) -> list[Part]:
        """What the counter counts apart."""
        uncounted = of_status(rows, self.uncounted)
        whole = answered(rows) & ~uncounted
        open_ = ~answered(rows) | uncounted
        if self.signal == "predictions":
            return self._by_class(series, rows, whole, open_)
        named = f"{self.name}{'_count' if self.signal == 'duration' else ''}"
        if self.signal != "requests" or self.by is None:
            mine = whole & (of_status(rows, self.answers) if self.answers else True)
            words = f"status {listed(self.answers)}" if self.answers else "any status"
            perhaps = rows[open_]
            if self.signal == "shed":  # another refusal with that status need not be for overload
                return self._refusals(history, series, rows, mine, perhaps)
            return [Part(words, named, series, rows[mine], perhaps)]
        found = grouped(series, self.by)
        if set(found) == {""}:
            have = sorted({label for s in series for label in s.labels} - {"__name__", "job", "instance"})
            raise Mislabelled(
                f"no series of {self.name} has the label {self.by} with a status; they have {listed(have) or 'none'}",
                "name the label: telemetry.metrics.requests.status in service.yaml (null where none has it)",
            )
        said = {value: value.lower() for value in found}
        if unknown := [value for value, status in said.items() if not _is_status(status)]:
            raise Mislabelled(
                f'{self.name}{{{self.by}="{unknown[0]}"}} is no HTTP status',
                "name the label that has it: telemetry.metrics.requests.status in service.yaml",
            )
        only = of_status(rows, self.answers) if self.answers else np.ones(len(rows), bool)
        classes = any(status.endswith("xx") for status in said.values())
        values = rows["status"] // 100 if classes else rows["status"]
        have = {f"{n}xx" if classes else str(n) for n in np.unique(values[whole & only]).tolist()}
        of = {status: [s for value in found if said[value] == status for s in found[value]] for status in said.values()}
        return [
            Part(
                f"status {status}",
                f'{named}{{{self.by}="{status}"}}',
                of.get(status, []),
                rows[whole & only & of_status(rows, (status,))],
                rows[open_],
            )
            for status in sorted({*have, *of})
        ]

    def _refusals(
        self, history: History, series: list[Series], rows: np.ndarray, mine: np.ndarray, perhaps: np.ndarray
    ) -> list[Part]:
        """Refusals are for overload where nothing was done to the service itself; elsewhere they may be."""
        sure = np.zeros(len(rows), bool)
        for name in self.phases:
            if (window := history.phase(name)) and undisturbed(history, window):
                sure |= (rows["sent"] >= window.start) & (rows["done"] < window.end)
        some = f"status {listed(self.answers)}"
        return [Part(some, self.name, series, rows[mine & sure], np.concatenate([perhaps, rows[mine & ~sure]]))]

    def _by_class(self, series: list[Series], rows: np.ndarray, whole: np.ndarray, open_: np.ndarray) -> list[Part]:
        served = whole & (rows["status"] < 300)
        read = served & (rows["predicted"] >= 0)
        if not read.any():
            raise NoEvidence("no answer had a class that the generator could read", "see `answers`")
        # An answer that failed after the model ran was a prediction, and one without a class may hold several.
        perhaps = rows[open_ | (served & ~read) | (whole & (rows["status"] >= 500))]
        found = grouped(series, self.by or "")
        numbers = np.unique(rows["predicted"][read]).tolist()
        names = {n: self.classes[n] if n < len(self.classes) else str(n) for n in numbers}
        known = {*names.values(), *map(str, numbers)}
        if not known & set(found):
            raise Mislabelled(
                f"the values of {self.by} in {self.name} are {listed(sorted(found))}, and no class has such a name",
                "name the classes: telemetry.classes in service.yaml",
            )
        parts = [
            Part(
                names[n],
                f'{self.name}{{{self.by}="{names[n]}"}}',
                [*found.pop(names[n], []), *(found.pop(str(n), []) if names[n] != str(n) else [])],
                rows[read & (rows["predicted"] == n)],
                perhaps,
            )
            for n in numbers
        ]
        nobody = rows[:0]
        return parts + [
            Part(value or "no class", f'{self.name}{{{self.by}="{value}"}}', some, nobody, perhaps)
            for value, some in sorted(found.items())
        ]

    def _off(
        self, part: Part, counter: Counted, surely: Span, perhaps: Span, whole: Misfit,
        windows: Mapping[str, Window],
    ) -> tuple[str, Window]:  # fmt: skip
        """Where a counter went wrong most, with its count and the clients', and between which scrapes that was."""
        found = {
            name: misfit(counter, surely, perhaps, counter.within(window)).worst for name, window in windows.items()
        }
        bad = [name for name, (by, _) in found.items() if by]
        name = max(bad, key=lambda one: abs(found[one][0]), default="the run")
        by, between = found.get(name, whole.worst)
        begin, end = np.searchsorted(counter.at, between)
        mine = round(float(counter.value[end] - counter.value[begin]))
        reason = (
            f"{name}: the service counted {mine:,} {WHAT[self.signal]} with {part.words} ({part.selector}), "
            f"the clients got at {'least' if by < 0 else 'most'} {mine - by:,} between the same scrapes"
        )
        others = [other for other in bad if other != name]
        return reason + (f"; also wrong in {listed(others)}" if others else ""), between

    def _swapped(self, some: list[Target], parts: list[Part], rows: np.ndarray) -> Iterator[str]:
        """Two series that count each other's answers: in number they may be alike, but not from scrape to scrape."""
        if self.signal not in ("predictions", "requests"):
            return
        steps = []
        for part in parts:
            counter = counted(some, part.series)
            seen = np.searchsorted(np.sort(part.surely["done"]), counter.at, "right")
            steps.append((np.diff(counter.value), np.diff(seen)))
        for i, (a, true_a) in enumerate(steps):
            for j, (b, true_b) in enumerate(steps[:i]):
                if len(a) != len(b) or not (len(parts[i].surely) and len(parts[j].surely)):
                    continue
                agree = np.sign(a - b) * np.sign(true_a - true_b)
                against, for_ = int(np.count_nonzero(agree < 0)), int(np.count_nonzero(agree > 0))
                if against > for_ and at_most(for_, for_ + against, 0.5) < SWAPPED_AT:
                    yield (
                        f"{parts[j].words} and {parts[i].words} are exchanged in {self.name}: in "
                        f"{against:,} of {against + for_:,} scrapes the one rose by more where the clients got more of "
                        "the other"
                    )

    def _durations(
        self, history: History, some: list[Target], rows: np.ndarray, windows: Mapping[str, Window]
    ) -> Iterator[str]:
        """The buckets and the sum of a histogram against how long the clients waited."""
        whole = answered(rows) & ~of_status(rows, self.uncounted)
        mine = whole & (of_status(rows, self.answers) if self.answers else True)
        buckets = {
            float(le) * self.unit_s: counted(some, series)
            for le, series in grouped(selected(history, f"{self.name}_bucket", self.labels), "le").items()
            if le
        }
        total = counted(some, selected(history, f"{self.name}_count", self.labels))
        sums = selected(history, f"{self.name}_sum", self.labels)
        spent = counted(some, sums) if sums else None
        spent = spent and replace(spent, value=spent.value * self.unit_s)
        if buckets and float("inf") not in buckets:
            yield f"{self.name} has no bucket +Inf among its {len(buckets):,}, so no quantile can be computed of it"
            return
        bounds = Latencies(self.latency_within_s, self.latency_share, self.outliers)
        found = []
        for name, window in windows.items():
            alone = undisturbed(history, window)
            if why := misread(buckets, total, spent, window, rows[mine], rows[~whole], bounds, alone):
                found.append(f"{name}: {why}")
        yield from found[:1]
        if others := [one.split(":")[0] for one in found[1:]]:
            yield f"the same in {listed(others)}"

    def _flight(self, history: History, some: list[Target], series: list[Series], rows: np.ndarray) -> Result:
        """A gauge of what is in flight."""
        seen = flight(some, series, rows)
        calm = [w for name in self.phases if (w := history.phase(name)) and undisturbed(history, w)]
        wrong = list(misstated(self.name, seen, rows, calm))
        figures = {"measured": float(seen.value[-1]), "bound": float(seen.most[-1]), "unit": "requests"}
        if wrong:
            remedy = f"see where the service changes {self.name}: on each way out of a request, by an error, too"
            evidence = tuple(Reference("sample", self.name, at) for _, at in wrong)
            return self.result(Verdict.FAIL, "; ".join(why for why, _ in wrong), remedy, evidence=evidence, **figures)
        reason = f"{self.name} was {seen.value[-1]:g} at the last scrape, bound {seen.most[-1]:g}, and at most "
        reason += f"{seen.value.max():g} at {len(seen.at):,} scrapes, as what was in flight explains"
        return self.result(Verdict.PASS, reason, **figures)


def _is_status(text: str) -> bool:
    return len(text) == 3 and text[0] in "12345" and (text[1:].isdigit() or text[1:] == "xx")


def _examples(part: Part, window: Window) -> list[Reference]:
    """Some requests that were counted wrong, or among which some were."""
    mine = part.surely[(part.surely["sent"] >= window.start) & (part.surely["done"] <= window.end)][:3]
    found = [Reference("row", row["request_id"].decode(), float(row["done"])) for row in mine if row["request_id"]]
    return [*found, Reference("sample", part.selector, window.start, window.end)]
