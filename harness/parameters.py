"""What a file of the user's may hold: sections without unknown keys, and quantities with their units."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from harness.units import parse_duration, parse_share, parse_size

Duration = Annotated[float, BeforeValidator(parse_duration)]  # seconds
Size = Annotated[float, BeforeValidator(parse_size)]  # bytes
Share = Annotated[float, BeforeValidator(parse_share)]  # from 0 to 1


class Strict(BaseModel):
    """What every section of a plan file is: frozen; unknown keys are errors, and so are infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)
