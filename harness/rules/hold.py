"""A recorded fault made to last: what the record shows while the fault is at work is repeated, so that rules over hours
and days can be put to it.

Repeated is a plateau, a stretch within the latter half of the fault: gauges and states as they were, counters by what
they grew there, moments that are set again and again as far from the clock as they were. A gauge that is named as
growing goes on with its slope instead, and never below zero. After that the record goes on as it was, to the end of the
fault and the recovery; what was recorded last is repeated in the same way where a rule needs longer to resolve.

Whether the effect is steady is not judged by its figures but by what comes of them: the rules are asked with either
half of the plateau, and both must agree (harness/rules/replay.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import HarnessError

FEWEST_SLOTS = 4  # production scrapes in each half of a plateau: fewer are no state that could last
CONCORDANT = 0.8  # of the pairs of readings that differ, those in order of time less the others: how surely one grows
APART = 2.0  # the most that the slopes of a plateau's halves may differ by, as a factor


@dataclass(frozen=True)
class Repeat:
    """Slots of a record that come again after the last of them, `added` slots in all."""

    first: int
    end: int  # the first slot that is no longer of it
    added: int


@dataclass(frozen=True)
class Hold:
    """What is repeated of a record's slots, and what grows."""

    slots: int  # of the record
    repeats: tuple[Repeat, ...]  # in order of time; of the fault, then of the recovery
    steady: tuple[int, int]  # the whole plateau, first slot and end
    growing: frozenset[str] = frozenset()  # metrics that go on with their slope

    @property
    def length(self) -> int:
        """How many slots the held record has."""
        return self.slots + sum(repeat.added for repeat in self.repeats)

    @property
    def source(self) -> np.ndarray:
        """For each slot of the held record the one of the record that it shows."""
        parts, at = [], 0
        for repeat in self.repeats:
            again = repeat.first + np.arange(repeat.added) % (repeat.end - repeat.first)
            parts += [np.arange(at, repeat.end), again]
            at = repeat.end
        return np.concatenate([*parts, np.arange(at, self.slots)])

    def gauge(self, values: np.ndarray, slope: float = 0.0) -> np.ndarray:
        """A gauge held; `slope` is what it grows by from slot to slot while the fault lasts."""
        source = self.source
        held = values[source]
        if slope:
            since = np.where(source < self.steady[1], np.arange(len(source)) - source, 0)
            held = held + slope * since
            if np.nanmin(values) >= 0:
                held = np.maximum(held, 0.0)
        return held

    def counter(self, present: np.ndarray, values: np.ndarray) -> np.ndarray:
        """A counter held, by what it grew from slot to slot; a reset in the plateau comes again as one."""
        there = np.flatnonzero(present)
        before = np.append(np.nan, values[there][:-1])
        reset, step = np.zeros(len(values), bool), np.zeros(len(values))
        reset[there] = ~(values[there] >= before)  # also the first, which nothing comes before
        step[there] = np.where(reset[there], 0.0, values[there] - np.nan_to_num(before))
        source = self.source
        at = np.arange(len(source))
        last = np.maximum.accumulate(np.where(reset[source], at, 0))  # where its present life began
        grown = np.cumsum(step[source])
        return values[source[last]] + grown - grown[last]

    def moment(self, present: np.ndarray, values: np.ndarray, a_slot: float) -> np.ndarray:
        """A moment held: each that is set in the record is as long after it in a repeat. a_slot: of its units."""
        there = np.flatnonzero(present)
        new = np.zeros(len(values), bool)
        new[there] = np.append(True, values[there][1:] != values[there][:-1])
        source = self.source
        at = np.arange(len(source))
        last = np.maximum.accumulate(np.where(new[source], at, there[0]))
        return values[source[last]] + (last - source[last]) * a_slot

    def slope(self, metric: str, present: np.ndarray, values: np.ndarray) -> float:
        """What a gauge grows by from slot to slot in the plateau, 0 where it does not change. Raises HarnessError where
        it does, but not steadily."""
        first, end = self.steady
        at = np.flatnonzero(present[first:end]) + first
        seen = values[at]
        if len(at) < 2 * FEWEST_SLOTS or np.ptp(seen) == 0:
            return 0.0
        order = np.sign(seen[None, :] - seen[:, None])[np.triu_indices(len(seen), 1)]
        order = order[order != 0]
        half = len(at) // 2
        slopes = [float(np.polyfit(at[part], seen[part], 1)[0]) for part in (slice(half), slice(half, None))]
        alike = slopes[0] * slopes[1] > 0 and max(map(abs, slopes)) <= APART * min(map(abs, slopes))
        if abs(order.mean()) < CONCORDANT or not alike:
            said = f"from {seen[0]:g} to {seen[-1]:g}, between {seen.min():g} and {seen.max():g}"
            raise HarnessError(f"{metric} is to go on growing, and in the record it does not grow steadily ({said})")
        return float(np.polyfit(at, seen, 1)[0])


def holds(
    slots: int, fault: tuple[int, int], after: int | None, hold_slots: int, rest_slots: int, growing: frozenset[str]
) -> tuple[Hold, Hold]:
    """A record held by either half of its plateau. fault: the first slot of the fault, and the first that is no longer
    wholly in it. after: the first after its effect. hold_slots: for how many the fault is to last, rest_slots: how many
    are to follow the effect. Raises HarnessError where the fault was too short."""
    began, end = fault
    first = began + (end - began) // 2
    middle = first + (end - first) // 2
    if middle - first < FEWEST_SLOTS:
        needed = 4 * FEWEST_SLOTS
        raise HarnessError(
            f"the fault lasted {max(0, end - began)} scrapes, and nothing shorter than {needed} shows a steady effect "
            "that could be held"
        )
    rest = []
    if after is not None and (slots - after) // 2 >= FEWEST_SLOTS and rest_slots > slots - after:
        rest = [Repeat(after + (slots - after) // 2, slots, rest_slots - (slots - after))]
    added = max(0, hold_slots - (end - began))
    of_either = [Repeat(*half, added) for half in ((first, middle), (middle, end))]
    either = [Hold(slots, (repeat, *rest), (first, end), growing) for repeat in of_either]
    return either[0], either[1]
