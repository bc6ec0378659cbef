"""`telemetry` in service.yaml: where the service says of itself what it did, and by which names.

Each part is optional; a service that has some of them is judged by those.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from harness.parameters import Duration, Share, Strict

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


class Lines(Strict):
    """A file of JSON lines, some of them one for each request. A name within an object is written `context.status`."""

    file: str = ""  # empty: what each replica prints
    only: dict[str, str | list[str]] = Field(default_factory=dict)  # name -> value, or values: the lines of requests
    request_id: str = "request_id"
    trace_id: str | None = None
    status: str | None = None
    label: str | None = None  # the class, by its name
    probability: str | None = None


class Records(Strict):
    """A table with a row for each prediction."""

    url: str  # sqlite:///{state}/{replica}/predictions.db, or postgresql://...
    table: str
    request_id: str = "request_id"
    label: str | None = None  # the class, by its name or its number
    probability: str | None = None


class Traces(Strict):
    """Spans by OTLP over HTTP. The environment has the service send all of them to {otlp}."""

    environment: dict[str, str]
    request_id: str = "request.id"  # attribute of the span of a request


class Losses(Strict):
    """What of each signal a process that is killed may take with it, as a share of what was in flight or unwritten."""

    within: Duration = 5  # before a kill whose signals may be lost
    at_most: Share = 0.0  # of requests outside those, lost at any time


class Telemetry(Strict):
    """The whole section."""

    classes: tuple[str, ...] = ()  # names of the classes, by the numbers that rows have them by
    metrics: Metrics | None = None
    logs: Lines | None = None
    audit: Lines | None = None
    database: Records | None = None
    traces: Traces | None = None
    may_lose: Losses = Losses()
