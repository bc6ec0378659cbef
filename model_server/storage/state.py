"""The folder for what the server writes: the one it is given, else one of its own that goes when it goes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from model_server import SERVICE

PREFIX = f"{SERVICE}-{os.geteuid()}-"
YOUNG_S = 60.0  # a folder younger than this may be about to be locked by its owner


class State:
    """`path` is there; `temporary` says whether it ends with the process. Raises OSError."""

    def __init__(self, given: str = ""):
        self.temporary = not given
        if self.temporary:
            sweep()
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._lock = _locked(self.path)
        else:
            self.path = Path(given).absolute()
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        """Remove the folder if it was temporary."""
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)


def sweep() -> None:
    """Remove the folders of servers that were killed: theirs are the locks that nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.geteuid() or time.time() - folder.stat().st_mtime < YOUNG_S:
                continue
            lock = _locked(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int:
    """The descriptor of the folder's lock, held until it is closed. Raises OSError when another process holds it."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock
