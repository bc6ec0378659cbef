"""What a file of the user's may hold: sections without unknown keys, and quantities with their units."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
)

from harness.units import parse_duration, parse_share, parse_size

Duration = Annotated[float, BeforeValidator(parse_duration)]  # seconds
Size = Annotated[float, BeforeValidator(parse_size)]  # bytes
Share = Annotated[float, BeforeValidator(parse_share)]  # from 0 to 1


def no_nul(text: str) -> str:
    """The same text, which may become an argument or a variable of a process. Raises ValueError."""
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Environment = dict[EnvName, Annotated[str, AfterValidator(no_nul)]]


class Strict(BaseModel):
    """What every section of a plan file is: frozen; unknown keys are errors, and so are infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, given: Any, info: ValidationInfo) -> Any:
        """true is no number, though Python takes it for 1. Raises ValueError."""
        field = cls.model_fields[info.field_name]
        kinds = set(get_args(field.annotation)) or {field.annotation}
        plain = not any(isinstance(one, BeforeValidator) for one in field.metadata)  # quantities say what they want
        if plain and isinstance(given, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError(f"must be a number, not {str(given).lower()}")
        return given


def arguments_of(function: Callable[..., Any]) -> type[Strict]:
    """The arguments of a function as a section of a file: validated strictly, each must be of its annotation's type."""
    taken = signature(function, eval_str=True).parameters.values()
    fields = {one.name: (one.annotation, ... if one.default is one.empty else one.default) for one in taken}
    return create_model(function.__name__, __base__=Strict, **fields)
