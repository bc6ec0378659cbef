"""Fills a disk and keeps it full, until its file is gone.

Usage: `python -m harness.stack.filler FILE LEFT_BYTES OVER_S`; FILE is there and empty, and lies on that disk.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from harness.stack.volume import free_bytes

LOOK_S, BLOCK = 0.02, 4096


def fill(path: Path, left_bytes: int, over_s: float) -> None:
    """Take what is free but for so many bytes, in so many seconds and evenly; and later whatever becomes free again."""
    file = os.open(path, os.O_WRONLY)
    began, free_then = time.monotonic(), free_bytes(path.parent)
    while _is(path, file):
        done = min(1.0, (time.monotonic() - began) / over_s) if over_s else 1.0
        wanted = left_bytes + (1 - done) * max(0, free_then - left_bytes)
        more = int(free_bytes(path.parent) - wanted)
        while more >= BLOCK:  # what the file system needs for itself is less than so much
            size = os.fstat(file).st_size
            with suppress(OSError):
                os.posix_fallocate(file, size, more)
                break
            os.ftruncate(file, size)
            more //= 2
        time.sleep(LOOK_S)


def _is(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except OSError:
        return False


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
