"""Clocks: the wall clock, the monotonic one, Prometheus' and the generator's went alike all through the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import setting
from harness.eventlog import Event
from harness.history import History
from harness.units import count, duration, percent
from harness.verdict import Reference, Result, Verdict

REMEDY = "run again on a machine that is not suspended, and whose clock nobody sets while a gate runs"
FEWEST = 20  # scrapes without which their spacing says nothing
ONE_AFTER_ANOTHER = 1.5  # intervals: what is further apart lacks a scrape, which `recorded` judges


@dataclass(frozen=True)
class Clocks(Check):
    """No clock of the run went faster or slower than the monotonic one by more than a share, or jumped.

    Never FAIL: a clock that is wrong makes every time of the record doubtful, and is no fault of the service.
    """

    off_at_most: float = 0.01
    jump_at_most_s: float = 0.1
    generator_at_most_s: float = 0.75  # its latest request is known with so much delay
    kind: ClassVar[str] = "clocks"
    subject: ClassVar[str] = "the run's clocks"

    def judge(self, history: History) -> Result:
        """PASS with the figures, or INCONCLUSIVE with every reason there is."""
        readings = history.of("run", "clocks")
        if len(readings) < 2:
            why = f"the clocks were read {count(len(readings), 'time')}, 2 needed"
            raise NoEvidence(why, "judge with the version that made the run, or run it to its end")
        lasted_s = readings[-1].detail["monotonic"] - readings[0].detail["monotonic"]
        off, spacing = _wall_s(readings[0].detail, readings[-1].detail), self._spacing(history)
        wrong = [
            *self._wall(readings),
            *self._prometheus(readings),
            *self._generator(history, readings),
            *([] if spacing is None else self._scrapes(history, spacing)),
        ]
        figures = {"measured": round(100 * off / lasted_s, 4) if lasted_s else None, "bound": 100 * self.off_at_most}
        if wrong:
            evidence = (Reference("event", "run clocks", readings[0].at, readings[-1].at),)
            return self.result(
                Verdict.INCONCLUSIVE, "; ".join(wrong), REMEDY, unit="%", evidence=evidence, **figures
            )  # fmt: skip
        reason = f"in {duration(lasted_s)} the wall clock went {duration(abs(off))} off the monotonic one, bound "
        reason += f"{percent(self.off_at_most)} or a jump of {duration(self.jump_at_most_s)}"
        reason += f"; scrapes were {duration(spacing)} apart" if spacing is not None else ""
        return self.result(Verdict.PASS, reason, unit="%", **figures)

    def _wall(self, readings: Sequence[Event]) -> Iterator[str]:
        """Jumps, a clock that runs fast or slow, and times in which the machine did not run."""
        for one, after in pairwise(readings):
            a, b = one.detail, after.detail
            passed_s, off = b["monotonic"] - a["monotonic"], _wall_s(a, b)
            slack_s = a["within_s"] + b["within_s"]
            if abs(off) > min(self.jump_at_most_s, max(0.02, self.off_at_most * passed_s)) + slack_s:
                yield (
                    f"the wall clock went {duration(abs(off))} {'ahead of' if off > 0 else 'behind'} the monotonic one "
                    f"within {duration(passed_s)} of {b['phase']}, bound {percent(self.off_at_most)} or a jump of "
                    f"{duration(self.jump_at_most_s)}"
                )
                return
            asleep_s = b["boot"] - a["boot"] - passed_s
            if asleep_s > self.jump_at_most_s + slack_s:
                yield f"the machine was suspended for {duration(asleep_s)} in {b['phase']}, bound 0"
                return

    def _prometheus(self, readings: Sequence[Event]) -> Iterator[str]:
        """Prometheus' own clock against ours."""
        asked = [e.detail for e in readings if "prometheus_ahead_s" in e.detail]
        far = [d for d in asked if abs(d["prometheus_ahead_s"]) > self.jump_at_most_s + d["asked_for_s"] / 2]
        if far:
            ahead = max((d["prometheus_ahead_s"] for d in far), key=abs)
            yield (
                f"Prometheus' clock was {duration(abs(ahead))} {'ahead' if ahead > 0 else 'behind'} in "
                f"{far[0]['phase']}, bound {duration(self.jump_at_most_s)}"
            )

    def _generator(self, history: History, readings: Sequence[Event]) -> Iterator[str]:
        """The generator's clock against ours: as it read both, and by its latest requests."""
        anchor = readings[0].detail["wall"] - readings[0].detail["monotonic"]
        for e in history.of("load"):
            if clocks := e.detail.get("clocks"):
                theirs, _, monotonic = clocks
                off = theirs - monotonic - anchor
                if abs(off) > self.jump_at_most_s:
                    whose = f"the generator {e.detail.get('generator')}"
                    yield (
                        f"the clock of {whose} was {duration(abs(off))} {'ahead' if off > 0 else 'behind'} when it had "
                        f"{e.name}, bound {duration(self.jump_at_most_s)}"
                    )
                    return
        ended = max((e.at for e in history.of("load", "finished") if e.detail.get("generator") == "load"), default=0)
        ages = [
            e.detail["sent_before_s"] for e in readings if "sent_before_s" in e.detail and e.at < (ended or e.at + 1)
        ]
        if not ages:
            return
        rows = history.requests()
        gap_s = float(rows["intended"][-1] - rows["intended"][0]) / len(rows) if len(rows) else 0.0
        allowed_s = max(self.generator_at_most_s, 3 * gap_s)
        if min(ages) < -self.jump_at_most_s:
            yield (
                f"a request was sent {duration(-min(ages))} in the future by the clock of the generator, bound "
                f"{duration(self.jump_at_most_s)}"
            )
        elif min(ages[len(ages) // 2 :]) - ages[0] > allowed_s:
            behind = min(ages[len(ages) // 2 :]) - ages[0]
            yield (
                f"by the clock of the generator its latest request came later and later, by {duration(behind)} in the "
                f"end, bound {duration(allowed_s)}"
            )

    def _spacing(self, history: History) -> float | None:
        """How far one scrape was from the next, on average; None without enough of them."""
        job = history.setting("job")
        scrape_s = setting(history, "scrape_s")
        gaps = np.concatenate(
            [np.diff(np.asarray(s.at, float)) for s in history.named("up", **({"job": job} if job else {}))]
            or [np.empty(0)]
        )
        gaps = gaps[gaps < ONE_AFTER_ANOTHER * scrape_s]
        return float(gaps.mean()) if len(gaps) >= FEWEST else None

    def _scrapes(self, history: History, spacing: float) -> Iterator[str]:
        """Prometheus scrapes by its own clock as often as its configuration says."""
        scrape_s = setting(history, "scrape_s")
        if abs(spacing / scrape_s - 1) > self.off_at_most:
            off = percent(round(abs(spacing / scrape_s - 1), 4))
            yield (
                f"scrapes were {duration(spacing)} apart by Prometheus' clock, {off} off the interval of "
                f"{duration(scrape_s)}, bound {percent(self.off_at_most)}"
            )


def _wall_s(a: dict[str, Any], b: dict[str, Any]) -> float:
    """By how much the wall clock went ahead of the monotonic one from one reading to another."""
    return (b["wall"] - a["wall"]) - (b["monotonic"] - a["monotonic"])
