"""Asks what may never answer, such as CUDA, in a thread of its own that no exit waits for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


class Unanswered(Exception):
    """The question before has no answer yet."""


class Aside:
    """Asks one question at a time: one that hangs takes one thread, however often others are tried."""

    def __init__(self, name: str):
        self._name, self._waiting = name, False

    async def ask(self, question: Callable[[], Answer]) -> Answer:
        """What it gives; raises what it raises, and Unanswered while the question before has no answer."""
        if self._waiting:
            raise Unanswered(f"{self._name}: the question before has no answer yet")
        self._waiting = True
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()

        def settle(given: Answer | None, error: Exception | None) -> None:
            self._waiting = False
            if answer.done():  # who asked waits no more
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(given)

        def run() -> None:
            given, failed = None, None
            try:
                given = question()
            except Exception as error:
                failed = error
            with contextlib.suppress(RuntimeError):  # the loop has closed
                loop.call_soon_threadsafe(settle, given, failed)

        threading.Thread(target=run, name=self._name, daemon=True).start()
        return await answer
