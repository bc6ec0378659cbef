"""Which defects share a gate: those that disturb each other in nothing, and that ask for the same load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from defect import EVERYTHING, NOTHING, Defect, Gate, union

EXPERIMENTS_AT_MOST = 3  # in one gate: each takes half a minute
DEFECTS_AT_MOST = 14


@dataclass(frozen=True)
class Group:
    """The defects of one gate."""

    gate: Gate
    defects: tuple[Defect, ...]

    def with_(self, defect: Defect) -> Group | None:
        """With one more; None where it does not go with these."""
        gate = union(self.gate, defect.gate)
        if (
            len(self.defects) == DEFECTS_AT_MOST
            or len(gate.experiments) > EXPERIMENTS_AT_MOST
            or (self.gate.arrivals, self.gate.scenario) != (defect.gate.arrivals, defect.gate.scenario)
            or any(_disturb(defect, other) for other in self.defects)
        ):
            return None
        return Group(gate, (*self.defects, defect))


def groups(defects: Iterable[Defect]) -> list[Group]:
    """Every defect that a gate has to see, in as few gates as come of taking them in turn."""
    found: list[Group] = []
    for defect in defects:
        if defect.record:
            continue
        for i, group in enumerate(found):
            if more := group.with_(defect):
                found[i] = more
                break
        else:
            found.append(Group(defect.gate, (defect,)))
    return found


def _disturb(one: Defect, other: Defect) -> bool:
    """Whether one may change what the other is seen by."""
    if one.unseen != other.unseen:  # whatever is red beside what nothing sees would be said to see it
        return True
    if one.ends_the_gate or other.ends_the_gate or EVERYTHING in (one.disturbs, other.disturbs):
        return True
    if NOTHING not in (one.disturbs, other.disturbs) and one.disturbs & other.disturbs:
        return True
    if {(s.check, s.subject) for s in one.seen_by} & {(s.check, s.subject) for s in other.seen_by}:
        return True
    return bool(set(_places(one)) & set(_places(other)))


def _places(defect: Defect) -> Iterator[tuple]:
    """What of the project's files it changes."""
    for seed in defect.seeds:
        for patch in seed.patch:
            yield patch.file, patch.find
        for setting in seed.set:
            yield setting.file, setting.path
