"""Slos: each objective that the service states, under the steady load."""

from __future__ import annotations

from typing import Any, ClassVar

from harness.checks.availability import Availability
from harness.checks.check import Check, Group
from harness.checks.error_ratio import ErrorRatio
from harness.checks.latency import Latency
from harness.checks.view import STEADY, View


class Slos(Group):
    """A check for each objective of the service."""

    kind: ClassVar[str] = "slos"

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> list[Check]:
        cls.Parameters.read(parameters, view)
        checks: list[Check] = []
        if view.availability is not None:
            checks.append(Availability(STEADY, view.availability))
        if view.latency is not None:
            checks.append(Latency(STEADY, *view.latency))
        if view.error_ratio is not None:
            checks.append(ErrorRatio(STEADY, view.error_ratio))
        if not checks:
            raise ValueError("the service states no objective")
        return checks
