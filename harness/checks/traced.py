"""Traced: each answered request left one whole trace, and its spans say what the answer said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from harness.checks import joined
from harness.checks.check import Check, NoEvidence
from harness.checks.effect import all_broken
from harness.checks.joined import MIX, Truth, lookup
from harness.checks.one_each import MAPPABLE
from harness.checks.view import View
from harness.history import History
from harness.signals import Signal
from harness.units import count, duration, listed, percent
from harness.verdict import Result, Verdict

FROM_OUTSIDE = (2, 5)  # kinds of spans whose parent may be the client's: of a server and of a consumer
APART_S = 0.001  # within which spans that a service times itself agree
LONGER_S = 0.05  # what a span may last longer than its client waited: it ends after the answer was handed over
LONGER_AT_MOST = 0.01  # of requests: a server that others hold up at that moment
REMEDY = "`harness why` shows the spans of a request; see how the service begins, ends and links them"
COPIES_REMEDY = "see whether its exporter sends again what was taken, as after a time-out, or is set up twice"
NONE_REMEDY = "see that the service sends OTLP over HTTP to {otlp}: telemetry.traces.environment in service.yaml"

UNTAKEN_S = 2.5  # before its receiver went: what was sent, and not yet taken


@dataclass(frozen=True)
class Traced(Check):
    """One span of each request that was answered with status 2xx, alone without a parent in its trace; no span whose
    parent never came, or that has the id of another; none before its parent, and none longer than the client waited.
    What is configured: the spans that each request has within its own, and the batch that is linked to it."""

    within_s: float  # before a kill; what was answered since may be lost
    at_most: float  # share of all other answers whose spans may be missing
    maps: tuple[str, ...]  # what service.yaml says where to find in the span of a request
    spans: tuple[str, ...] = ()  # names of spans that each has within its own
    batch: str = ""  # name of the span of what is done for several requests
    request_id: str = "request.id"
    classes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # other statuses than 2xx whose answers leave one
    untimed: tuple[str, ...] = ()  # the experiments whose fault makes the times of what they leave wrong
    kind: ClassVar[str] = "traced"
    subject: ClassVar[str] = "spans"
    timing_independent: ClassVar[bool] = True  # what is missing or wrong is so, however slow everything was
    compares_clocks: ClassVar[bool] = True

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        cls.Parameters.read(parameters, view)
        if (form := view.telemetry.traces) is None:
            return ()
        losses = form.may_lose or view.telemetry.may_lose
        maps = tuple(name for name in MAPPABLE if getattr(form, name, None) is not None)
        return (
            cls(
                losses.within,
                losses.at_most,
                maps,
                form.spans,
                form.batch or "",
                form.request_id,
                view.telemetry.classes,
                form.also,
                tuple(name for name, contract in view.contracts if "times" in contract.may_be_wrong),
            ),
        )

    def judge(self, history: History) -> Result:
        """FAIL with what is missing, twice, without its parent, or not as the answer was."""
        signal = joined.evidence(history.signals.get("span"), history, "span", "spans")
        sent = joined.truth(history, self.within_s, bool(self.classes), self.also)
        # What a receiver does not take is dropped, which is for an alert of the service to say.
        nobody_there = joined.unreceived(history)
        untaken = sent.due & joined.during(sent.rows["done"], nobody_there, UNTAKEN_S)
        sent = replace(sent, lost=sent.lost | untaken)
        if said := joined.nothing_due(sent):
            return self.result(Verdict.PASS, said)
        self._readable(signal)
        signal, copies = _once(signal)
        spans, about = signal.rows, signal.about
        key, own = _keys(spans["trace"], spans["span"])
        parents = _keys(spans["trace"], spans["parent"])[1]
        order = np.argsort(own, kind="stable")
        at = np.minimum(np.searchsorted(own[order], parents), len(own) - 1)
        parent = np.where((spans["parent"] != 0) & (own[order][at] == parents), order[at], -1)
        begun = spans["parent"] == 0  # here, and not continued from whoever asked
        ended = history.of("load", "finished")
        if not ended or any(e.detail.get("traces", True) for e in ended):  # its parent may be a span of the client
            begun |= np.isin(spans["kind"], FROM_OUTSIDE)
        root = (parent < 0) & begun
        gone_with = joined.during(spans["ended"], joined.with_requests(sent.rows, joined.kills(history), self.within_s))
        gone_with |= joined.during(spans["ended"], joined.with_requests(sent.rows, nobody_there, UNTAKEN_S))

        named = np.flatnonzero(spans["request_id"] != b"")
        named = named[np.argsort(~root[named], kind="stable")]  # of several in one trace the one without a parent
        of = joined.rows_of(sent, spans["request_id"][named])
        nobody = named[of < 0]
        nobody = nobody[joined.within_run(history, sent, spans["began"][nobody])]
        rows, first = np.unique(of[of >= 0], return_index=True)
        main = named[of >= 0][first]  # the span of each request that has one
        has = np.zeros(len(sent.rows), bool)
        has[rows] = True
        due = int(np.count_nonzero(sent.due & ~sent.lost))
        missing, gone = sent.due & ~has & ~sent.lost, sent.due & ~has & sent.lost
        there = due - int(np.count_nonzero(missing))
        wrong: list[tuple[str, np.ndarray]] = []

        def found(says: str, which: np.ndarray) -> None:
            """Some requests (positions of rows, or a mask of them) have something wrong."""
            which = np.flatnonzero(which) if which.dtype == bool else which
            if len(which):
                which = np.unique(which)
                what = says if len(which) > 1 else singular(says)
                what = f"{len(which):,} {what}: {joined.by_phase(sent, which)}, as {joined.example(sent, which)}"
                wrong.append((what, which))

        if np.count_nonzero(missing) > self.at_most * due:
            share = percent(self.at_most) if self.at_most else "0"
            share += joined.by_status(sent, missing)
            found(f"of {count(due, 'answer')} left no span (bound {share})", missing)
        traces = _keys(spans["trace"][named[of >= 0]], np.zeros(np.count_nonzero(of >= 0), "<u8"))[0]
        pairs = np.unique(np.stack([of[of >= 0].astype("<u8"), traces]), axis=1) if len(traces) else np.empty((2, 0))
        several = np.unique(pairs[0].astype(np.int64), return_counts=True)
        found("requests are in more than one trace", several[0][several[1] > 1])
        row_of_trace = lookup(key[main], rows)
        mine = row_of_trace(key)  # row of the request whose trace each span is in, -1 for other traces
        judged = (mine >= 0) & ~sent.lost[np.maximum(mine, 0)]
        again = np.zeros(len(spans), bool)
        again[order[1:]] = own[order][1:] == own[order][:-1]
        roots = np.bincount(mine[judged & root & ~again], minlength=len(sent.rows))
        found("requests have more than one span without a parent in their trace", roots > 1)
        found("requests have two spans with one id", mine[again & (mine >= 0)])
        orphans = (parent < 0) & ~root & ~gone_with
        found("requests have a span whose parent never came", mine[orphans & judged])
        problems = [what for what, _ in wrong]
        if len(elsewhere := np.flatnonzero(orphans & (mine < 0))):
            first = "{:016x}{:016x}".format(*spans["trace"][elsewhere[0]])
            what = f"{count(len(elsewhere), 'span')} outside the traces of requests whose parent never came"
            problems.append(f"{what}, as in trace {first}")
        if others := int(np.count_nonzero(again & (mine < 0))):
            problems.append(f"{count(others, 'span')} outside the traces of requests have the id of another")
        before = len(wrong)
        answered = judged & sent.answered[np.maximum(mine, 0)]
        backwards = answered & (spans["ended"] < spans["began"])
        found("requests have a span that ends before it begins", mine[backwards])
        up = np.maximum(parent, 0)
        names = list(about.get("spans", ()))
        within = np.isin(spans["name"], [names.index(name) for name in self.spans if name in names])
        outside = within & (spans["ended"] > spans["ended"][up] + APART_S)  # others may be done in the background
        outside |= spans["began"] < spans["began"][up] - APART_S
        found("requests have a span that is not within its parent", mine[answered & (parent >= 0) & outside])
        untimed = joined.meanwhile(sent, all_broken(history, self.untimed).values(), self.within_s)
        self._long(sent, untimed, spans[main], rows, found)
        for name in self.spans:
            which = np.zeros(len(sent.rows), bool)
            if name in names:
                which[mine[judged & (spans["name"] == names.index(name))]] = True
            found(f"answered requests have no span {name} in their trace", sent.answered & ~sent.lost & has & ~which)
        if self.batch:
            self._linked(sent, signal, names, main, rows, has, found)
        good = sent.answered[rows] & ~sent.lost[rows]
        found("answered requests have a span that says it failed", rows[good & (spans["failed"][main] == 1)])
        for says, which in joined.differing(sent.rows[rows], spans[main], self.maps).items():
            found(f"spans say {says}", rows[which])
        problems += [what for what, _ in wrong[before:]]
        if len(nobody) and not joined.unaccounted(history):
            request = spans["request_id"][nobody[0]].decode(errors="replace")
            problems.append(f"{count(len(nobody), 'span')} for requests that nobody sent, as {request}")
        if broken := about.get("counts", {}).get("without an id"):
            problems.append(f"{count(broken, 'span')} have no valid id of a trace or span")
        if refused := about.get("counts", {}).get("refused"):
            said = listed(list(about.get("refused", ()))[:1])
            problems.append(f"{count(refused, 'message')} had to be refused, the first with {said}")
        if not due:
            raise NoEvidence("every answer came right before a kill", "let the load go on for longer")
        held = f"{there:,} of {count(due, 'answer')} have their span ({percent(there / due)}, bound "
        held += f"{percent(1 - self.at_most)}), of {len(spans):,} spans"
        figures = {"measured": there / due, "bound": 1 - self.at_most, "unit": "share"}
        if sent.lost.any():
            lost = int(np.count_nonzero(sent.lost))
            held += f"; {np.count_nonzero(gone):,} of the {lost:,} {joined.allowed(self.within_s)} are lost (allowed)"
        if copies:
            held += f"; {count(copies, 'span')} came again in a later message, in nothing different"
        if not problems and copies:
            raise NoEvidence(f"whether each span was sent once cannot be said: {held}", COPIES_REMEDY)
        if not problems:
            return self.result(Verdict.PASS, f"{held}, whole and with what was answered", **figures)
        cited = joined.references(sent, "span", *(which for _, which in wrong))
        return self.result(Verdict.FAIL, "; ".join([*problems, held]), REMEDY, evidence=cited, **figures)

    def _readable(self, signal: Signal) -> None:
        """Raises NoEvidence where no span came, or none that could be a request's."""
        spans, about = signal.rows, signal.about
        if not len(spans):
            refused = listed(list(about.get("refused", ()))[:2])
            why = f"; what came was refused with {refused}" if refused else ""
            raise NoEvidence(f"not one span came{why}", NONE_REMEDY)
        names = listed(list(about.get("names", ()))) or "none"
        if not (spans["request_id"] != b"").any():
            why = f"not one of {count(len(spans), 'span')} has the attribute {self.request_id}; they have {names}"
            raise NoEvidence(why, "correct telemetry.traces.request_id in service.yaml")
        lacking = about.get("lacking", {})
        for field in self.maps:
            if lacking.get(field) == int(np.count_nonzero(spans["request_id"] != b"")):
                why = f"not one span of a request has what telemetry.traces.{field} names; other spans have {names}"
                raise NoEvidence(why, f"correct telemetry.traces.{field} in service.yaml")

    def _long(self, sent: Truth, untimed: np.ndarray, spans: np.ndarray, rows: np.ndarray, found: Any) -> None:
        """Spans that say that a request took longer, or came sooner, than its client saw."""
        of = sent.rows[rows]
        judged = sent.answered[rows] & ~sent.lost[rows] & ~np.isnan(of["sent"])
        over = judged & ((spans["ended"] - spans["began"]) > of["done"] - of["sent"] + LONGER_S)
        timed = ~untimed[rows]
        apart = judged & timed & ((spans["began"] < of["sent"] - LONGER_S) | (spans["began"] > of["done"] + LONGER_S))
        at_most = LONGER_AT_MOST * np.count_nonzero(judged)
        if np.count_nonzero(over) > at_most:
            share = f"by {duration(LONGER_S)}, bound {percent(LONGER_AT_MOST)} of them"
            found(f"requests have a span that is longer than their client waited ({share})", rows[over])
        if np.count_nonzero(apart) > at_most:
            off = float((spans["began"] - of["sent"])[apart][0])
            found(f"requests have a span that began when they were not under way (by {off:+.3g} s)", rows[apart])

    def _linked(
        self, sent: Truth, signal: Signal, names: Sequence[str], main: np.ndarray, rows: np.ndarray, has: np.ndarray,
        found: Any,
    ) -> None:  # fmt: skip
        """That each answered request is linked from one batch, and what a batch is linked to has come."""
        spans, links = signal.rows, signal.links
        batches = spans[spans["name"] == names.index(self.batch)] if self.batch in names else spans[:0]
        own = np.sort(_keys(batches["trace"], batches["span"])[1])
        start = _keys(links["trace"], links["span"])[1]
        at = np.minimum(np.searchsorted(own, start), max(0, len(own) - 1))
        links = links[own[at] == start] if len(own) else links[:0]
        target = _keys(links["to_trace"], links["to_span"])[1]
        requests = _keys(spans["trace"][main], spans["span"][main])[1]
        linked = lookup(requests, rows)(target)
        many = np.bincount(linked[linked >= 0], minlength=len(sent.rows))
        due = sent.answered & ~sent.lost & has
        found(f"answered requests are linked from no {self.batch}", due & (many == 0))
        found(f"answered requests are linked from more than one {self.batch}", due & (many > 1))


def singular(says: str) -> str:
    """What is said of several requests or spans, of one."""
    for several, one in (("requests have", "request has"), ("requests are", "request is"), ("spans say", "span says")):
        says = says.replace(several, one, 1)
    return says


def _once(signal: Signal) -> tuple[Signal, int]:
    """Its spans without those that a later message brought again, as an exporter does that missed the reply, and how
    many these are."""
    spans, links = signal.rows, signal.links
    own = _keys(spans["trace"], spans["span"])[1]
    order = np.argsort(own, kind="stable")
    again = order[1:][own[order][1:] == own[order][:-1]]
    if not len(again):
        return signal, 0
    first = order[np.searchsorted(own[order], own[again])]
    same = _content(spans[again]) == _content(spans[first])
    copies = again[same & (spans["place"][again] != spans["place"][first])]
    of_copies = np.isin(_keys(links["trace"], links["span"])[1], own[copies])
    links = np.concatenate([links[~of_copies], np.unique(links[of_copies])])
    return Signal(np.delete(spans, copies), signal.about, links), len(copies)


def _content(spans: np.ndarray) -> np.ndarray:
    """What spans say, in bytes to compare, without when and where they came."""
    said = spans.copy()
    said["received"] = said["place"] = 0
    return said.view(f"V{said.itemsize}")


def _keys(traces: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number of 64 bits for each trace, and for each span within it: of five million the chance that two are equal is
    below 1e-6."""
    with np.errstate(over="ignore"):
        trace = traces[:, 0] * MIX ^ traces[:, 1]
        return trace, (trace * MIX) ^ (trace >> np.uint64(29)) ^ spans
