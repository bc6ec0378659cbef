"""What a fault may need of the host that it is injected on, and what of it this host does not have."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

CAP_SYS_ADMIN = 21


def _root() -> str:
    return "" if os.geteuid() == 0 else f"this process runs as user {os.geteuid()}"


def _mount() -> str:
    effective = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return "" if effective and int(effective[1], 16) >> CAP_SYS_ADMIN & 1 else "this process lacks CAP_SYS_ADMIN"


def _cgroup() -> str:
    roots = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")]  # version 2, version 1
    if any(os.access(root / "cgroup.procs", os.W_OK) for root in roots):
        return ""
    return "no control group below /sys/fs/cgroup can be written to"


def _controller(name: str) -> str:
    """Whether control groups can limit what a controller acts on: of version 1, else of version 2."""
    v1, v2 = Path("/sys/fs/cgroup", name), Path("/sys/fs/cgroup/cgroup.controllers")
    if os.access(v1 / "cgroup.procs", os.W_OK):
        return ""
    which = {"blkio": "io"}.get(name, name)
    if not v1.exists() and v2.exists():
        if which not in v2.read_text().split():
            return f"the control groups here have no controller {which}"
        if os.access(v2.with_name("cgroup.procs"), os.W_OK):
            return ""
    return f"no control group of {which} below /sys/fs/cgroup can be written to"


def _gpu() -> str:
    return "" if Path("/dev/nvidiactl").exists() else "there is no /dev/nvidiactl"


NEEDS: dict[str, Callable[[], str]] = {
    "root": _root,
    "mount": _mount,
    "cgroup": _cgroup,
    "cgroup_cpu": partial(_controller, "cpu"),
    "cgroup_memory": partial(_controller, "memory"),
    "cgroup_blkio": partial(_controller, "blkio"),
    "gpu": _gpu,
}


def missing(needs: Sequence[str]) -> list[str]:
    """Which of these needs this host does not meet, each with the reason. Raises KeyError for an unknown need."""
    return [f"{need} ({reason})" for need in needs if (reason := NEEDS[need]())]
