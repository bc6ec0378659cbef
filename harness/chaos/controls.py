"""Stamps each step of an experiment into the run's events, so that even a killed run says how far it came.

And makes a fault of an action of somebody else's for which the contract names a witness."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from chaoslib.exceptions import InterruptExecution

from harness.chaos.actions import EXPERIMENT
from harness.chaos.foreign import Foreign, is_foreign, witness_of
from harness.errors import HarnessError
from harness.eventlog import append
from harness.masking import hidden
from harness.stack.stack import Stack
from harness.witness import Witness

_witness: Witness | None = None  # of the experiment that this process runs
_awaited: dict[str, Any] | None = None  # the action of its method that the witness is of
_foreign: Foreign | None = None  # that action, once it has begun


def before_experiment_control(context: dict[str, Any], **_: Any) -> None:
    """An experiment begins; `context` is its file."""
    global _witness, _awaited, _foreign
    _witness, _awaited, _foreign = witness_of(context), None, None
    if _witness is not None:
        named = [a for a in context.get("method") or () if is_foreign(a) and _witness.action in (None, a.get("name"))]
        _awaited = next(iter(named), None)


def before_activity_control(context: dict[str, Any], **arguments: Any) -> None:
    """An action or a probe begins."""
    global _foreign
    _stamp(context, "ok", edge="begin")
    if _foreign is None and _awaited is not None and context == _awaited:
        experiment, name = os.environ.get(EXPERIMENT, "chaos"), str(context.get("name", ""))
        try:
            _foreign = Foreign(_witness, Stack.current(), experiment, name, Path(arguments["file"]))
        except (HarnessError, OSError, ValueError) as error:
            raise InterruptExecution(f"{name}: how to undo it could not be written down: {error}") from error


def after_activity_control(context: dict[str, Any], state: dict[str, Any], **_: Any) -> None:
    """An action or a probe has ended; `state` is its entry in the journal."""
    failed = state.get("status") != "succeeded" or state.get("tolerance_met") is False
    problem = hidden(str(state.get("exception", "")))[-300:]
    _stamp(context, "fail" if failed else "ok", edge="end", problem=problem)
    if _foreign is not None and context == _awaited:
        _foreign.acted((problem or "it did not succeed") if failed else "")


def after_experiment_control(context: dict[str, Any], **_: Any) -> None:
    """The experiment has ended, its rollbacks with it."""
    if _foreign is not None:
        _foreign.rolled_back()


def _stamp(context: dict[str, Any], outcome: str, **detail: str) -> None:
    detail |= {"experiment": os.environ.get(EXPERIMENT, "chaos"), "type": context.get("type", "")}
    try:
        run = Stack.current().run
    except HarnessError:
        return  # no run to write to: plain Chaos Toolkit says the same in its own log
    append(run, "chaos", context.get("name", ""), outcome, **detail)
