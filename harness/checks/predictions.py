"""Predictions: the classes are right, and an input gets the same answer all through the run, whatever happens to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from harness import stats
from harness.checks import same_answers, samples
from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import NOT_READ_AT_MOST, phase
from harness.checks.parameters import Parameters, known
from harness.checks.same_answers import ROUNDING, Answers, References, stated
from harness.checks.view import STEADY, View
from harness.history import GOLDEN, History, Outcome, Window
from harness.parameters import Share
from harness.units import count, listed, percent
from harness.verdict import EVIDENCE_AT_MOST, Reference, Result, Verdict

GUESSING = 0.5  # with more inputs of a class wrong than this share, the model guesses or worse
ONE_CLASS = 3  # inputs of the other classes, all of them wrong, that say that a model knows one class only
UNANSWERED_AT_MOST = 0.1  # of the golden questions
TELLING = 7  # inputs, all of them right, that tell a model from one that guesses between two: 0.5 ** 7 < 1 %
SIDE = 5  # inputs on each side of an even probability that say whose probability it is
LOAD = "load"
MODEL_REMEDY = "compare the model, its weights and preprocessing with those of a good run; the rows named hold examples"
CLOSE_REMEDY = "look at the answers that are wrong, or ask for a smaller share: predictions in gate.yaml"
SAME_REMEDY = (
    "send that input alone and beside others and compare: something that requests share, a batch, a cache, a buffer or "
    "a replica, changes the answer"
)
FAULT_REMEDY = "an answer that cannot be right must not be sent: answer 503 while what it needs is not there"
UNTIL_REMEDY = "see what is not there yet when the service begins to answer (weights, a warm-up); be ready only then"
SINCE_REMEDY = "compare what is loaded then (weights, settings, preprocessing) with what was loaded before"


class Finding(NamedTuple):
    """One thing that is wrong."""

    reason: str
    remedy: str
    measured: float
    bound: float
    unit: str
    rows: Sequence[int] = ()  # of the answers that show it
    experiment: str = ""


@dataclass(frozen=True)
class Predictions(Check):
    """What the service answers with a good status, from the rows of all generators, in all phases.

    Answers count for whether an input gets the same answer; distinct inputs count for how good the model is. A load
    asks few inputs again and again: 5,000 answers about 40 pictures are 40 samples of what the model knows, and 5,000
    of whether the service says it each time. So:

    - right_at_least, of the labelled answers of the steady load: what is stated of these very inputs. FAIL where an
      exact (Clopper-Pearson) bound at 99 % confidence lies below it, PASS where one lies above, else INCONCLUSIVE.
      recall: the same of each class.
    - accuracy, of the model's card, is of inputs nobody chose, so it is held against the distinct labelled inputs of
      the run, where right_at_least is not given: FAIL where so many wrong ones would be seen once in a hundred runs;
      INCONCLUSIVE with fewer than 7. Few inputs refute such a figure and never prove it. The inputs of all generators
      together, and of each apart, are held to right_at_least in this way as well.
    - A class none of whose inputs, or significantly less than half, is right is named, whatever else is asked for.
    - The same input gets the same class, and the same probability to `within`, as it got alone (same_answers.py). Where
      the two classes lie on either side of it, a probability that is even to `within` may get either.
    - Where the inputs asked alone show that a probability is that of one of two classes, no class contradicts it: an
      answer with the other class has no higher probability than one with that class.
    - Answers given under a fault that is there to make them wrong (`may_be_wrong` in its contract) are not judged.
    - A probability lies from 0 to 1, and is there where the others of the same generator have one.

    Rows that do not say which input they are about (older ones, and requests without a body) are judged by class only:
    a phase of an experiment must not be significantly worse than the steady load.
    """

    right_at_least: float | None = None
    recall: tuple[tuple[str, float], ...] = ()  # of a class, by its name
    within: float = 0.001
    accuracy: tuple[float, str] | None = None  # that the model's card states, and its place
    classes: tuple[str, ...] = ()  # their names, by their numbers
    steady: bool = True  # there is a steady load
    wrong_in: tuple[str, ...] = ()  # the experiments whose fault makes answers wrong, as their contracts say
    kind: ClassVar[str] = "predictions"
    subject: ClassVar[str] = "predictions"
    timing_independent: ClassVar[bool] = True  # a wrong answer is one, however slow everything was

    class Parameters(Parameters):
        right_at_least: Share | None = Field(None, gt=0, lt=1)  # all of them no number of requests can prove
        recall: dict[str, Share] = Field(default_factory=dict)
        within: Share = 0.001

        @model_validator(mode="after")
        def _provable(self) -> Any:
            for name, share in self.recall.items():
                if not 0 < share < 1:
                    raise ValueError(f"recall: {name}: must be above 0 and below 100 %")
            return self

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        given = cls.Parameters.model_validate({} if parameters is None else parameters, context=view)
        names = view.telemetry.classes
        if given.recall and not names:
            raise ValueError("recall needs the names of the classes; say telemetry.classes in service.yaml")
        recall = tuple((known("class", name, names), share) for name, share in given.recall.items())
        about = {"right_at_least": given.right_at_least, "within": given.within}
        wrong_in = tuple(name for name, contract in view.contracts if "answers" in contract.may_be_wrong)
        return (cls(recall=recall, accuracy=view.accuracy, classes=names, wrong_in=wrong_in, **about),)

    def without(self, phase: str) -> Self | None:
        return replace(self, steady=self.steady and phase != STEADY)

    def attributable(self, history: History) -> bool:
        """A wrong answer is one, however late the request was."""
        return True

    def judge(self, history: History) -> Result:
        """FAIL with everything that is wrong, the likeliest cause first."""
        window = phase(history, STEADY) if self.steady else None
        if not any(map(len, history.rows.values())):
            raise NoEvidence("no request is recorded", "see the generator's log")
        answers = Answers.read(history, self.wrong_in)
        references = References.of(answers)
        findings = [
            *self._one_class_only(answers, references),
            *self._no_probability(answers),
            *self._differing(history, answers, references),
            *self._contradicting(answers, references),
            *self._too_few_right(history, answers, references, window),
            *self._worse_than_steady(answers),
        ]
        if findings:
            return self._failed(answers, findings, self._steady(answers, window))
        self._refuse_little(history, answers, references, window)
        return self._passed(history, answers, references, window)

    def _failed(self, answers: Answers, findings: Sequence[Finding], labelled: np.ndarray) -> Result:
        first = findings[0]
        where = f"in {STEADY} " if self.steady else ""
        shares = [where + self._shares_right(answers.rows[labelled])] if len(labelled) else []
        rows = dict.fromkeys(row for finding in findings for row in finding.rows)
        shown = [Reference("row", answers.id_of(r), float(answers.rows["intended"][r])) for r in rows]
        more = {"experiment": first.experiment} if first.experiment else {}
        return self.result(
            Verdict.FAIL,
            "; ".join([*(finding.reason for finding in findings), *shares]),
            first.remedy,
            measured=first.measured,
            bound=first.bound,
            unit=first.unit,
            evidence=tuple(shown[:EVIDENCE_AT_MOST]),
            **more,
        )

    # what may be wrong

    def _one_class_only(self, answers: Answers, references: References) -> Iterator[Finding]:
        """A model that answers one class whatever it is shown, or knows nothing of one."""
        right, of, unit = self._right_by_class(answers, references)
        labels = np.unique(answers.rows["predicted"][answers.rows["expected"] >= 0])
        least = ONE_CLASS if unit == "input" else 10 * ONE_CLASS
        if len(labels) == 1 and sum(n for label, n in of.items() if label != labels[0]) >= least:
            wrong = {label: n for label, n in of.items() if label != labels[0]}
            every = [f"{self._named(label)} ({count(n, unit)})" for label, n in wrong.items()]
            rows = np.flatnonzero(np.isin(answers.rows["expected"], list(wrong)))
            reason = f"every answer is {self._named(labels[0])}, those to inputs of {listed(every)} too"
            yield Finding(reason, MODEL_REMEDY, 0.0, GUESSING, "share", rows.tolist()[:3])
            return
        for label, n in of.items():
            if stats.exceeds_significantly(n - right[label], n, GUESSING):
                reason = f"of class {self._named(label)} {right[label]:,} of {count(n, unit)} are right"
                rows = np.flatnonzero((answers.rows["expected"] == label) & (answers.rows["predicted"] != label))
                reason += f", significantly fewer than half: {self._instead(answers, rows)}"
                yield Finding(reason, MODEL_REMEDY, right[label] / n, GUESSING, "share", rows.tolist()[:3])

    def _no_probability(self, answers: Answers) -> Iterator[Finding]:
        """Probabilities outside 0 to 1, or missing where others of the same generator have one."""
        p, every = answers.rows["probability"], np.ones(len(answers.rows), bool)
        with np.errstate(invalid="ignore"):
            outside = (p < -ROUNDING) | (p > 1 + ROUNDING)
        having = [i for i in range(len(answers.generators)) if np.any(~np.isnan(p[answers.rows["generator"] == i]))]
        missing = np.isnan(p) & np.isin(answers.rows["generator"], having)
        for which, what in (
            (outside, "hold a probability that is none from 0 to 1"),
            (missing, "hold no probability, which others do"),
        ):
            if which.any():
                one = int(np.flatnonzero(which)[0])
                n = int(np.count_nonzero(which))
                reason = f"{n:,} of {count(len(p), 'answer')} {what} (bound 0): {answers.where(which, every)}"
                reason += f"; {self._input(answers, one)} {self._answer(answers, one)}"
                remedy = "mend how the probability is computed and written: log the network's raw output for that input"
                yield Finding(reason, remedy, n, 0, "answers", [one], same_answers.under_faults(answers, which))

    def _differing(self, history: History, answers: Answers, references: References) -> Iterator[Finding]:
        """Answers other than the input's reference."""
        classes, probabilities, compared = self._differences(answers, references)
        for which, what in ((classes, "class"), (probabilities & ~classes, "probability")):
            if not which.any():
                continue
            rows, n = answers.rows, int(np.count_nonzero(which))
            if what == "probability" and classes.any():  # the same cause as a rule
                reason = f"{n:,} further ones have another probability (by more than {self.within:g})"
                yield Finding(reason, SAME_REMEDY, n, 0, "answers")
                continue
            wrong = which & (rows["expected"] >= 0) & (rows["predicted"] != rows["expected"])
            said = "wrong with status 200" if what == "class" and np.count_nonzero(wrong) >= n / 2 else ""
            fault = same_answers.under_faults(answers, which)
            since = same_answers.changed_since(history, answers, which)
            until = "" if since or fault else same_answers.until(answers, which)
            lead = " ".join(filter(None, (said, since or until or (fault and f"under {fault}"))))
            some, shown = same_answers.examples(answers, references, which)
            one = shown[0]
            same, place = rows["input"] == rows["input"][one], rows["place"] == rows["place"][one]
            mine, ours = np.count_nonzero(which & same & place), int(np.count_nonzero(same & place))
            reference = int(references.row[rows["input"][one]])
            how = "alone" if references.alone[rows["input"][one]] else "otherwise"
            usual = "alone" if references.alone[rows["input"][which]].all() else "otherwise"
            bound = "bound 0" if what == "class" else f"by more than {self.within:g}, bound 0"
            reason = (
                f"{n:,} of {count(int(np.count_nonzero(compared)), 'answer')} have another {what} than the same input "
                f"gets {usual} ({bound}): {answers.where(which, compared)}; {self._input(answers, one)} gets "
                f"{self._answer(answers, reference)} {how} and {self._answer(answers, one)} in "
                f"{mine:,} of its {count(ours, 'answer')} {answers.places[rows['place'][one]].said}"
            )
            reason = reason.replace(" alone alone", " alone") + (f"; so with {some}" if some else "")
            reason += same_answers.beside(history, answers, which, compared & ~classes & ~probabilities)
            remedy = SINCE_REMEDY if since else FAULT_REMEDY if fault else UNTIL_REMEDY if until else SAME_REMEDY
            reason = f"{lead}: {reason}" if lead else reason
            yield Finding(reason, remedy, n, 0, "answers", [one, reference, *shown[1:]], fault)

    def _contradicting(self, answers: Answers, references: References) -> Iterator[Finding]:
        """Inputs whose class contradicts their probability, where that is seen to be the probability of one class."""
        p, label = references.probability, references.label
        labels = np.unique(label)
        if len(labels) != 2:
            return
        for other, one in (labels, labels[::-1]):  # is it the probability of `one`?
            low, high = (label == other) & (p < 0.5), (label == one) & (p >= 0.5)
            against = np.count_nonzero((label == other) & (p >= 0.5)) + np.count_nonzero((label == one) & (p < 0.5))
            sides = np.count_nonzero(low & references.alone), np.count_nonzero(high & references.alone)
            if min(sides) < SIDE or against > 0.5 * min(sides):
                continue
            wrong = ((label == other) & (p >= p[high].min())) | ((label == one) & (p <= p[low].max()))
            if wrong.any():
                some = [int(row) for row in references.row[wrong]]
                reason = (
                    f"the class of {count(len(some), 'input')} of {len(label):,} contradicts the probability, which "
                    f"the others show to be that of {self._named(one)} (bound 0): {self._input(answers, some[0])} gets "
                    f"{self._answer(answers, some[0])}"
                )
                remedy = "let the class be decided in one place, from the probability that is sent with it"
                yield Finding(reason, remedy, len(some), 0, "inputs", some)

    def _too_few_right(
        self, history: History, answers: Answers, references: References, window: Window | None
    ) -> Iterator[Finding]:
        """Fewer right classes than are asked for or promised: of the answers, then of the inputs."""
        rows = answers.rows
        for what, which, least in self._claims(history, answers, window):
            n, right = len(which), int(np.count_nonzero(rows["expected"][which] == rows["predicted"][which]))
            if stats.exceeds_significantly(n - right, n, round(1 - least, 9)):
                wrong = which[rows["expected"][which] != rows["predicted"][which]]
                reason = f"{right:,} of {n:,} {what} right ({percent(round(right / n, 4))}, bound {percent(least)})"
                reason += f": {self._instead(answers, wrong)}"
                yield Finding(reason, MODEL_REMEDY, right / n, least, "share", _distinct(rows, wrong))
                return
        least, said = self._of_inputs()
        if least is None:
            return
        labelled = references.expected >= 0
        sets = [("", labelled)]
        for name in answers.generators:
            mine = np.zeros(len(labelled), bool)
            mine[rows["input"][answers.of(name) & (rows["input"] >= 0)]] = True
            sets += [(f" of {name}", labelled & mine)] if name not in (LOAD, GOLDEN) else []
        for whose, which in sets:
            n, right = (
                int(np.count_nonzero(which)),
                int(np.count_nonzero((references.expected == references.label)[which])),
            )
            if stats.exceeds_significantly(n - right, n, round(1 - least, 9)):
                wrong = references.row[which & (references.expected != references.label)]
                reason = f"{right:,} of {count(n, 'input')}{whose} get the right class ({percent(round(right / n, 4))}"
                reason += f", {said}): {self._instead(answers, wrong)}"
                yield Finding(reason, MODEL_REMEDY, right / n, least, "share", wrong.tolist())
                return

    def _worse_than_steady(self, answers: Answers) -> Iterator[Finding]:
        """Where nobody said which input: fewer right classes in a part of an experiment than in the steady load."""
        rows = answers.rows
        judged = (rows["input"] < 0) & (rows["expected"] >= 0) & answers.of(LOAD)
        right = rows["expected"] == rows["predicted"]
        normal = judged & np.isin(rows["place"], [i for i, p in enumerate(answers.places) if p.said == STEADY])
        if not (n := int(np.count_nonzero(normal))):
            return
        few = n - int(np.count_nonzero(normal & right))
        usual = stats.interval(few, n)[1]
        for i, place in enumerate(answers.places):
            here = judged & (rows["place"] == i)
            if not place.experiment or not (m := int(np.count_nonzero(here))):
                continue
            wrong = int(np.count_nonzero(here & ~right))
            if wrong and stats.interval(wrong, m)[0] > usual:
                some = np.flatnonzero(here & ~right)
                reason = (
                    f"wrong with status 200 {place.said}: {wrong:,} of {count(m, 'answer')} have the wrong class, in "
                    f"steady {few:,} of {n:,} (by class only: the rows do not say which input each is about)"
                )
                experiment = place.experiment if place.faulty else ""
                yield Finding(reason, FAULT_REMEDY, wrong / m, usual, "share", some.tolist()[:3], experiment)

    # what is too little to say so

    def _refuse_little(self, history: History, answers: Answers, references: References, window: Window | None) -> None:
        """Raises NoEvidence for what decides nothing, though nothing is seen to be wrong."""
        rows = answers.rows
        if answers.unread > NOT_READ_AT_MOST * answers.labelled:
            raise NoEvidence(
                f"nobody read the class in {answers.unread:,} of {count(answers.labelled, 'answer')} to inputs whose "
                "class is known",
                "define `predicted` in the scenario, as docs/load.md shows",
            )
        asked = [e.detail for e in history.of("load", "golden")]
        golden = history.requests(generator=GOLDEN)
        golden = golden[golden["intended"] >= (asked[-1]["since"] if asked else -np.inf)]
        failed = int(np.count_nonzero(golden["outcome"] != Outcome.OK))
        if asked and asked[-1].get("inputs") and not len(golden):  # of many to a slow service only the first are asked
            raise NoEvidence(
                f"of {count(asked[-1]['inputs'], 'input')} asked alone 0 are recorded, so the answers under load are "
                "compared with nothing",
                "run again; see requests-golden.rows in the run's folder, and whether its disk is full",
            )
        if failed > UNANSWERED_AT_MOST * len(golden):
            raise NoEvidence(
                f"asked alone, {failed:,} of {count(len(golden), 'input')} got no answer (bound "
                f"{percent(UNANSWERED_AT_MOST)}), so their answers under load are compared with nothing",
                "see why the service does not answer one request at a time: its log, and requests-golden.rows",
            )
        for what, which, least in self._claims(history, answers, window):
            n, bad = len(which), int(np.count_nonzero(rows["expected"][which] != rows["predicted"][which]))
            if not n:
                raise NoEvidence(
                    f"no answer to an input whose class is known ({what})", "let the scenario send labelled inputs"
                )
            if not stats.is_proven(bad, n, share := round(1 - least, 9)):
                why, remedy = samples.shortage(bad, n, share, window.length if window else 0, CLOSE_REMEDY)
                said = f"{n - bad:,} of {n:,} {what} right ({percent(round(1 - bad / n, 4))}, bound {percent(least)})"
                raise NoEvidence(f"{said}, but {why}", remedy)
        labelled = int(np.count_nonzero(references.expected >= 0))
        if self.right_at_least is None and self.accuracy and answers.labelled and labelled < TELLING:
            raise NoEvidence(
                f"{count(labelled, 'distinct labelled input')} cannot tell a model of {percent(self.accuracy[0])} "
                f"({self.accuracy[1]}) from one that guesses; {TELLING} can",
                "send more labelled inputs, each in the body of a request, or state what share of these must be right: "
                "predictions: {right_at_least: 97%} in gate.yaml",
            )

    def _passed(self, history: History, answers: Answers, references: References, window: Window | None) -> Result:
        rows = answers.rows
        *_, compared = self._differences(answers, references)
        labelled = self._steady(answers, window)
        parts, figures = [], {}
        if n := len(labelled):
            right = int(np.count_nonzero(rows["expected"][labelled] == rows["predicted"][labelled]))
            figures = {"measured": right / n, "bound": self._of_inputs()[0], "unit": "share"}
            parts.append(self._shares_right(rows[labelled]))
        if compared.any():
            alone = int(np.count_nonzero(references.alone))
            twice = len(np.unique(rows["input"][compared]))
            same = "the same class" if np.isnan(rows["probability"]).all() else f"the same answer (to {self.within:g})"
            many = count(int(np.count_nonzero(compared)), "answer")
            parts.append(f"{count(twice, 'input')}, {alone:,} of them asked alone, got {same} in {many}")
        if not parts:
            total = sum(map(len, history.rows.values()))
            return self.result(
                Verdict.PASS,
                f"nothing to judge: none of {count(total, 'request')} is about a known class or an input asked twice",
            )
        if answers.labelled:
            parts.append(
                f"{answers.labelled - answers.unread:,} of {count(answers.labelled, 'labelled answer')} judged"
            )
        if np.any((rows["input"] < 0) & (rows["expected"] >= 0)):
            parts.append("by class only where the rows do not say which input they are about")
        return self.result(Verdict.PASS, "; ".join(parts), **figures)

    # figures

    def _shares_right(self, rows: np.ndarray) -> str:
        """How many of some labelled answers are right, each class apart."""
        right, n, said = int(np.count_nonzero(rows["expected"] == rows["predicted"])), len(rows), self._of_inputs()[1]
        by_class = [
            f"{self._named(c)} {np.count_nonzero(rows['predicted'][mine] == c):,} of {np.count_nonzero(mine):,}"
            for c in np.unique(rows["expected"])
            if (mine := rows["expected"] == c).any()
        ]
        share = percent(round(right / n, 4)) + (f", {said}" if said else "")
        return f"{right:,} of {n:,} classes right ({share}): {listed(by_class)}"

    def _differences(self, answers: Answers, references: References) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which answers have another class than their input's reference, which another probability, and which are
        compared with any."""
        rows = answers.rows
        known = rows["input"] >= 0
        at = np.where(known, rows["input"], 0)
        if not len(references.label):
            nothing = np.zeros(len(rows), bool)
            return nothing, nothing, nothing
        compared = known & (np.bincount(rows["input"][known], minlength=len(references.label))[at] > 1)
        p, usual = rows["probability"].astype(float), references.probability[at].astype(float)
        with np.errstate(invalid="ignore"):
            apart = np.abs(p - usual)
            even = (apart <= self.within + ROUNDING) & (np.abs(usual - 0.5) <= self.within + ROUNDING)
            moved = np.isfinite(p) & np.isfinite(usual) & (apart > self.within + ROUNDING)
        return compared & (rows["predicted"] != references.label[at]) & ~even, compared & moved, compared

    def _claims(
        self, history: History, answers: Answers, window: Window | None
    ) -> Iterator[tuple[str, np.ndarray, float]]:
        """The bounds that the plan gives: in words, the answers of the steady load that each is about, the bound."""
        labelled = self._steady(answers, window)
        if self.right_at_least is not None:
            yield "classes", labelled, self.right_at_least
        for name, least in self.recall:
            mine = labelled[answers.rows["expected"][labelled] == self.classes.index(name)]
            yield f"answers to inputs of {name}", mine, least

    def _steady(self, answers: Answers, window: Window | None) -> np.ndarray:
        """The labelled answers of the load in its steady phase; of a run without one, of all its phases."""
        rows = answers.rows
        mine = answers.of(LOAD) & (rows["expected"] >= 0)
        if window is not None:
            mine &= (rows["intended"] >= window.start) & (rows["intended"] < window.end)
        return np.flatnonzero(mine)

    def _of_inputs(self) -> tuple[float | None, str]:
        """What share of the distinct inputs must be right, and the same in words."""
        if self.right_at_least is not None:
            return self.right_at_least, f"bound {percent(self.right_at_least)}"
        return (
            (self.accuracy[0], f"bound {percent(self.accuracy[0])} of {self.accuracy[1]}")
            if self.accuracy
            else (None, "")
        )

    def _right_by_class(self, answers: Answers, references: References) -> tuple[dict[int, int], dict[int, int], str]:
        """How many of each class are right, of how many: inputs, or answers where nobody said which input."""
        expected, got, unit = references.expected, references.label, "input"
        if not np.any(expected >= 0):
            expected, got, unit = answers.rows["expected"], answers.rows["predicted"], "answer"
        labels = [int(label) for label in np.unique(expected) if label >= 0]
        of = {label: int(np.count_nonzero(expected == label)) for label in labels}
        right = {label: int(np.count_nonzero((expected == label) & (got == label))) for label in labels}
        return right, of, unit

    # words

    def _named(self, label: int) -> str:
        return self.classes[label] if label < len(self.classes) else f"class {label}"

    def _input(self, answers: Answers, row: int) -> str:
        at = answers.rows["input"][row]
        return f"input {answers.inputs[at]:x}" if at >= 0 else "one"

    def _answer(self, answers: Answers, row: int) -> str:
        answer = answers.rows[row]
        return self._named(answer["predicted"]) + stated(answer["probability"])

    def _instead(self, answers: Answers, wrong: np.ndarray) -> str:
        """What wrong answers say, each kind with its number, and one input of them."""
        some = answers.rows[wrong]
        kinds, times = np.unique(some[["expected", "predicted"]], return_counts=True)
        said = [
            f"{n:,} {self._named(kind['predicted'])} for {self._named(kind['expected'])}"
            for kind, n in zip(kinds, times.tolist(), strict=True)
        ]
        one = int(wrong[0])
        return listed(said) + (f", as {self._input(answers, one)}" if some["input"][0] >= 0 else "")


def _distinct(rows: np.ndarray, which: np.ndarray) -> list[int]:
    """The first row of each input among some."""
    return [int(i) for i in which[np.sort(np.unique(rows["input"][which], return_index=True)[1])]][:EVIDENCE_AT_MOST]
