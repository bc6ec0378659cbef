"""The answers of a run with their classes: which differ from what the same input got alone, and where they were given.

An input is one by its number (`picture` of its row). Its reference is what it got alone, before the load. Where it was
not asked alone, or only then got the wrong class, it is the class that it got most often, and the median of the
probabilities with that. Where the golden answers to one input differ among themselves (of replicas, say), it is the
same of those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.checks.effect import effect
from harness.checks.evidence import restarted, restarts
from harness.checks.view import STEADY
from harness.history import GOLDEN, History, Outcome, Window
from harness.units import count, duration, listed

ANSWER = np.dtype(
    [
        ("input", "<i8"),  # place among the inputs, -1 where nobody said which it was
        ("intended", "<f8"),
        ("sent", "<f8"),
        ("done", "<f8"),
        ("probability", "<f4"),
        ("expected", "i1"),
        ("predicted", "i1"),
        ("place", "<i2"),
        ("generator", "<i2"),
        ("row", "<i8"),
    ]
)
PLACES_SHOWN = 4
BEGINNING = 10  # answers, all wrong, that say that the service was not ready yet
UNDONE_WITHIN_S = 1.0  # what breaks a process from inside looks 20 times a second whether it is over
ROUNDING = 1e-6  # of a probability as a row holds it


class Place(NamedTuple):
    """Where answers were given: alone, in a phase, or in which part of an experiment."""

    said: str  # "steady", "under server-hang", ...
    experiment: str = ""
    faulty: bool = False  # its fault is there, or was


ALONE, BETWEEN = Place("alone"), Place("between the phases")


@dataclass(frozen=True)
class Answers:
    """All answers of a run that hold a class, in order of their generators and rows."""

    rows: np.ndarray  # ANSWER
    places: Sequence[Place]
    inputs: np.ndarray  # their numbers
    ids: Sequence[np.ndarray]  # of each generator, the request id of each row
    generators: Sequence[str]
    labelled: int  # complete answers to inputs whose class is known, whether or not it could be read in them
    unread: int  # of these, those in which nobody read it

    @classmethod
    def read(cls, history: History, wrong_in: Sequence[str] = ()) -> Answers:
        """Those since the golden answers were taken; where none were, since the first phase began. wrong_in: the
        experiments whose faults make answers wrong: none that was given under those is among them."""
        since, places, spans = _since(history), [ALONE, BETWEEN], []
        for window, place in _stretches(history):
            places.append(place)
            spans.append((window, len(places) - 1))
        parts, numbers, ids, names, labelled, unread = [], [], [], [], 0, 0
        for name, rows in history.rows.items():
            good = (rows["outcome"] == Outcome.OK) & (rows["status"] >= 200) & (rows["status"] < 300)
            complete = (good | (rows["outcome"] == Outcome.NOT_READ)) & (rows["intended"] >= since)
            for fault in filter(None, (effect(history, experiment) for experiment in wrong_in)):
                over = np.inf if fault.over is None else fault.over + UNDONE_WITHIN_S
                complete &= (rows["done"] < fault.start) | (rows["intended"] >= over)
            labelled += int(np.count_nonzero(complete & (rows["expected"] >= 0)))
            unread += int(np.count_nonzero(complete & (rows["expected"] >= 0) & ~(good & (rows["predicted"] >= 0))))
            which = np.flatnonzero(complete & good & (rows["predicted"] >= 0))
            part = np.zeros(len(which), ANSWER)
            for field in ("intended", "sent", "done", "probability", "expected", "predicted"):
                part[field] = rows[field][which]
            part["generator"], part["row"], part["place"] = len(names), which, 0 if name == GOLDEN else 1
            for window, place in spans if name != GOLDEN else ():
                begun = (part["intended"] >= window.start) | (places[place].faulty & (part["done"] >= window.start))
                part["place"][begun & (part["intended"] < window.end)] = place
            parts.append(part)
            numbers.append(rows["picture"][which])
            ids.append(rows["request_id"])
            names.append(name)
        all_rows = np.concatenate(parts) if parts else np.empty(0, ANSWER)
        inputs, at = np.unique(np.concatenate(numbers) if numbers else np.empty(0, "<u8"), return_inverse=True)
        unknown = len(inputs) > 0 and inputs[0] == 0
        all_rows["input"] = at.ravel() - unknown
        return cls(all_rows, places, inputs[int(unknown) :], ids, names, labelled, unread)

    def of(self, generator: str) -> np.ndarray:
        """Which rows are those of a generator."""
        return np.isin(self.rows["generator"], [i for i, name in enumerate(self.generators) if name == generator])

    def where(self, which: np.ndarray, of: np.ndarray) -> str:
        """How many there are in each place, of how many: "steady 512 of 5,113 and under server-hang 3 of 12"; of many
        places those with the most."""
        some = np.bincount(self.rows["place"][which], minlength=len(self.places))
        every = np.bincount(self.rows["place"][of], minlength=len(self.places))
        there = sorted(np.flatnonzero(some), key=lambda i: -some[i])
        said = [f"{self.places[i].said} {some[i]:,} of {every[i]:,}" for i in sorted(there[:PLACES_SHOWN])]
        if rest := there[PLACES_SHOWN:]:
            said.append(f"{sum(some[rest]):,} of {sum(every[rest]):,} in {len(rest)} more places")
        return listed(said)

    def id_of(self, row: int) -> str:
        """The request id of a row."""
        answer = self.rows[row]
        return bytes(self.ids[answer["generator"]][answer["row"]]).decode("ascii", "replace")


@dataclass(frozen=True)
class References:
    """The class and probability that each input is held to, and to which of the answers: of each input and row."""

    label: np.ndarray  # of each input
    probability: np.ndarray
    alone: np.ndarray  # whether it is what the input got alone
    row: np.ndarray  # one answer that is like it
    expected: np.ndarray  # the class that it is known to have, -1 unknown

    @classmethod
    def of(cls, answers: Answers) -> References:
        """Of each input of a run."""
        known = np.flatnonzero(answers.rows["input"] >= 0)
        rows = answers.rows[known]
        golden, n = rows["place"] == 0, len(answers.inputs)
        alone = np.zeros(n, bool)
        alone[rows["input"][golden]] = True
        expected = np.full(n, -1, np.int16)
        expected[rows["input"][::-1]] = rows["expected"][::-1]
        label, like = cls._usual(rows, np.flatnonzero(golden | ~alone[rows["input"]]), n)
        later = np.flatnonzero(~golden | (np.bincount(rows["input"][~golden], minlength=n)[rows["input"]] == 0))
        otherwise, like_otherwise = cls._usual(rows, later, n)
        lapse = (expected >= 0) & (label != expected) & (otherwise == expected)
        label, like = np.where(lapse, otherwise, label), np.where(lapse, like_otherwise, like)
        return cls(label, rows["probability"][like], alone & ~lapse, known[like], expected)

    @staticmethod
    def _usual(rows: np.ndarray, candidates: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each input the most frequent class among some rows, and the one of them with that class and the median
        probability."""
        some = rows[candidates]
        key = some["input"] * 256 + some["predicted"]
        kinds, times = np.unique(key, return_counts=True)
        order = np.lexsort((-times, kinds // 256))  # of each input its most frequent class first
        _, first = np.unique(kinds[order] // 256, return_index=True)
        label = (kinds[order][first] % 256).astype(np.int16)
        like = np.flatnonzero(some["predicted"] == label[some["input"]])
        like = like[np.lexsort((some["probability"][like], some["input"][like]))]
        begin = np.searchsorted(some["input"][like], np.arange(n))
        end = np.searchsorted(some["input"][like], np.arange(n), "right")
        numbers = np.add.reduceat(~np.isnan(some["probability"][like]), begin) if n else np.empty(0, int)
        middle = like[begin + np.where(numbers > 0, (numbers - 1) // 2, (end - begin - 1) // 2)]
        return label, candidates[middle]


def stated(probability: float) -> str:
    """A probability in a sentence, as an addition to its class."""
    if np.isnan(probability):
        return ""
    return f" ({float(probability):.6g})" if np.isfinite(probability) else " (no number)"


def under_faults(answers: Answers, which: np.ndarray) -> str:
    """The experiment under whose fault, or after it, all of them were given; empty where some were given elsewhere."""
    places = [answers.places[i] for i in np.unique(answers.rows["place"][which])]
    found = {place.experiment for place in places}
    return found.pop() if len(found) == 1 and all(place.faulty for place in places) else ""


def changed_since(history: History, answers: Answers, different: np.ndarray) -> str:
    """Since when all answers to the inputs concerned differ, and what happened there; empty where there is no such
    moment: before it none differs, from it on all do."""
    rows = answers.rows
    concerned = np.isin(rows["input"], np.unique(rows["input"][different]))
    golden = rows["place"] == 0
    first = float(rows["done"][different].min())
    before, after = concerned & ~golden & (rows["done"] < first), concerned & ~golden & (rows["intended"] >= first)
    if not before.any() or not after.any() or np.count_nonzero(different & after) < 0.99 * np.count_nonzero(after):
        return ""
    what = [(e.at, f"the restart of {restarted(e)}") for e in restarts(history)]
    what += [
        (e.at, f"the fault {e.name} of {e.detail.get('experiment')} began")
        for e in history.of("fault")
        if e.detail.get("edge") == "start" and not e.detail.get("sham")
    ]
    last = max((at for at, _ in what if at <= first), default=None)
    # what happened since the last answer that was as it should be: nothing else can be the reason
    if last is None or last < float(rows["intended"][before & ~different].max(initial=-np.inf)) - 1:
        return "" if last is None else "from some moment on"
    return f"since {next(said for at, said in what if at == last)}"


def until(answers: Answers, different: np.ndarray) -> str:
    """Until when all answers to the inputs concerned differ; empty where there is no such moment in the load: up to it
    all do, and from it on none does."""
    rows = answers.rows
    concerned = np.isin(rows["input"], np.unique(rows["input"][different]))
    last = float(rows["intended"][different].max())
    early, later = concerned & (rows["intended"] <= last), concerned & (rows["intended"] > last)
    if not later.any() or not (early & (rows["place"] != 0)).any():
        return ""
    if np.count_nonzero(early) < BEGINNING or np.count_nonzero(early & different) < 0.99 * np.count_nonzero(early):
        return ""
    return f"until {duration(last - float(rows['intended'].min()))} after the first request, and not since"


def beside(history: History, answers: Answers, different: np.ndarray, equal: np.ndarray) -> str:
    """How many requests were in flight beside those that differ, where that is many more than beside the others."""
    every = [rows for rows in history.rows.values() if len(rows)]
    sent = np.concatenate([rows["sent"] for rows in every])
    went = ~np.isnan(sent)
    begun = np.sort(sent[went])
    ended = np.sort(np.concatenate([rows["done"] for rows in every])[went])

    def others(which: np.ndarray) -> float:
        at = answers.rows["done"][which]
        in_flight = np.searchsorted(begun, at, "left") - np.searchsorted(ended, at, "left")
        return float(np.median(in_flight)) - 1 if len(at) else 0.0

    many, few = others(different), others(equal)
    return f"; in flight beside them {many:.0f} others (median), beside the equal ones {few:.0f}" * (
        many >= 4 and many >= 2 * few
    )


def _since(history: History) -> float:
    taken = [e.detail.get("since", e.at) for e in history.of("load", "golden")]
    begun = [e.at for e in history.of("run", "phase") if e.detail.get("edge") == "begin"]
    return max(taken) if taken else min(begun, default=-np.inf)


def _stretches(history: History) -> Iterator[tuple[Window, Place]]:
    """The phases that were carried out, those of experiments in parts."""
    for name in dict.fromkeys(e.detail.get("phase", "") for e in history.of("run", "phase")):
        window = history.phase(name)
        if window is None:
            continue
        if name == STEADY or (found := effect(history, name)) is None:
            yield window, Place(name, "" if name == STEADY else name)
            continue
        over = window.end if found.over is None else min(found.over, window.end)
        sham = any(e.detail.get("sham") for e in history.of("fault", within=window))
        yield Window(window.start, found.start), Place(f"before the fault of {name}", name)
        yield Window(over, window.end), Place(f"after the fault of {name}", name, not sham)
        yield Window(found.start, over), Place(f"under {name}", name, not sham)


def examples(answers: Answers, references: References, which: np.ndarray) -> tuple[str, list[int]]:
    """One input in words, what it got and what it is held to, and the rows that show it and others."""
    rows = answers.rows
    at = np.flatnonzero(which)
    inputs, times = np.unique(rows["input"][at], return_counts=True)
    most = int(inputs[np.argmax(times)])
    mine = at[rows["input"][at] == most]
    others = at[np.unique(rows["input"][at], return_index=True)[1]]
    said = f"{len(inputs):,} of {count(len(answers.inputs), 'input')}" if len(inputs) > 1 else ""
    return said, [int(mine[0]), *(int(i) for i in others if i != mine[0])]
