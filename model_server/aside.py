"""Asks what may never answer, such as CUDA, in a thread of its own that no exit waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Answer = TypeVar("Answer")


class Unanswered(Exception):
    """The question before has no answer yet."""


class Aside:
    """Asks one question at a time: one that hangs takes one thread, however often others are tried."""

    def __init__(self, name: str):
        self._name = name
        self._last: Future | None = None

    async def ask(self, question: Callable[[], Answer]) -> Answer:
        """What it gives; raises what it raises, and Unanswered while the question before has no answer."""
        if self._last is not None and not self._last.done():
            raise Unanswered(f"{self._name}: the question before has no answer yet")
        answer: Future[Answer] = Future()
        answer.set_running_or_notify_cancel()  # from now on it has to come, though nobody may wait for it any more
        self._last = answer

        def run() -> None:
            try:
                answer.set_result(question())
            except Exception as error:
                answer.set_exception(error)

        threading.Thread(target=run, name=self._name, daemon=True).start()
        return await asyncio.wrap_future(answer)
