"""Threads for what may block or hang, such as disks, databases and CUDA, so that nobody else does."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

LOOK_IN_S = 0.05  # between two looks of a thread whose items a SIGKILL is to spare
# What a SIGKILL may take with it of what such a thread keeps: what came since its last look, and while it wrote.
LOSS_WINDOW_S = 2 * LOOK_IN_S


class Outbox(Generic[Item]):
    """A bounded queue for one taker. `put` is a few hundred nanoseconds and takes no lock: the taker looks in now and
    then instead of being woken, because each wake would hand it the interpreter in the middle of a request."""

    def __init__(self, limit: int):
        self.limit = limit
        self.batch: list[Item] = []  # taken, and not known to be done with
        self._items: deque[Item] = deque()

    def put(self, item: Item) -> bool:
        """Whether there was room."""
        if len(self._items) >= self.limit:
            return False
        self._items.append(item)
        return True

    def oldest(self) -> Item | None:
        """What waits for longest; None when nothing waits. Any thread may ask."""
        for waiting in (self.batch, self._items):
            try:
                return waiting[0]
            except IndexError:
                continue
        return None

    def batches(self, most: int) -> Iterator[list[Item]]:
        """Up to `most` items at a time, until they do not fill a batch: what comes meanwhile waits until the next look.
        Taken as it came, it would be a write for every few items, which cost the taker twice as much as the items. A
        batch whose taker raises comes again first."""
        full = True
        while self.batch or (full and self._items):
            if not self.batch:
                self.batch = [self._items.popleft() for _ in range(min(most, len(self._items)))]
                full = len(self.batch) == most
            yield self.batch
            self.batch = []

    def __len__(self) -> int:
        return len(self._items) + len(self.batch)


class Repeated:
    """Calls `do` at once and every `every_s` seconds until it is closed, and `last` then. Both handle their errors."""

    def __init__(self, name: str, do: Callable[[], None], every_s: float, last: Callable[[], None] = lambda: None):
        self._do, self._every_s, self._last = do, every_s, last
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self, within_s: float = 1.0) -> bool:
        """End it; what hangs is left alone after `within_s` seconds. Whether it has ended."""
        self._stop.set()
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._do()
        while not self._stop.wait(self._every_s):
            self._do()
        self._last()


class Unanswered(Exception):
    """The question before has no answer yet."""


class Aside:
    """Asks one question at a time: one that hangs takes one thread, and no exit waits for it."""

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
