"""What goes on in a run, for whoever watches it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx
import numpy as np

from harness.checks.watchdog import WATCHDOG
from harness.history import Outcome, rows_file
from harness.stack.stack import Stack
from harness.stack.up import Live
from harness.stats import nearest_rank
from harness.watch import alerts, requests


@dataclass(frozen=True)
class Progress:
    """What is going on now."""

    stage: str  # "steady load", "experiment 2/4 server-crash", ...
    elapsed_s: float  # since the run began
    stage_s: float  # since the stage began
    stage_for_s: float | None = None  # how long it takes, where that is known
    arrivals_per_s: float | None = None
    goodput_per_s: float | None = None
    p95_ms: float | None = None
    alerts: Mapping[str, str] | None = None  # name -> firing | pending
    probes: Mapping[str, Sequence[bool]] | None = None  # probe -> its latest answers
    in_traffic: bool | None = None
    always: frozenset[str] = frozenset()  # of the alerts those that fire whatever happens
    left_s: float | None = None  # about how long the run still takes


Watcher = Callable[[Progress], None]


class View:
    """Tells a watcher how a run goes. began: monotonic seconds; live: None where somebody else holds the stack up;
    always: the alerts that fire whatever happens, by the usual name where no plan says."""

    def __init__(
        self,
        stack: Stack,
        began: float,
        watch: Watcher,
        live: Live | None = None,
        always: frozenset[str] = frozenset({WATCHDOG}),
    ):
        self.began, self._always = began, always
        self._stack, self._watch, self._live = stack, watch, live
        self._ends: float | None = None

    def expect(self, left_s: float) -> None:
        """About how long the run still takes from now on."""
        self._ends = time.monotonic() + left_s

    def show(self, stage: str, stage_s: float = 0.0, stage_for_s: float | None = None) -> None:
        rows = requests.latest(rows_file(self._stack.run), 2.0)
        rows = rows[~np.isin(rows["outcome"], requests.UNCOUNTED)]
        good = rows[rows["outcome"] == Outcome.OK]
        try:
            active = alerts.active(self._stack.prometheus_url)
        except httpx.HTTPError:
            active = None
        service = self._live.service if self._live else None
        self._watch(
            Progress(
                stage=stage,
                elapsed_s=time.monotonic() - self.began,
                stage_s=stage_s,
                stage_for_s=stage_for_s,
                arrivals_per_s=len(rows) / 2,
                goodput_per_s=len(good) / 2,
                p95_ms=nearest_rank(1000 * (good["done"] - good["intended"]), 95) if len(good) else None,
                alerts=active,
                always=self._always,
                probes=service.latest if service else None,
                in_traffic=service.in_traffic if service else None,
                left_s=None if self._ends is None else max(0.0, self._ends - time.monotonic()),
            )
        )
