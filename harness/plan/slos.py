"""`slos.yaml`: the objectives of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.checks.parameters import KeptShare, LostShare, Percentile
from harness.parameters import Duration, Strict
from harness.plan import slo_sources
from harness.plan.yamlfile import read, validated


class AvailabilityObjective(Strict):
    """The share of time the service is up for its clients."""

    target: KeptShare
    measurement: Literal["uptime"] = "uptime"


class LatencyObjective(Strict):
    """A percentile of the response time."""

    target: Duration = Field(gt=0)
    percentile: Percentile
    measurement: Literal["response_time"] = "response_time"


class ErrorObjective(Strict):
    """The share of requests that fail."""

    target: LostShare
    measurement: Literal["error_ratio"] = "error_ratio"


class Slos(Strict):
    """The objectives; one that is missing is not judged."""

    availability: AvailabilityObjective | None = None
    latency: LatencyObjective | None = None
    error_rate: ErrorObjective | None = None


class SloFile(Strict):
    """The whole of slos.yaml."""

    slos: Slos


def read_slos(folder: Path, text: str, problems: list[str]) -> Slos | None:
    """The objectives of a file, ours or one of OpenSLO, sloth and Pyrra, or None with every problem appended. text: its
    path from a folder; of other tools' files, after a #, the names of those that are to be judged."""
    name, _, only = text.partition("#")
    file = read(folder / name, problems)
    if file is not None and slo_sources.is_foreign(file.data):
        file = slo_sources.converted(file, tuple(filter(None, only.split(","))), problems)
    elif only:
        problems.append(f"{text}: only files of OpenSLO, sloth and Pyrra name their objectives; leave #{only} out")
        return None
    found = validated(file, SloFile, problems) if file else None
    return found and found.slos
