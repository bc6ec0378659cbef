"""`telemetry` in service.yaml: where the service says of itself what it did, and by which names.

Each part is optional; a service that has some of them is judged by those.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from harness.parameters import Duration, Share, Strict

Labels = dict[str, str]


class Metric(Strict):
    """Some series of a metric: those that have all of these labels."""

    name: str = Field(min_length=1)
    labels: Labels = Field(default_factory=dict)


class ByStatus(Metric):
    """A counter of requests."""

    status: str = "status"  # its label with the HTTP status


class ByClass(Metric):
    """A counter of predictions."""

    label: str = "prediction"  # its label with the class


def _named(value: object) -> object:
    """A metric that is written as its name alone."""
    return {"name": value} if isinstance(value, str) else value


class Metrics(Strict):
    """What is exposed of the requests that clients sent."""

    requests: Annotated[ByStatus, BeforeValidator(_named)] | None = None
    duration: Annotated[Metric, BeforeValidator(_named)] | None = None  # a histogram, in seconds
    predictions: Annotated[ByClass, BeforeValidator(_named)] | None = None
    in_flight: Annotated[Metric, BeforeValidator(_named)] | None = None  # a gauge
    shed: Annotated[Metric, BeforeValidator(_named)] | None = None  # a counter of requests refused for overload


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
