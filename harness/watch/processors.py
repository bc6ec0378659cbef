"""What the processors of this machine did so far, and how much of it was for us: the rest went to neighbours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
ALL = 8  # user, nice, system, idle, iowait, irq, softirq, steal


def ticks(roots: Iterable[int], proc: Path = PROC) -> dict[str, int]:
    """Ticks of all processors since boot; empty where the kernel does not say.

    `all`; `stolen` by the host; `idle`; `busy` with processes; `own`: of that for these processes and all that they
    started. A process that has ended counts for the one that waited for it, so `own` loses nothing while roots live.
    """
    try:
        counted = [int(n) for n in (proc / "stat").read_text().split("\n", 1)[0].split()[1 : 1 + ALL]]
    except (OSError, ValueError):
        return {}
    if len(counted) < ALL:
        return {}
    user, nice, system, idle, waiting, _, _, stolen = counted
    found = {"all": sum(counted), "stolen": stolen, "idle": idle + waiting, "busy": user + nice + system}
    return found | {"own": _used(set(roots), proc)}


def _used(roots: set[int], proc: Path) -> int:
    """Ticks used by processes, those that they started, and those of them that have ended."""
    used: dict[int, int] = {}
    started: defaultdict[int, list[int]] = defaultdict(list)
    for folder in proc.iterdir():
        if folder.name.isdigit():
            try:
                by, spent = _status(folder)
            except (OSError, ValueError, IndexError):  # it has just ended
                continue
            used[int(folder.name)] = spent
            started[by].append(int(folder.name))
    total, seen, waiting = 0, set(), list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in seen:
            seen.add(pid)
            total += used.get(pid, 0)
            waiting += started[pid]
    return total


def _status(folder: Path) -> tuple[int, int]:
    """Who started a process, and the ticks that it and what it waited for have used."""
    fields = (folder / "stat").read_text().rpartition(")")[2].split()  # behind the name, which may hold anything
    return int(fields[1]), sum(map(int, fields[11:15]))
