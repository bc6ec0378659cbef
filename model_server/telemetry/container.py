"""What this container uses and may use of memory and CPU (from cgroup v2 or v1, else from the process), and what goes
over its network."""

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import psutil

ROOT = Path("/")
OTHERS = ("veth", "cali", "lxc", "tap", "docker", "br-", "virbr")  # interfaces of other containers


class Memory(NamedTuple):
    used_bytes: int  # page cache too
    limit_bytes: int
    working_set_bytes: int  # of it what the kernel cannot take back at once


class Cpu(NamedTuple):
    used_s: float
    cores: float  # allowed
    throttled_s: float | None  # kept from running; None without a quota


def memory(root: Path = ROOT) -> Memory:
    """The tightest cgroup limit at or above us, with that cgroup's usage; without one, the process against its own
    limit on address space or, last, the machine's memory. A cgroup without a limit is no container: its usage is not
    ours."""
    machine = psutil.virtual_memory().total
    limited = []
    for version, folder in _cgroups(root, "memory"):
        usage, limit = ("current", "max") if version == 2 else ("usage_in_bytes", "limit_in_bytes")
        with contextlib.suppress(OSError, ValueError):  # not visible from here, or "max"
            used, allowed = (int((folder / f"memory.{name}").read_text()) for name in (usage, limit))
            if allowed < machine:
                limited.append((allowed, used, folder))
    if limited:
        allowed, used, folder = min(limited)
        inactive = 0  # bytes of files in its page cache that nobody has used lately
        with contextlib.suppress(OSError, ValueError):
            stat = _numbers(folder / "memory.stat")
            inactive = stat.get("total_inactive_file", stat.get("inactive_file", 0))  # v1 counts groups below apart
        return Memory(used, allowed, max(0, used - inactive))  # the kernel takes long to add these up
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    process = psutil.Process().memory_info()
    if address_space != resource.RLIM_INFINITY:
        return Memory(process.vms, address_space, process.vms)
    return Memory(process.rss, machine, process.rss)


def cpu(root: Path = ROOT) -> Cpu:
    """The tightest quota at or above us, with that cgroup's usage; without one, the process against its cores."""
    limited = []
    for version, folder in _cgroups(root, "cpu"):
        with contextlib.suppress(OSError, ValueError, KeyError):  # not visible from here, or no quota
            limited.append(_quota_v2(folder) if version == 2 else _quota_v1(folder))
    return min(limited, key=lambda found: found.cores, default=Cpu(time.process_time(), cores(), None))


def traffic() -> dict[str, Any]:
    """psutil's counters of each network interface, but for those of other containers, which come and go unbounded."""
    return {name: seen for name, seen in psutil.net_io_counters(pernic=True).items() if not name.startswith(OTHERS)}


def cores() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota_v2(folder: Path) -> Cpu:
    quota, period = (folder / "cpu.max").read_text().split()
    stat = _numbers(folder / "cpu.stat")
    return Cpu(stat["usage_usec"] / 1e6, int(quota) / int(period), stat["throttled_usec"] / 1e6)


def _quota_v1(folder: Path) -> Cpu:
    quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    if quota <= 0:
        raise ValueError("no quota")
    account = Path(str(folder).replace("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpuacct", 1))  # mounted together or apart
    used_s = int((account / "cpuacct.usage").read_text()) / 1e9
    return Cpu(used_s, quota / period, _numbers(folder / "cpu.stat")["throttled_time"] / 1e9)


def _cgroups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """(version, folder) of the cgroup we are in and of its ancestors, as far as they may be seen from here."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mounts = {controller: (1, f"sys/fs/cgroup/{controller}"), "": (2, "sys/fs/cgroup")}
    for _, controllers, path in (line.split(":", 2) for line in lines):
        for version, mount in (mounts[name] for name in controllers.split(",") if name in mounts):
            own = PurePosixPath(path.lstrip("/"))
            for place in dict.fromkeys((own, *own.parents, PurePosixPath("."))):
                yield version, root / mount / place


def _numbers(path: Path) -> dict[str, int]:
    return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}
