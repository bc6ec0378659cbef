"""Looks at what may hang to look at, in a thread of its own: the model's storage and the state folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import structlog

from model_server.storage.stores import Stores
from model_server.threads import Repeated

EVERY_S = 1.0
READ_BYTES = 65536  # of the model each time: enough to see that its storage answers


class Watch:
    """`up` says whether the weights could be read and the state folder written, and not too long ago."""

    def __init__(self, weights: Path, state: Path, stores: Stores, within_s: float):
        self._weights, self._state, self._stores = weights, state, stores
        self._within_s = within_s
        self._wrong: str | None = None  # "": nothing; None: not looked yet
        self._seen = time.monotonic()
        self._looks = Repeated("watch", self._look, EVERY_S)

    @property
    def up(self) -> bool:
        return self._wrong == "" and time.monotonic() - self._seen <= self._within_s + EVERY_S

    def close(self) -> None:
        self._looks.close()

    def _look(self) -> None:
        was, wrong = self._wrong, ""
        for store, operation, try_it in (("model", "read", self._read_model), ("state", "write", self._write_state)):
            try:
                with self._stores.operation(store, operation) as done:
                    done.size = try_it()
            except OSError as error:
                wrong = wrong or str(error)
        self._wrong, self._seen = wrong, time.monotonic()
        if wrong and wrong != was:
            structlog.get_logger().error("Storage does not work", reason=wrong)
        elif was and not wrong:
            structlog.get_logger().info("Storage works again")

    def _read_model(self) -> int:
        with self._weights.open("rb") as file:
            return len(file.read(READ_BYTES))

    def _write_state(self) -> int:
        probe = self._state / f".probe-{os.getpid()}"
        size = probe.write_bytes(b"\0" * 4096)  # a full disk takes an empty file
        probe.unlink()
        self._stores.look()
        return size
