"""Scrape: production's Prometheus gets the service's metrics, whole and in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import undisturbed
from harness.checks.parameters import Parameters
from harness.checks.view import STEADY, View
from harness.eventlog import Event
from harness.history import WHOLE, History, Window
from harness.parameters import Share
from harness.units import count, duration, percent
from harness.verdict import EVIDENCE_AT_MOST, Reference, Result, Verdict

AS_LONG = 0.95  # of the gate's timeout: such a scrape was cut off by it
CUT_OFF_AT_MOST = 0.02  # of the scrapes of a phase, and one
SERVED_WITHIN_S = 0.5  # of a scrape that failed: a client that got its answer shows that the service lived


@dataclass(frozen=True)
class Scrape(Check):
    """No scrape takes more than its share of production's timeout, none fails while clients are served, and none holds
    what Prometheus cannot take.

    The gate scrapes as often as its time scale asks and can wait no longer than its interval. So at the end of each
    phase every target is scraped once more, with production's timeout; and that `up` was 0 because a scrape took longer
    than the gate waits says nothing of production.
    """

    timeout_s: float = 10.0  # production's
    takes_at_most: float = 0.5  # of that
    samples_at_most: int | None = None  # of one scrape; production's sample_limit
    bytes_at_most: int | None = None  # body_size_limit
    phases: tuple[str, ...] = (STEADY,)
    kind: ClassVar[str] = "scrape"
    subject: ClassVar[str] = "scrapes of the service"

    class Parameters(Parameters):
        takes_at_most: Share = Field(0.5, gt=0)
        samples_at_most: int | None = Field(None, gt=0)
        bytes_at_most: int | None = Field(None, gt=0)

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[Scrape, ...]:
        return (cls(timeout_s=view.scrape_timeout_s, phases=view.phases, **cls.Parameters.read(parameters, view)),)

    def judge(self, history: History) -> Result:
        """FAIL with what is slow, lacking or wrong; INCONCLUSIVE where only the gate's own timeout cut scrapes off."""
        job = history.setting("job")
        about = {"job": job} if job else {}
        ups = history.named("up", **about)
        at, ok = _joined(history, "up", about)
        moments, took = _joined(history, "scrape_duration_seconds", about)
        if not ups or not len(at):
            raise NoEvidence("no scrape of the service is recorded", "see Prometheus' targets and its log")
        good = np.isin(moments, at[ok == 1])
        own = [e for e in history.of("run", "scrape") if self._counts(history, e)]
        if not good.any() and not any(e.detail.get("timed_out") for e in own):
            none = f"none of {count(len(at), 'scrape')} of the service succeeded"
            why, remedy = self._cut_off(history, moments, took, own) or ("", "see Prometheus' targets")
            raise NoEvidence("; ".join(filter(None, (none, why))), remedy)
        slowest = max([*took[good], *(e.detail["took_s"] for e in own)])
        allowed_s = self.takes_at_most * self.timeout_s
        wrong, evidence = [], []
        for reason, reference in [
            *self._slow(slowest, allowed_s, moments[good], took[good], own),
            *_unreadable(own),
            *_dropped(history),
            *self._failing(history, at, ok, moments, took),
            *self._large(history, about),
        ]:
            wrong.append(reason)
            evidence.append(reference)
        figures = {"measured": 1000 * float(slowest), "bound": 1000 * allowed_s, "unit": "ms"}
        size = self._size(history, about)
        if wrong:
            remedy = "make /metrics cheaper and whole: what production cannot scrape, no alert sees"
            evidence = tuple(evidence[:EVIDENCE_AT_MOST])
            return self.result(Verdict.FAIL, "; ".join(wrong), remedy, evidence=evidence, **figures)
        if cut := self._cut_off(history, moments, took, own):
            raise NoEvidence(*cut)
        reason = f"the slowest of {len(at):,} scrapes took {duration(float(slowest))}, bound {duration(allowed_s)} "
        reason += f"({percent(self.takes_at_most)} of production's timeout {duration(self.timeout_s)})"
        return self.result(Verdict.PASS, reason + size, **figures)

    def _counts(self, history: History, scraped: Event) -> bool:
        """Whether nothing was done to the service in the phase at whose end it was scraped."""
        window = history.phase(scraped.detail.get("phase", ""))
        return window is not None and undisturbed(history, window)

    def _slow(
        self, slowest: float, allowed_s: float, moments: np.ndarray, took: np.ndarray, own: list[Event]
    ) -> Iterator[tuple[str, Reference]]:
        if out := [e for e in own if e.detail.get("timed_out")]:
            reason = f"a scrape of {out[0].detail['target']} took longer than production's timeout"
            yield f"{reason}, {duration(self.timeout_s)}", Reference("event", "run scrape", out[0].at)
        elif slowest > allowed_s:
            late = float(moments[np.argmax(took)])
            yield (
                f"a scrape took {duration(float(slowest))}, bound {duration(allowed_s)}: "
                f"{percent(self.takes_at_most)} of production's timeout {duration(self.timeout_s)}",
                Reference("sample", "scrape_duration_seconds", late),
            )

    def _large(self, history: History, about: dict[str, str]) -> Iterator[tuple[str, Reference]]:
        for bound, metric, what in (
            (self.samples_at_most, "scrape_samples_scraped", "samples"),
            (self.bytes_at_most, "scrape_body_size_bytes", "bytes"),
        ):
            at, values = _joined(history, metric, about)
            if bound is None:
                continue
            if not len(values):
                raise NoEvidence(f"{metric} is not recorded", "judge with the version that made the run")
            if values.max() > bound:
                most = int(values.max())
                yield (
                    f"a scrape held {most:,} {what}, bound {bound:,}",
                    Reference("sample", metric, float(at[np.argmax(values)])),
                )

    def _size(self, history: History, about: dict[str, str]) -> str:
        """How large a scrape was, as an addition to a sentence."""
        _, samples = _joined(history, "scrape_samples_scraped", about)
        _, size = _joined(history, "scrape_body_size_bytes", about)
        parts = [f"{int(v.max()):,} {what}" for v, what in ((samples, "samples"), (size, "bytes")) if len(v)]
        return f"; at most {' and '.join(parts)}" if parts else ""

    def _windows(self, history: History) -> dict[str, Window]:
        found = {name: history.phase(name) for name in self.phases}
        return {name: w for name, w in found.items() if w is not None and undisturbed(history, w)}

    def _failing(
        self, history: History, at: np.ndarray, ok: np.ndarray, moments: np.ndarray, took: np.ndarray
    ) -> Iterator[tuple[str, Reference]]:
        """Scrapes that failed at once while clients of the same service were served."""
        waits_s = history.setting("scrape_s", 0.0)
        cut = moments[took >= AS_LONG * waits_s] if waits_s else moments[:0]
        failed = at[(ok == 0) & ~np.isin(at, cut)]
        for name, window in self._windows(history).items():
            mine = failed[(failed >= window.start) & (failed <= window.end)]
            rows = history.requests(window)
            done = np.sort(rows["done"][np.isin(rows["outcome"], WHOLE)])
            near = np.searchsorted(done, mine + SERVED_WITHIN_S) > np.searchsorted(done, mine)
            of = int(np.count_nonzero((at >= window.start) & (at <= window.end)))
            if np.count_nonzero(near) > max(1.0, 0.01 * of):
                why = next((e.detail["last_error"] for e in history.of("run", "scrape") if e.detail["last_error"]), "")
                reason = f"{name}: {np.count_nonzero(near):,} of {count(of, 'scrape')} failed while clients were served"
                yield reason + (f" ({why})" if why else ""), Reference("sample", "up", float(mine[near][0]))
                return

    def _cut_off(
        self, history: History, moments: np.ndarray, took: np.ndarray, own: list[Event]
    ) -> tuple[str, str] | None:
        """That the gate's own timeout ended scrapes of the steady load, which production's would have waited for."""
        waits_s = history.setting("scrape_s", 0.0)
        window = history.phase(STEADY)
        if not waits_s or window is None or self.timeout_s <= waits_s:
            return None
        within = (moments >= window.start) & (moments <= window.end)
        cut = int(np.count_nonzero(within & (took >= AS_LONG * waits_s)))
        if cut <= max(1.0, CUT_OFF_AT_MOST * np.count_nonzero(within)):
            return None
        alone = f"one without hurry took {duration(max(e.detail['took_s'] for e in own))}" if own else "how long is not"
        return (
            f"{cut:,} of {count(int(np.count_nonzero(within)), 'scrape')} took as long as the gate's timeout, "
            f"{duration(waits_s)}, so `up` was 0 although the service was not down; {alone}"
            f"{'' if own else ' known'}, production's timeout is {duration(self.timeout_s)}",
            "make /metrics faster than the gate scrapes, or lower time_scale in gate.yaml",
        )


def _joined(history: History, name: str, about: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """The samples of all series of a metric."""
    series = history.named(name, **about)
    at = np.concatenate([np.asarray(s.at, float) for s in series] or [np.empty(0)])
    return at, np.concatenate([np.asarray(s.value, float) for s in series] or [np.empty(0)])


def _unreadable(own: list[Event]) -> Iterator[tuple[str, Reference]]:
    """What is wrong with what the service exposes."""
    for e in own:
        if e.detail.get("problem") and not e.detail.get("timed_out"):
            yield f"{e.detail['target']}: {e.detail['problem']}", Reference("event", "run scrape", e.at)
            return


def _dropped(history: History) -> Iterator[tuple[str, Reference]]:
    """What Prometheus could not take."""
    if some := history.of("prometheus", "dropped"):
        many = sum(e.detail["samples"] for e in some)
        why = some[0].detail["why"]
        yield f"Prometheus dropped {count(many, 'sample')}: {why}", Reference("event", "prometheus dropped", some[0].at)
