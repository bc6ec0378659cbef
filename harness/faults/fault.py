"""What every fault is: frozen parameters, a start, an undo as data, and a witness on a channel of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol

from harness.errors import FaultError, StackError
from harness.stack.control import START, Control, identity
from harness.stack.stack import Stack
from harness.stack.undo import Undo

Facts = Mapping[str, Any]  # what a fault touches this time: process ids, files; JSON, stored in the ledger


class Fault(Protocol):
    """One way to break a stack: a frozen dataclass that derives from this.

    Its fields are the arguments of its action, and its docstring documents that action. What differs from one injection
    to the next is in the facts.
    """

    kind: ClassVar[str]  # its name in the table, which is that of its file and of its action
    touches: ClassVar[str] = "{component}"  # shown before a run: what it is done to, with its parameters
    undone: ClassVar[str] = "by the steps that it writes to the ledger"  # the same: how it is put back
    sham: ClassVar[bool] = False  # nothing is broken, so nothing can be witnessed
    simulated: ClassVar[bool] = False  # a stand-in plays it: what it proves is shown apart
    needs: ClassVar[tuple[str, ...]] = ()  # what the host must have; see harness.faults.needs
    deeds: ClassVar[tuple[str, ...]] = (START,)  # what it takes of the component's control; none: it is done elsewhere
    lease_s: ClassVar[float] = 60  # after this it is undone, unless the experiment gives another lease
    component: str | None = None  # the component it is done to; None: not to one of the stack
    of_monitoring: ClassVar[bool] = False  # it may be done to what watches the service: prometheus, alertmanager, ...
    ends_with_process: ClassVar[bool] = False  # it is over once the component's process has been replaced
    replaces: ClassVar[bool] = False  # it has another process take the place of the component's
    alone: ClassVar[str] = ""  # what it takes for itself: no other fault of the same may be on in the same component
    takes: ClassVar[tuple[str, ...]] = ()  # arguments that say for how many seconds its start goes on
    generator: ClassVar[str | None] = None  # the name of the request rows it makes, if it sends requests

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """(argument, what is wrong with its value and what to give instead): all at once, and by the values alone.

        That each is of its type is known by then. It is asked when a plan is read, and again before the fault begins.
        """
        return iter(())

    @classmethod
    def asks(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """The deeds that it takes with these arguments."""
        return cls.deeds

    def target(self, stack: Stack) -> Facts:
        """What will be touched, found before anything is."""

    def undo(self, facts: Facts) -> list[Undo]:
        """How to put it back; written to the ledger before `start`. Empty when nothing can be put back."""

    def start(self, stack: Stack, facts: Facts) -> Facts | None:
        """Break it. Gives new facts where starting made something that must be undone too."""

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """Evidence, from another channel than the one that broke it, that the fault is there now; None: not seen."""


def held(fault: Fault, stack: Stack, facts: Facts, done: str) -> Control:
    """The control of a fault's component, while that is what was found before. Raises FaultError."""
    try:
        control = stack.control(fault.component)
        if identity(control.found()) == identity(facts):
            return control
        why = "another is in its place"
    except StackError as error:
        why = str(error)
    raise FaultError(f"{fault.kind}: {fault.component} was gone before it could be {done}: {why}")
