"""Audited: each answered request left one audit record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.checks.one_each import OneEach


@dataclass(frozen=True)
class Audited(OneEach):
    """`telemetry.audit` of service.yaml against the rows of the load; see OneEach."""

    kind: ClassVar[str] = "audited"
    signal: ClassVar[str] = "audit"
    what: ClassVar[str] = "audit records"
    section: ClassVar[str] = "audit"
