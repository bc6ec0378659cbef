"""Copies what is appended to files into a run's folder, whatever rotates or truncates them meanwhile."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

EVERY_S = 0.1
AT_ONCE = 1 << 20
KNOWN = 256  # of the last bytes read, by which a file is known again
Report = Callable[..., None]  # what happened to a file: (name, outcome, file=..., **more)


@contextmanager
def following(files: Mapping[Path, Path], report: Report) -> Iterator[None]:
    """While the block runs, what is appended to each file (the values) is appended to its copy (the keys); what is
    there when the block begins is not. `report` gets each rotation and truncation. Raises nothing: a file that never
    was there has no copy."""
    over = threading.Event()
    followers = [Follower(path, copy, report) for copy, path in files.items()]

    def follow() -> None:
        while not over.wait(EVERY_S):
            for follower in followers:
                follower.look()

    thread = threading.Thread(target=follow, name="follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)
        for follower in followers:
            follower.look()
            follower.close()


class Follower:
    """One file and its copy."""

    def __init__(self, path: Path, copy: Path, report: Report):
        self.path, self.copy, self._report = path, copy, report
        self._file: BinaryIO | None = None
        self._place, self._last, self._wrong = 0, b"", ""
        self._open()
        if self._file is not None:
            self._place = self._file.seek(0, os.SEEK_END)
            self._last = self._before(self._file, self._place)

    def look(self) -> None:
        """Copy what is new."""
        try:
            self._look()
        except OSError as error:
            self._fails(error.strerror or str(error))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _look(self) -> None:
        if self._file is None:
            self._open()
        if self._file is None:
            return
        if self._truncated():
            found = self._moved_copy()
            self._report("truncated", "ok" if found else "unknown", file=str(self.path), copy=found, after=self._place)
            self._place, self._last = 0, b""
        self._take(self._file)
        there = _about(self.path)
        ours = os.fstat(self._file.fileno())
        if there is not None and (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            self._take(self._file)  # what came between the two looks
            self._report("rotated", "ok", file=str(self.path), after=self._place)
            self.close()
            self._place, self._last = 0, b""
            self._open()
            if self._file is not None:
                self._take(self._file)

    def _open(self) -> None:
        about = _about(self.path)
        if about is None:
            return
        if not stat.S_ISREG(about.st_mode):  # to open a named pipe would wait
            self._fails("it is no regular file")
            return
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115 - closed by close()
        except OSError as error:
            self._fails(error.strerror or str(error))

    def _take(self, file: BinaryIO) -> None:
        file.seek(self._place)
        while block := file.read(AT_ONCE):
            with open(self.copy, "ab") as out:
                out.write(block)
            self._place += len(block)
            self._last = (self._last + block)[-KNOWN:]

    def _truncated(self) -> bool:
        size = os.fstat(self._file.fileno()).st_size
        return size < self._place or self._before(self._file, self._place) != self._last

    def _before(self, file: BinaryIO, place: int) -> bytes:
        return os.pread(file.fileno(), min(KNOWN, place), max(0, place - KNOWN))

    def _moved_copy(self) -> str:
        """Take what a file held that was copied and then truncated, where its copy lies beside it; the copy's name."""
        for beside in sorted(self.path.parent.glob(f"{self.path.name}?*")):
            about = _about(beside)
            if about is None or not stat.S_ISREG(about.st_mode) or about.st_size < self._place or not self._last:
                continue
            with open(beside, "rb") as file:
                if self._before(file, self._place) == self._last:
                    self._take(file)
                    return beside.name
        return ""

    def _fails(self, why: str) -> None:
        if why != self._wrong:
            self._wrong = why
            self._report("unreadable", "unknown", file=str(self.path), problem=why)


def _about(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
