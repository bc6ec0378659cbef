"""Something that is done again and again by a thread of its own, because it may hang."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Repeated:
    """Calls `do` at once and then every `every_s` seconds until it is closed. `do` handles its own errors."""

    def __init__(self, name: str, do: Callable[[], None], every_s: float):
        self._do, self._every_s = do, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; what hangs is left alone after a second."""
        self._stop.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        self._do()
        while not self._stop.wait(self._every_s):
            self._do()
