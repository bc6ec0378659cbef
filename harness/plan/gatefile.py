"""`gate.yaml`: which service, which load, which experiments, which checks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from harness.plan.units import Duration, Rate, Share
from harness.plan.yamlfile import Strict

KNOWN_CHECKS = ("slos", "contracts", "quiet", "alert_coverage")


class ArrivalsSpec(Strict):
    """When requests are sent: `{poisson: 60/s, seed: 7}` or `{constant: 60/s}`."""

    poisson: Rate | None = None
    constant: Rate | None = None
    seed: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_of(self) -> ArrivalsSpec:
        if (self.poisson is None) == (self.constant is None):
            raise ValueError("must name one of poisson or constant, like {poisson: 60/s, seed: 7}")
        if self.poisson is not None and self.seed is None:
            raise ValueError("poisson needs a seed, so that a run can be repeated: {poisson: 60/s, seed: 7}")
        if self.constant is not None and self.seed is not None:
            raise ValueError("constant has nothing to seed")
        return self

    @property
    def per_s(self) -> float:
        return self.poisson or self.constant or 0.0

    @property
    def text(self) -> str:
        """As the generator's command line takes it."""
        if self.poisson is not None:
            return f"poisson:{self.poisson:g}/s:seed={self.seed}"
        return f"constant:{self.constant:g}/s"


class LoadSpec(Strict):
    """The steady load: `for` is how long it is judged before the first experiment; it then goes on under them."""

    scenario: str
    arrivals: ArrivalsSpec
    for_s: Duration = Field(alias="for")
    corpus: str = "scenarios/radiographs"


class GeneratorBounds(Strict):
    """How far the generator may be off before nothing it measured counts."""

    lag_p99: Duration = 0.05  # a tenth of the usual latency bound: lag only ever adds to the latency that is judged
    lag_p99_under_fault: Duration = 0.1
    starved: Duration = 0.1  # beyond it in a phase, nothing that failed there is a verdict on the service
    rate_within: Share = 0.01
    patience: Duration = 120  # what a run waits in all, before its phases, for the generator to keep its schedule
    repeats: int = Field(3, ge=0, le=5)  # of a phase in which the generator was late; what it met there does not matter


class Coverage(Strict):
    """The least share of the rules of each severity that the experiments must prove."""

    critical: Share | None = None
    high: Share | None = None
    medium: Share | None = None
    low: Share | None = None


CheckSpec = Annotated[Any, "a name, or a mapping of one name to its parameters"]


class GateFile(Strict):
    """The whole of gate.yaml, a profile already merged in."""

    service: str
    time_scale: float = Field(60, ge=1, le=60)
    load: LoadSpec
    experiments: tuple[str, ...] = ()
    checks: list[CheckSpec]
    generator: GeneratorBounds = GeneratorBounds()
    settle: Duration = 20  # gate time an experiment's alerts may take to resolve beyond its contract's bounds
    profiles: dict[str, Any] = Field(default_factory=dict)
