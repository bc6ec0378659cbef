"""Which receivers fail just now: a file of the run, written by a fault and read by the sinks at each message."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

HOWS = ("status", "slow", "refused")


@dataclass(frozen=True)
class Failing:
    """How messages are not taken; of one receiver or integration ("pagerduty", or "slack[1]"), or, empty, of all."""

    how: Literal["status", "slow", "refused"]
    integration: str = ""
    receiver: str = ""
    status: int = 503
    delay_ms: int = 0

    def is_about(self, integration: str, receiver: str) -> bool:
        """Whether it is done to a message."""
        names = ("", integration, integration.partition("[")[0])
        return self.integration in names and self.receiver in ("", receiver)


def file_of(run: Path) -> Path:
    """Where it lies."""
    return run.resolve() / "requests" / "receiver-failing"


def write(run: Path, how: Failing) -> None:
    """From now on."""
    path = file_of(run)
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(asdict(how)))
    os.replace(scratch, path)


def failing(run: Path, integration: str, receiver: str = "") -> Failing | None:
    """How a message to an integration of a receiver is not taken now; None: it is taken. Without a receiver: whichever
    it is for."""
    try:
        how = Failing(**json.loads(file_of(run).read_text()))
    except FileNotFoundError:
        return None
    return how if how.is_about(integration, receiver or how.receiver) else None
