"""Something that is done again and again by a thread of its own, because it may hang."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Repeated:
    """Calls `do` at once and then every `every_s` seconds until it is closed, and `last` then. Both handle their own
    errors."""

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
