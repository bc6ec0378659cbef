"""What every fault is: frozen parameters, a start, an undo as data, and a witness on a channel of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from harness.stack.ledger import Undo
from harness.stack.stack import Stack

Facts = Mapping[str, Any]  # what a fault touches this time: process ids, files; stored in the ledger


class Fault(Protocol):
    """One way to break a stack. Instances are frozen; what differs from time to time is in the facts."""

    kind: ClassVar[str]
    sham: ClassVar[bool]  # nothing is broken, so nothing can be witnessed

    def target(self, stack: Stack) -> Facts:
        """What will be touched, found before anything is."""

    def undo(self, facts: Facts) -> list[Undo]:
        """How to put it back; written to the ledger before `start`. Empty when nothing can be put back."""

    def start(self, stack: Stack, facts: Facts) -> Facts | None:
        """Break it. Gives new facts where starting made something that must be undone too."""

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """Evidence, from another channel than the one that broke it, that the fault is there now; None: not seen."""
