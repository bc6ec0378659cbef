"""A wall clock is wrong: ahead or behind, as on a host that nobody keeps in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.faults.inside import Inside
from harness.stack.stack import Stack
from harness.stack.undo import Undo

LEAST_S, PRECISE_S, LOOK_S = 5.0, 2.0, 2.0  # a Date has whole seconds, and may be a second old


@dataclass(frozen=True)
class Clock(Fault):
    """By the processes of a component it is `by_s` seconds later than it is, or earlier; their monotonic clocks are
    right. It takes the module that the fault `inside` takes. `path` is what the witness asks the component for: one
    that it does not count among its clients' requests.
    """

    by_s: float
    path: str = "/"
    component: str = "server"
    kind: ClassVar[str] = "clock"
    alone: ClassVar[str] = "inside"
    undone: ClassVar[str] = "the module in its processes lets their clock go right"
    ends_with_process: ClassVar[bool] = True

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if abs(self.by_s) < LEAST_S:
            yield "by_s", f"must be {LEAST_S:g} or more, or -{LEAST_S:g} or less, to show in a Date; got {self.by_s:g}"

    def target(self, stack: Stack) -> Facts:
        if abs(ahead := self._ahead_s(stack)) > PRECISE_S:
            raise FaultError(f"clock: that of {self.component} is {ahead:+.0f} s off already")
        return self._inside.target(stack)

    def undo(self, facts: Facts) -> list[Undo]:
        return self._inside.undo(facts)

    def start(self, stack: Stack, facts: Facts) -> Facts:
        return self._inside.start(stack, facts)

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """A client: the Date of an answer, against its own clock."""
        ahead_s = self._ahead_s(stack)
        return (
            f"a client: the Date of an answer is {ahead_s:+.0f} s off"
            if abs(ahead_s - self.by_s) <= PRECISE_S
            else None
        )

    @property
    def _inside(self) -> Inside:
        return Inside("clock_skewed", "", {"by_s": self.by_s}, self.component)

    def _ahead_s(self, stack: Stack) -> float:
        """By how much a Date of the component is ahead of our own clock. Raises FaultError where it gives none."""
        import httpx

        address, scheme = stack.addresses.get(self.component), stack.service_url.partition(":")[0]
        if address is None:
            raise FaultError(f"clock: the address of {self.component} is not known")
        try:
            response = httpx.get(f"{scheme}://{address}{self.path}", timeout=LOOK_S, trust_env=False, verify=False)
            return parsedate_to_datetime(response.headers["Date"]).timestamp() + 0.5 - time.time()
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise FaultError(f"clock: {address} gives no Date that could be read: {error!r}") from error
