"""From the event loop to a thread that does what may block: never waits, never grows beyond its bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

LOOK_IN_S = 0.05  # between two looks of a thread whose items a SIGKILL is to spare
# What a SIGKILL may take with it of what such a thread keeps: what came since its last look, and while it wrote.
LOSS_WINDOW_S = 2 * LOOK_IN_S


class Outbox(Generic[Item]):
    """A bounded queue for one taker. `put` is a few hundred nanoseconds and takes no lock: the taker looks in now and
    then instead of being woken, because each wake would hand it the interpreter in the middle of a request."""

    def __init__(self, limit: int):
        self.limit = limit
        self._items: deque[Item] = deque()

    def put(self, item: Item) -> bool:
        """Whether there was room."""
        if len(self._items) >= self.limit:
            return False
        self._items.append(item)
        return True

    def oldest(self) -> Item | None:
        """What waits for longest; None when nothing waits. Any thread may ask."""
        try:
            return self._items[0]
        except IndexError:
            return None

    def take(self, most: int) -> list[Item]:
        """Up to `most` of the oldest items; at once, and empty when there are none."""
        return [self._items.popleft() for _ in range(min(most, len(self._items)))]

    def batches(self, most: int) -> Iterator[list[Item]]:
        """Up to `most` items at a time, until they do not fill a batch: what comes meanwhile waits until the next look.
        Taken as it came, it would be a write for every few items, which cost the taker twice as much as the items."""
        while items := self.take(most):
            yield items
            if len(items) < most:
                return

    def __len__(self) -> int:
        return len(self._items)
