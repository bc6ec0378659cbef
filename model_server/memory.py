"""How much memory this container uses and may use: from cgroup v2 or v1, else from the process."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usage_and_limit(root: Path = Path("/")) -> tuple[int, int]:
    """Bytes used and bytes allowed.

    The tightest cgroup limit at or above us, with that cgroup's usage; without one, the process against its own limit
    on address space or, last, the machine's memory. A cgroup without a limit is no container: its usage is not ours.
    """
    machine = _kilobytes(root / "proc/meminfo", "MemTotal:")
    limits = [(limit, usage) for limit, usage in _cgroups(root) if limit < machine]
    if limits:
        limit, usage = min(limits)
        return usage, limit
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if address_space != resource.RLIM_INFINITY:
        return _kilobytes(root / "proc/self/status", "VmSize:"), address_space
    return _kilobytes(root / "proc/self/status", "VmRSS:"), machine


def _cgroups(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, usage) of the cgroups we are in and their ancestors, where they are limited."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            mount, limit, usage = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        elif controllers == "":
            mount, limit, usage = "sys/fs/cgroup", "memory.max", "memory.current"
        else:
            continue
        own = PurePosixPath(path.lstrip("/"))
        for place in dict.fromkeys((own, *own.parents, PurePosixPath("."))):
            folder = root / mount / place
            try:
                yield int((folder / limit).read_text()), int((folder / usage).read_text())
            except (OSError, ValueError):  # not visible from here, or "max"
                continue


def _kilobytes(path: Path, key: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise ValueError(f"{path} has no {key}")
