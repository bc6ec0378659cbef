"""What a fault may need of the host that it is injected on, whether this host has it, and how to get it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness.stack import volume

COMPILERS = ("cc", "gcc", "clang")
GPU_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl")
FAKETIME = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")
POSTGRES = "/usr/lib/postgresql/*/bin/postgres"  # Debian has it outside PATH
CGROUPS = Path("/sys/fs/cgroup")
CGROUP_REMEDY = "run it as root; in a container: --privileged --cgroupns host"
CONTROLLERS = ("cpu", "memory", "pids")  # that faults use; version 1 has a folder for each


class Found(NamedTuple):
    """What a look at the host gave."""

    there: bool
    said: str  # what there is, or why it is not there


class Need(NamedTuple):
    """Something that a host may have."""

    about: str
    look: Callable[[], Found]
    remedy: str  # the command that gets it, or what else to do


class Lack(NamedTuple):
    """A need that this host does not meet."""

    need: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.need} ({self.reason})"


def _root() -> Found:
    user = os.geteuid()
    return Found(user == 0, f"this process runs as {'root' if user == 0 else f'user {user}'}")


def _mount() -> Found:
    has = volume.may_mount()
    return Found(has, f"this process {'has' if has else 'lacks'} CAP_SYS_ADMIN")


def _disk() -> Found:
    reason = volume.lacking()
    return Found(not reason, reason or "file systems in files can be made and mounted")


def _cgroup() -> Found:
    if (CGROUPS / "cgroup.controllers").exists():
        if not os.access(CGROUPS / "cgroup.procs", os.W_OK):
            return Found(False, f"version 2, and {CGROUPS} cannot be written to")
        there = {*(CGROUPS / "cgroup.controllers").read_text().split()}
        controllers = [name for name in CONTROLLERS if name in there]
    else:
        controllers = [name for name in CONTROLLERS if os.access(CGROUPS / name / "cgroup.procs", os.W_OK)]
        if not controllers:
            return Found(False, f"no control group below {CGROUPS} can be written to")
    version = 2 if (CGROUPS / "cgroup.controllers").exists() else 1
    return Found("memory" in controllers, f"version {version}, controllers {', '.join(controllers) or 'none'}")


def _program(*names: str, beside: Sequence[str] = ()) -> Found:
    """A program by any of its names, or a file by a pattern."""
    if at := next(filter(None, map(shutil.which, names)), None) or next(_files(beside), None):
        return Found(True, at)
    return Found(False, f"there is no {' or '.join(names)}")


def _controller(name: str) -> Found:
    """Whether control groups can limit what a controller acts on: of version 1, else of version 2."""
    v1, v2 = CGROUPS / name, CGROUPS / "cgroup.controllers"
    if os.access(v1 / "cgroup.procs", os.W_OK):
        return Found(True, f"version 1, {v1}")
    which = {"blkio": "io"}.get(name, name)
    if not v1.exists() and v2.exists():
        if which not in v2.read_text().split():
            return Found(False, f"the control groups here have no controller {which}")
        if os.access(CGROUPS / "cgroup.procs", os.W_OK):
            return Found(True, f"version 2, {which}")
    return Found(False, f"no control group of {which} below {CGROUPS} can be written to")


def _gpu() -> Found:
    there = [path for path in GPU_FILES if Path(path).exists()]
    return Found(bool(there), there[0] if there else f"there is no {' or '.join(GPU_FILES)}")


def _files(patterns: Sequence[str]) -> Iterator[str]:
    for pattern in patterns:
        yield from map(str, sorted(Path("/").glob(pattern.lstrip("/"))))


NEEDS: dict[str, Need] = {
    "root": Need("the rights of root", _root, "run it as root: sudo -E harness ..."),
    "mount": Need("mounts of its own", _mount, "run it as root; in a container: --cap-add SYS_ADMIN"),
    "disk": Need("file systems of its own", _disk, "run it as root, with mkfs.ext4: apt-get install e2fsprogs"),
    "cgroup": Need("control groups", _cgroup, CGROUP_REMEDY),
    **{
        f"cgroup_{name}": Need(f"control groups of {name}", partial(_controller, name), CGROUP_REMEDY)
        for name in ("cpu", "memory", "blkio")
    },
    "compiler": Need("a C compiler", partial(_program, *COMPILERS), "apt-get install gcc libc6-dev"),
    "faketime": Need("libfaketime", partial(_program, "faketime", beside=FAKETIME), "apt-get install faketime"),
    "postgres": Need("PostgreSQL", partial(_program, "postgres", beside=[POSTGRES]), "apt-get install postgresql"),
    "podman": Need("containers", partial(_program, "podman", "docker"), "apt-get install podman"),
    "gpu": Need("an NVIDIA GPU and its driver", _gpu, "run it on a host that has one"),
}


def missing(needs: Sequence[str]) -> list[Lack]:
    """Which of these needs this host does not meet. Raises KeyError for an unknown need."""
    looks = [(need, NEEDS[need], NEEDS[need].look()) for need in needs]
    return [Lack(name, found.said, need.remedy) for name, need, found in looks if not found.there]
