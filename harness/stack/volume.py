"""A disk of its own for a component: a file system in a sparse file, so that it can fill up and the host's does not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from harness.errors import StackError

CAP_SYS_ADMIN = 21
MAKE = ("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard")  # all of it may be used, by anybody
COMMAND_S = 30.0


class Mount(NamedTuple):
    """Something that is mounted."""

    place: str
    source: str
    read_only: bool  # here, whatever its file system is elsewhere


def lacking() -> str:
    """Why this host lets us make none; empty where it does."""
    if not may_mount():
        return "this process lacks CAP_SYS_ADMIN"
    if not Path("/dev/loop-control").exists():
        return "there is no /dev/loop-control"
    return next((f"there is no {program}" for program in ("mkfs.ext4", "mount") if not shutil.which(program)), "")


def may_mount() -> bool:
    """Whether this process may mount anything."""
    effective = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return effective is not None and bool(int(effective[1], 16) >> CAP_SYS_ADMIN & 1)


def make(place: Path, size: float) -> None:
    """Put a new, empty disk of a size in bytes at a place, with its file beside it. Raises StackError."""
    image = place.with_name(f".{place.name}.disk")
    place.mkdir(parents=True, exist_ok=True)
    with open(image, "xb") as file:
        file.truncate(int(size))
    for command in ([*MAKE, str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S)
        if done.returncode != 0:
            raise StackError(f"no disk of its own could be made at {place}: {done.stderr.strip()}")
    place.chmod(0o700)
    (place / "lost+found").rmdir()  # a database wants its folder empty


def unmount_below(folder: Path) -> None:
    """Unmount all that is mounted in a folder, the latest first, at once where it is in use; what cannot be is left."""
    there = folder.resolve()
    for mount in reversed(mounts()):
        if there in Path(mount.place).parents:
            subprocess.run(["umount", "-l", mount.place], capture_output=True, timeout=COMMAND_S)


def mounts() -> list[Mount]:
    """What is mounted, in the order of mounting."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        about, _, more = line.partition(" - ")
        *_, place, options = about.split()[:6]
        place, source = (re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), x) for x in (place, more.split()[1]))
        found.append(Mount(place, source, "ro" in options.split(",")))
    return found


def free_bytes(folder: Path) -> int:
    """How many bytes may still be written to the disk that a folder is on."""
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize
