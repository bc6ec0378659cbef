"""Parameters of a check as gate.yaml writes them: with units, in production terms, and names that the plan knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from harness import stats
from harness.checks.view import named
from harness.parameters import Share, Strict
from harness.units import nearest, parse_duration, percent

Milliseconds = Annotated[float, BeforeValidator(lambda text: 1000 * parse_duration(text))]


def _provable(share_bad: float, said: str) -> None:
    """Raises ValueError where no number of requests proves that at most this share is bad."""
    if not stats.provable(share := round(share_bad, 9)):  # as the checks round it
        why = f"{stats.MOST:,} requests without an error do not prove" if share else "no number of requests proves"
        raise ValueError(f"{why} {said}; 99.9 % takes 4,603 of them at 99 % confidence, and 99 % takes 459")


def _kept(share: float) -> float:
    _provable(1 - share, percent(share))
    return share


def _lost(share: float) -> float:
    _provable(share, f"a share of {percent(share)}")
    return share


def _percentile(of_100: float) -> float:
    _provable(1 - of_100 / 100, f"the percentile {of_100:.12g}")
    return of_100


KeptShare = Annotated[Share, AfterValidator(_kept)]  # of requests that are to be good
LostShare = Annotated[Share, AfterValidator(_lost)]  # of requests that may be bad
Percentile = Annotated[float, Field(gt=0, le=100), AfterValidator(_percentile)]


class Parameters(Strict):
    """The parameters of one check: none, unless a check declares its own."""

    @classmethod
    def read(cls, given: Any, view: Any) -> dict[str, Any]:
        """The parameters by the names of the check's fields. Raises ValidationError. `view`: checks.view.View."""
        return dict(cls.model_validate({} if given is None else given, context=view))


def known(what: str, word: str, names: Iterable[str]) -> str:
    """The word, where the plan knows such a name or knows none at all. Raises ValueError."""
    if (names := list(dict.fromkeys(names))) and word not in names:
        raise ValueError(f"no {what} is called {word}; {nearest(word, names)}")
    return word


def _phase(word: str, info: ValidationInfo) -> str:
    return known("phase", word, (*info.context.phases, *info.context.left_out))


def _experiment(word: str, info: ValidationInfo) -> str:
    if not (names := (*info.context.phases[1:], *info.context.left_out)):
        raise ValueError(f"no experiment is called {word}; the plan has none")
    return known("experiment", word, names)


def _alert(word: str, info: ValidationInfo) -> str:
    named(word, info.context.rules)
    return word


Phase = Annotated[str, AfterValidator(_phase)]
ExperimentName = Annotated[str, AfterValidator(_experiment)]
AlertName = Annotated[str, AfterValidator(_alert)]  # or of one with some labels, as Name{severity="page"}
