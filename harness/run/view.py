"""What goes on in a run, for whoever watches, and the waiting that meanwhile sees that everything lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from harness.history import Outcome
from harness.stack.process import Child
from harness.stack.stack import Stack
from harness.stack.up import Live
from harness.watch import alerts, requests

TICK_S = 0.25


@dataclass(frozen=True)
class Progress:
    """What is going on now, for whoever watches."""

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
    left_s: float | None = None  # about how long the run still takes


Watcher = Callable[[Progress], None]


class View:
    """Waits, and meanwhile sees that everything lives and tells the watcher how it goes."""

    def __init__(self, stack: Stack, began: float, watch: Watcher, live: Live | None, patience_s: float = 0.0):
        self.stack, self.began, self.watch, self.live = stack, began, watch, live
        self._patience_s = patience_s  # what is left of it
        self._ends: float | None = None

    def let_pass(self, stage: str, for_s: float, load: Child | None) -> None:
        """Wait for a time that is known beforehand. Raises as `wait`."""
        self.wait(stage, lambda: False, for_s, load, known_s=for_s)

    def wait(
        self, stage: str, done: Callable[[], bool], at_most_s: float, load: Child | None, known_s: float | None = None
    ) -> bool:
        """True as soon as `done`, False when the time is up. Raises HarnessError if what must live does not."""
        since = time.monotonic()
        shown = 0.0
        while True:
            if self.live is not None:
                self.live.check()
            if load is not None:
                load.check()
            if done():
                return True
            now = time.monotonic()
            if now - since >= at_most_s:
                return False
            if now - shown >= 1.0:
                shown = now
                self.show(stage, now - since, known_s)
            time.sleep(min(TICK_S, max(0.0, at_most_s - (time.monotonic() - since))))

    def expect(self, left_s: float) -> None:
        """About how long the run still takes from now on."""
        self._ends = time.monotonic() + left_s

    def wait_patiently(self, stage: str, done: Callable[[], bool], load: Child) -> bool:
        """The same, for as long as the patience of the whole run lasts."""
        since = time.monotonic()
        came = self.wait(stage, done, self._patience_s, load)
        self._patience_s = max(0.0, self._patience_s - (time.monotonic() - since))
        return came

    def show(self, stage: str, stage_s: float = 0.0, stage_for_s: float | None = None) -> None:
        rows = requests.latest(self.stack.run / "requests-load.bin", 2.0)
        good = rows[rows["outcome"] == Outcome.OK]
        took = (good["done"] - good["intended"]) * 1000
        try:
            active = alerts.active(self.stack.prometheus_url)
        except httpx.HTTPError:
            active = None
        service = self.live.service if self.live else None
        self.watch(
            Progress(
                stage=stage,
                elapsed_s=time.monotonic() - self.began,
                stage_s=stage_s,
                stage_for_s=stage_for_s,
                arrivals_per_s=len(rows) / 2,
                goodput_per_s=len(good) / 2,
                p95_ms=float(sorted(took)[int(0.95 * (len(took) - 1))]) if len(took) else None,
                alerts=active,
                probes=service.latest if service else None,
                in_traffic=service.in_traffic if service else None,
                left_s=None if self._ends is None else max(0.0, self._ends - time.monotonic()),
            )
        )
