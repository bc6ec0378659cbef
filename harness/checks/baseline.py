"""Baseline: a run against the earlier passing ones of the same plan on the same kind of machine."""

from __future__ import annotations

from typing import Any, ClassVar

from harness.checks.baseline_alerts import BaselineAlerts
from harness.checks.baseline_figures import BaselineFigures
from harness.checks.baseline_metrics import BaselineMetrics
from harness.checks.check import Check, Group
from harness.checks.earlier import Compared
from harness.checks.view import View


class Baseline(Group):
    """The figures and the alerts of each phase, and the metrics. In every gate; an entry takes the place of that."""

    kind: ClassVar[str] = "baseline"
    Parameters = Compared

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> list[Check]:
        parts = (BaselineFigures, BaselineAlerts, BaselineMetrics)
        return [check for part in parts for check in part.from_plan(parameters, view)]
