"""Stored: each answered request left one row in the service's database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.checks.one_each import OneEach


@dataclass(frozen=True)
class Stored(OneEach):
    """`telemetry.database` of service.yaml against the rows of the load; see OneEach."""

    kind: ClassVar[str] = "stored"
    signal: ClassVar[str] = "record"
    what: ClassVar[str] = "database rows"
    section: ClassVar[str] = "database"
