"""`gate.yaml`: which service, which load, which experiments, which checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from harness.errors import UsageError
from harness.load.arrivals import KINDS, Arrivals, parse
from harness.parameters import Duration, Share, Strict
from harness.stack.place import place

HISTORY = ".harness/history.sqlite"
Text = Annotated[str, BeforeValidator(lambda value: value if isinstance(value, (list, dict)) else str(value))]


def _host(name: str) -> str:
    place(f"http://{name.removeprefix('*.')}")
    if "/" in name or re.search(r"[^:\]]:[0-9]*$", name.removeprefix("*.")):
        raise ValueError(f"must be the name or address of a host, without a port, or *.DOMAIN; got {name}")
    return name


Host = Annotated[str, AfterValidator(_host)]


class ArrivalsSpec(Strict):
    """When requests are sent: one kind of harness.load.arrivals and its settings, like `{poisson: 60/s, seed: 7}`,
    `{ramp: 10/s..100/s, over: 60s}` or `{step: [10/s, 50/s], every: 30s}`."""

    constant: Text | None = None
    poisson: Text | None = None
    ramp: Text | None = None
    step: list[Text] | Text | None = None
    spike: Text | None = None
    sine: Text | None = None
    replay: Text | None = None
    seed: int | None = Field(None, ge=0)
    over: str | None = None
    at: str | None = None
    for_: str | None = Field(None, alias="for")
    every: str | None = None
    speed: float | None = None

    @model_validator(mode="after")
    def _one_of(self) -> ArrivalsSpec:
        if len([kind for kind in KINDS if getattr(self, kind) is not None]) != 1:
            raise ValueError(f"must name one of {', '.join(KINDS)}, like {{poisson: 60/s, seed: 7}}")
        if self.poisson is not None and self.seed is None:
            raise ValueError("poisson needs a seed, so that a run can be repeated: {poisson: 60/s, seed: 7}")
        if self.replay is None:
            self.schedule(Path())
        return self

    def schedule(self, home: Path) -> Arrivals:
        """The schedule, its record looked for beside the gate file. Raises ValueError."""
        parts = self.model_dump(by_alias=True, exclude_none=True)
        kind = next(kind for kind in KINDS if kind in parts)
        value = parts.pop(kind)
        if kind == "replay":
            value = str(home / value)
        settings = [f"{key}={_short(setting)}" for key, setting in parts.items()]
        try:
            return parse(":".join([kind, ",".join(value) if isinstance(value, list) else value, *settings]))
        except UsageError as error:
            raise ValueError(str(error)) from None


def _short(setting: float | str) -> str:
    return f"{setting:.12g}" if isinstance(setting, float) else str(setting)


class LoadSpec(Strict):
    """The steady load: `for` is how long it is judged before the first experiment; it then goes on under them."""

    scenario: str
    user: str | None = None  # which of its user classes, where it has several
    arrivals: ArrivalsSpec | None = None  # instead of the scenario's own
    users: int | None = Field(None, ge=1, le=10_000)  # closed model: how many, where they keep no schedule
    spawn_rate: float | None = Field(None, gt=0)  # users a second; None: all of them in the first
    tags: tuple[str, ...] = ()  # of the tasks that they have; (): all
    exclude_tags: tuple[str, ...] = ()
    for_s: Duration = Field(alias="for", gt=0)
    corpus: str | None = None  # a folder of images instead of the scenario's own
    may_fire: tuple[str, ...] = ()  # alerts that such a load is meant to raise

    @model_validator(mode="after")
    def _one_model(self) -> LoadSpec:
        if self.users is not None and self.arrivals is not None:
            raise ValueError("users is a closed load and arrivals an open one; leave one out")
        if self.users is None and self.spawn_rate is not None:
            raise ValueError("spawn_rate says how fast users are started; say how many, as in users: 10")
        return self


class GeneratorBounds(Strict):
    """How far the generator, and the machine under it, may be off before nothing that was measured counts."""

    lag_p99: Duration = 0.05  # a tenth of the usual latency bound: lag only ever adds to the latency that is judged
    lag_p99_under_fault: Duration = 0.1
    starved: Duration = 0.1  # beyond it in a phase, nothing that failed there is a verdict on the service
    neighbours: Share = 0.2  # of all processors, to other processes and the host; beyond it the same
    rate_within: Share = 0.01
    patience: Duration = 120  # what a run waits in all, before its phases, for the generator to keep its schedule
    repeats: int = Field(3, ge=0, le=5)  # of a phase in which the generator was late; what it met there does not matter


CheckSpec = Annotated[Any, "a name, or a mapping of one name to its parameters"]


class ExperimentSpec(Strict):
    """An experiment as it is: a Chaos Toolkit file, or its name in experiments/; what it is given in its environment
    (`${SERVICE_URL}` and the other addresses of a run are filled in) and its configuration; and the file with its
    contract, where it has none itself."""

    file: str
    contract: str | None = None
    environment: dict[str, Text] = Field(default_factory=dict)
    configuration: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_given_more(self) -> bool:
        """Whether it runs with more than what stands in its file."""
        return bool(self.contract or self.environment or self.configuration)


def _as_file(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


class GateFile(Strict):
    """The whole of gate.yaml, a profile already merged in."""

    service: str
    time_scale: float = Field(60, ge=1, le=60)
    load: LoadSpec
    experiments: tuple[Annotated[ExperimentSpec, BeforeValidator(_as_file)], ...] = ()
    blast_radius: tuple[Host, ...] = ()  # hosts of a service that runs already which may be loaded and broken
    checks: list[CheckSpec]
    generator: GeneratorBounds = GeneratorBounds()
    history: str = Field(HISTORY, min_length=1)  # the file of earlier runs, beside gate.yaml
    settle: Duration = 20  # gate time an experiment's alerts may take to resolve beyond its contract's bounds
    profiles: dict[str, Any] = Field(default_factory=dict)

    @field_validator("history")
    @classmethod
    def _is_a_path(cls, history: str) -> str:
        if "://" in history or not history.isprintable():  # a URL may hold a password, which would be a folder's name
            raise ValueError(f"must be the path of a file, like {HISTORY}")
        return history
