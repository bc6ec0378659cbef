"""Parameters of a check as gate.yaml writes them: with units, in production terms, and names that the plan knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from harness.checks.view import named
from harness.parameters import Strict
from harness.units import nearest, parse_duration

Milliseconds = Annotated[float, BeforeValidator(lambda text: 1000 * parse_duration(text))]


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
