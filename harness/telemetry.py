"""`telemetry` in service.yaml: where the service says of itself what it did, and by which names.

Each part is optional; a service that has some of them is judged by those.
"""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from harness.parameters import Duration, Share, Strict

_DATABASE = re.compile(r"sqlite:///[^?]+|postgres(ql)?(\+psycopg)?://.+")


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


def _absolute(path: str, info: ValidationInfo) -> str:
    """Beside service.yaml, but for what is in the run's own folder."""
    folder = (info.context or {}).get("folder")
    return path if folder is None or not path or path.startswith("{state}/") else str(folder / _no_nul(path))


def _command(text: str) -> str:
    try:
        if shlex.split(_no_nul(text)):
            return text
    except ValueError as error:
        raise ValueError(f"cannot be split into arguments: {str(error).lower()}; write it as for a shell") from None
    raise ValueError("must name a program")


def _database(url: str) -> str:
    if not _DATABASE.fullmatch(_no_nul(url)):
        raise ValueError("must be sqlite:///FILE or postgresql://...")
    return url


Labels = dict[str, str]
Name = Annotated[str, Field(min_length=1)]
Text = Annotated[str, AfterValidator(_no_nul)]
Place = Annotated[str, AfterValidator(_absolute)]
Value = str | int | bool
Some = tuple[str, ...]
Status = Annotated[str, Field(pattern=r"^[1-5]([0-9]{2}|xx)$")]


def _some(value: object) -> object:
    """One word, or several."""
    return value if isinstance(value, (list, tuple)) else (value,)


def _statuses(value: object) -> object:
    """HTTP statuses as a YAML file has them: 503, 5xx, or several."""
    return [str(one).lower() if isinstance(one, (int, str)) else one for one in _some(value)]


Statuses = Annotated[tuple[Status, ...], BeforeValidator(_statuses)]


class Metric(Strict):
    """Some series of a metric: those whose labels have one of these values each."""

    name: str = Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")
    labels: dict[str, Annotated[Some, BeforeValidator(_some)]] = Field(default_factory=dict)


class ByStatus(Metric):
    """A counter of requests."""

    status: str | None = "status"  # its label with the HTTP status, or the class of statuses; null: none has it
    answers: Statuses = ()  # the statuses that it counts, where not all


class Histogram(Metric):
    """A histogram, or a summary, of how long requests took."""

    unit: Literal["s", "ms", "us"] = "s"
    answers: Statuses = ()  # the statuses of the requests that it observes, where not all


class ByClass(Metric):
    """A counter of predictions."""

    label: str = "prediction"  # its label with the class


class Refusals(Metric):
    """A counter of requests that were refused for overload."""

    answers: Statuses = ("503",)  # what those get


def _named(value: object) -> object:
    """A metric that is written as its name alone."""
    return {"name": value} if isinstance(value, str) else value


Named = BeforeValidator(_named)


class Metrics(Strict):
    """What is exposed of the requests that clients sent."""

    requests: Annotated[ByStatus, Named] | None = None
    duration: Annotated[Histogram, Named] | None = None
    predictions: Annotated[ByClass, Named] | None = None
    in_flight: Annotated[Metric, Named] | None = None  # a gauge
    shed: Annotated[Refusals, Named] | None = None
    uncounted: Statuses = ()  # statuses that a proxy or its HTTP server may give, and that it then does not count

    @property
    def given(self) -> dict[str, Any]:
        """The metrics that there are."""
        return {name: one for name in type(self).model_fields if isinstance(one := getattr(self, name), Metric)}


class Losses(Strict):
    """What may be missing of a signal, and is counted all the same."""

    within: Duration = Field(1, ge=0)  # what a killed process answered so long before may go with it
    at_most: Share = 0.0  # of all other answers


class Signal(Strict):
    """What the sources of one signal have in common: by which names they say what."""

    request_id: Name = "request_id"
    time: Name | None = None  # RFC 3339, or Unix seconds
    status: Name | None = None  # of HTTP
    label: Name | None = None  # the class, by its name or its number
    probability: Name | None = None  # as the answer gives it
    confidence: Name | None = None  # the larger of the probability and what it lacks to 1
    also: Statuses = ()  # other statuses than 2xx whose answers leave one, too
    may_lose: Losses | None = None  # in place of that of all signals


class Lines(Signal):
    """A file of JSON lines, some of them one for each request. A name within an object is written `context.status`."""

    file: Place = ""  # empty: what each replica prints
    only: dict[Name, Value | list[Value]] = Field(default_factory=dict)  # name -> value, or values: lines of requests
    trace_id: Name | None = None
    refused: bool = True  # a request that is refused (status 4xx) may leave one, too


class Audit(Lines):
    """The audit log. A command, as of a shell without one, says whether a replica's log is whole: exit code 0, or 3
    where it cannot say. It is run when the service has ended; {file} is the log."""

    verify: Annotated[str, AfterValidator(_command)] | None = None


class Records(Signal):
    """A table with a row for each prediction, and for nothing else."""

    url: Annotated[str, AfterValidator(_database)]  # sqlite:///{state}/{replica}/predictions.db, or postgresql://...
    table: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$")]


class Traces(Signal):
    """Spans by OTLP over HTTP. The environment has the service send all of them to {otlp}. The names are those of
    attributes of the span of a request, which has no parent or its client's."""

    environment: dict[str, Text] = Field(min_length=1)
    request_id: Name = "request.id"
    spans: tuple[Name, ...] = ()  # names of spans that each answered request has within its own
    batch: Name | None = None  # name of the span of what is done for several requests at once, linked to each

    @field_validator("environment")
    @classmethod
    def _leads_here(cls, environment: dict[str, str]) -> dict[str, str]:
        if not any("{otlp}" in text for text in environment.values()):
            raise ValueError("no value holds {otlp}, the URL of the receiver, so no span would come")
        return environment


class Telemetry(Strict):
    """The whole section."""

    classes: tuple[str, ...] = ()  # names of the classes, by the numbers that rows have them by
    metrics: Metrics | None = None
    logs: Lines | None = None
    audit: Audit | None = None
    database: Records | None = None
    traces: Traces | None = None
    may_lose: Losses = Losses()
