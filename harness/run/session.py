"""The session: what a run has in hand while it goes on, and the waiting that meanwhile sees that all of it lives."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.eventlog import Log
from harness.plan.experiments import Experiment
from harness.plan.plan import Plan
from harness.run.view import View
from harness.stack.process import Child
from harness.stack.stack import Stack
from harness.stack.up import Live

TICK_S = 0.25
SHOW_EVERY_S = 1.0


class Start(NamedTuple):
    """The service started otherwise than service.yaml says: for which experiment, and whether it got ready."""

    by: Experiment
    well: bool


@dataclass
class Session:
    """What is carried out against a stack.

    plan: None for a load without one. live: the stack's processes; None where somebody else holds them up. load: the
    steady load while it runs. start: how the service was started; None: as service.yaml says. waiting: for the
    experiments of a window, by their names, Chaos Toolkit that has yet to begin. calm_since: Unix seconds since when
    nothing fires and nothing is done to the stack; None: nobody knows.
    """

    plan: Plan | None
    stack: Stack
    log: Log
    view: View
    live: Live | None = None
    load: Child | None = None
    start: Start | None = None
    waiting: dict[tuple[str, ...], dict[str, Child]] = field(default_factory=dict)
    calm_since: float | None = None
    settles_at: float = 0.0  # monotonic: until then alerts may fire that the latest planned start has raised
    _patience_s: float = field(init=False)  # what is left of it

    def __post_init__(self) -> None:
        self._patience_s = self.plan.gate.generator.patience if self.plan else 0.0

    def wait(self, stage: str, done: Callable[[], bool], at_most_s: float, known_s: float | None = None) -> bool:
        """True as soon as `done`, False when the time is up. Raises HarnessError if what must live does not.

        known_s: how long the stage takes, where that is known beforehand.
        """
        since = time.monotonic()
        shown = 0.0
        while True:
            for part in (self.live, self.load):
                if part is not None:
                    part.check()
            if done():
                return True
            now = time.monotonic()
            if now - since >= at_most_s:
                return False
            if now - shown >= SHOW_EVERY_S:
                shown = now
                self.view.show(stage, now - since, known_s)
            time.sleep(min(TICK_S, max(0.0, at_most_s - (time.monotonic() - since))))

    def let_pass(self, stage: str, for_s: float) -> None:
        """Wait for a time that is known beforehand. Raises as `wait`."""
        self.wait(stage, lambda: False, for_s, for_s)

    def wait_patiently(self, stage: str, done: Callable[[], bool]) -> bool:
        """As `wait`, for as long as the patience of the whole run lasts."""
        since = time.monotonic()
        came = self.wait(stage, done, self._patience_s)
        self._patience_s = max(0.0, self._patience_s - (time.monotonic() - since))
        return came
