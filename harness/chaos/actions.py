"""The actions of experiments, `module: harness.chaos.actions`: `heal`, `send`, and one made from each line of FAULTS.

The arguments of such an action are the fault's parameters and `lease_s`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ValidationError

from harness.chaos import foreign
from harness.errors import FaultError
from harness.faults import FAULTS, Fault
from harness.faults.inject import end, inject
from harness.history import rows_file
from harness.parameters import arguments_of
from harness.stack import generator
from harness.stack.stack import Stack

SENT_WITHIN_S = 30.0  # after its schedule; its start and its last answers take time
EXPERIMENT = "HARNESS_EXPERIMENT"  # the experiment's name, set by whoever starts Chaos Toolkit
BESIDE = "HARNESS_BESIDE"  # those of the experiments that take place at the same time


def heal() -> list[str]:
    """Undo every fault that is still on; gives their kinds. An action of somebody else's is left to its rollbacks, and
    what belongs to an experiment that takes place at the same time to that one."""
    stack, others = Stack.current(), os.environ.get(BESIDE, "").split(",")
    mine = [e for e in stack.ledger.open() if e.kind != foreign.KIND and e.experiment not in others]
    return end(stack, mine, by="heal")


def send(scenario: str, arrivals: str, for_s: float, name: str = "sent") -> str:
    """Send the requests of a scenario for a bounded time, to their end; breaks nothing. `name`: of its rows."""
    stack = Stack.current()
    argv = generator.command(
        Path(scenario), stack.service_url, arrivals=arrivals, for_s=for_s, rows=rows_file(stack.run, name),
        events=stack.run / "events.jsonl", name=name, **stack.access,
    )  # fmt: skip
    child = generator.start(name, argv, stack.run, Path(scenario))
    try:
        child.popen.wait(for_s + SENT_WITHIN_S)
    finally:
        child.end()
    if child.popen.returncode != 0:
        child.check()
    return name


@cache
def action(fault: type[Fault]) -> Callable[..., str]:
    """The action that injects a fault: Chaos Toolkit checks an experiment's arguments against its signature."""
    types = get_type_hints(fault)
    parameters = [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=field.default_factory()
            if field.default_factory is not MISSING
            else Parameter.empty
            if field.default is MISSING
            else field.default,
            annotation=types[field.name],
        )
        for field in fields(fault)
    ]
    parameters.append(Parameter("lease_s", Parameter.KEYWORD_ONLY, default=fault.lease_s, annotation=float))

    def act(*, lease_s: float = fault.lease_s, **given: Any) -> str:
        try:
            model.model_validate({**given, "lease_s": lease_s}, strict=True)
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}; got {one['input']!r}" for one in error.errors()]
            raise FaultError(f"{fault.kind}: {'; '.join(wrong)}") from None
        return inject(fault(**given), Stack.current(), os.environ.get(EXPERIMENT, "chaos"), lease_s).id

    def mistakes(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        try:
            made = fault(**{name: value for name, value in given.items() if name != "lease_s"})
        except TypeError:
            return  # one that it must have is missing
        yield from made.mistakes()

    act.__name__ = act.__qualname__ = fault.kind
    act.__doc__ = fault.__doc__
    act.__signature__ = Signature(parameters, return_annotation=str)
    act.mistakes, act.fault = mistakes, fault  # for whoever reads an experiment
    model = arguments_of(act)
    return act


def __getattr__(name: str) -> Callable[..., str]:
    if name in FAULTS:
        return action(FAULTS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Chaos Toolkit finds an action by listing the functions of the module."""
    return sorted([*globals(), *FAULTS])
