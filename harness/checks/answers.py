"""Answers: every complete answer is of the kind that its request asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from harness.checks import samples
from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import of_rows, phase, sent, unserved, waited_for
from harness.checks.parameters import Parameters, Phase
from harness.checks.view import STEADY
from harness.history import EXPECTS_STATUS, History, Outcome
from harness.parameters import Share
from harness.units import count, listed, percent
from harness.verdict import Result, Verdict


@dataclass(frozen=True)
class Answers(Check):
    """No request that states which status it expects (a guessed key: 401) got another one below 500, and no answer
    served nobody: a redirect, or one without a readable class where that of the input is known.

    right_at_least bounds the share of labelled answers with the right class; without it the share is only given. What
    ends in a 5xx or without a response is judged by ErrorRatio.
    """

    phase: str
    generator: str = "load"
    right_at_least: float | None = None
    kind: ClassVar[str] = "answers"
    timing_independent: ClassVar[bool] = True  # a wrong answer is one, however slow everything was

    class Parameters(Parameters):
        phase: Phase = STEADY
        right_at_least: Share | None = Field(None, gt=0, lt=1)  # all of them no number of requests can prove

    @property
    def subject(self) -> str:
        return f"{self.phase}: {'answers' if self.right_at_least is None else 'right answers'}"

    def judge(self, history: History) -> Result:
        """FAIL with the answers of another kind, where one is too many, or with too few right classes."""
        window = phase(history, self.phase)
        every = waited_for(history, window, self.generator)
        unexpected = every["outcome"] == Outcome.UNEXPECTED_STATUS
        stating, wrong = np.count_nonzero(unexpected | (every["step"] & EXPECTS_STATUS != 0)), every[unexpected]
        bad = len(wrong) + int(np.count_nonzero(every["outcome"] == Outcome.UNSERVED))
        figures = {"measured": bad, "bound": 0, "unit": "answers"}
        if bad:
            reasons, remedy = [], ""
            if why := unserved(history, window, self.generator, every, " (bound 0)"):
                reasons = [why]
                remedy = "see what stands before the service, or took its place (a login, a proxy), and what it answers"
            if len(wrong):
                values = zip(*np.unique(wrong["status"], return_counts=True), strict=True)
                statuses = listed([f"{n:,} status {s}" for s, n in values])
                reasons.append(
                    f"{len(wrong):,} of {stating:,} responses had an unexpected status (bound 0): {statuses}"
                )
                remedy = remedy or (
                    "run the service as the scenario's docstring asks (`credentials` means nothing with authentication "
                    "off); else it accepts what it must refuse"
                )
            evidence = of_rows(every[unexpected | (every["outcome"] == Outcome.UNSERVED)])
            return self.result(Verdict.FAIL, "; ".join(reasons), remedy, evidence=evidence, **figures)
        rows = sent(history, window, self.generator)
        said = f"none of {count(stating, 'request')} with an expected status got another one, bound 0"
        if not stating:
            said = f"none of {count(len(rows), 'request')} states an expected status"
        labelled = rows[(rows["outcome"] == Outcome.OK) & (rows["status"] < 300) & (rows["expected"] >= 0)]
        return self._classes(labelled, said, window.length, figures)

    def _classes(self, labelled: np.ndarray, said: str, over_s: float, figures: dict) -> Result:
        """The verdict by the classes in the answers to labelled questions, all of which were answered in kind."""
        n = len(labelled)
        if unread := int(np.count_nonzero(labelled["predicted"] < 0)):
            raise NoEvidence(
                f"nobody read the class in {unread:,} of {count(n, 'answer')} to inputs whose class is known",
                "define `predicted` in the scenario, as docs/load.md shows",
            )
        right = int(np.count_nonzero(labelled["expected"] == labelled["predicted"]))
        share = f"{right:,} of {n:,} classes right ({percent(right / n)}" if n else ""
        if self.right_at_least is None:
            said = f"{said}; {share})" if n else f"{said}: nothing to judge"
            return self.result(Verdict.PASS, said, **figures)
        if not n:
            raise NoEvidence("no answer to an input whose class is known", "let the scenario send labelled images")
        said = f"{share}, bound {percent(self.right_at_least)})"
        wrong, remedy = round(1 - self.right_at_least, 9), "compare the model and the images with those of a good run"
        judged = samples.claim(n - right, n, wrong, over_s, said, "", remedy)
        evidence = of_rows(labelled[labelled["expected"] != labelled["predicted"]])
        return self.result(*judged, measured=right / n, bound=self.right_at_least, unit="share", evidence=evidence)

    def attributable(self, history: History) -> bool:
        """A wrong answer is one, however late the request was."""
        return True
