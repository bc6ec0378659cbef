"""What a fault may need of the host that it is injected on, and what of it this host does not have."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.stack import volume


def _root() -> str:
    return "" if os.geteuid() == 0 else f"this process runs as user {os.geteuid()}"


def _mount() -> str:
    return "" if volume.may_mount() else "this process lacks CAP_SYS_ADMIN"


def _cgroup() -> str:
    roots = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")]  # version 2, version 1
    if any(os.access(root / "cgroup.procs", os.W_OK) for root in roots):
        return ""
    return "no control group below /sys/fs/cgroup can be written to"


def _gpu() -> str:
    return "" if Path("/dev/nvidiactl").exists() else "there is no /dev/nvidiactl"


NEEDS: dict[str, Callable[[], str]] = {
    "root": _root,
    "mount": _mount,
    "disk": volume.lacking,
    "cgroup": _cgroup,
    "gpu": _gpu,
}


def missing(needs: Sequence[str]) -> list[str]:
    """Which of these needs this host does not meet, each with the reason. Raises KeyError for an unknown need."""
    return [f"{need} ({reason})" for need in needs if (reason := NEEDS[need]())]
