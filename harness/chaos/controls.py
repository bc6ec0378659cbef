"""Stamps each step of an experiment into the run's events, so that even a killed run says how far it came."""

from __future__ import annotations

import os
from typing import Any

from harness.chaos.actions import EXPERIMENT
from harness.errors import HarnessError
from harness.eventlog import append
from harness.masking import hidden
from harness.stack.stack import Stack


def before_activity_control(context: dict[str, Any], **_: Any) -> None:
    """An action or a probe begins."""
    _stamp(context, "ok", edge="begin")


def after_activity_control(context: dict[str, Any], state: dict[str, Any], **_: Any) -> None:
    """An action or a probe has ended; `state` is its entry in the journal."""
    failed = state.get("status") != "succeeded" or state.get("tolerance_met") is False
    _stamp(context, "fail" if failed else "ok", edge="end", problem=hidden(str(state.get("exception", "")))[-300:])


def _stamp(context: dict[str, Any], outcome: str, **detail: str) -> None:
    detail |= {"experiment": os.environ.get(EXPERIMENT, "chaos"), "type": context.get("type", "")}
    try:
        run = Stack.current().run
    except HarnessError:
        return  # no run to write to: plain Chaos Toolkit says the same in its own log
    append(run, "chaos", context.get("name", ""), outcome, **detail)
