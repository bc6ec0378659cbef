"""Logged: each answered request left one log line, which says what the answer said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.checks.one_each import OneEach


@dataclass(frozen=True)
class Logged(OneEach):
    """`telemetry.logs` of service.yaml against the rows of the load; see OneEach."""

    kind: ClassVar[str] = "logged"
    signal: ClassVar[str] = "log"
    what: ClassVar[str] = "log lines"
    section: ClassVar[str] = "logs"
