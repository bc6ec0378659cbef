"""The disk that a component writes to is slow, as one that is worn, shared or of the cheap kind."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import cgroup
from harness.stack.ledger import PRIVATE
from harness.stack.process import Pid
from harness.stack.stack import Stack
from harness.stack.undo import Undo

KIB = 1 << 10
LEAST_KIB = 4  # a page
LOOK_S = 0.5  # how long the limit lets a write of the witness take, at least
LONGER = 3.0  # than before, and than half of what the limit demands
WRITE_WITHIN_S = 20.0

# Writes so many bytes into a file and waits until they are on the disk; in the control group given, if one is.
WRITE = """
import os, sys, time
if sys.argv[3]:
    open(f"{sys.argv[3]}/cgroup.procs", "w").write(str(os.getpid()))
with open(sys.argv[1], "wb") as out:
    data = os.urandom(int(sys.argv[2]))
    began = time.monotonic()
    out.write(data)
    out.flush()
    os.fsync(out.fileno())
    print(time.monotonic() - began)
"""


@dataclass(frozen=True)
class SlowDisk(Fault):
    """What a component writes to its own disk, or else to the one that its state lies on, gets there at `kib_per_s`: as
    far as it waits for it, by fsync. The rest is written later by the kernel, at full speed where control groups are of
    version 1."""

    kib_per_s: float
    component: str = "server"
    kind: ClassVar[str] = "slow_disk"
    touches: ClassVar[str] = "what {component} writes to disk"
    undone: ClassVar[str] = "its processes leave the control group, which is removed"
    needs: ClassVar[tuple[str, ...]] = ("cgroup_blkio",)
    ends_with_process: ClassVar[bool] = True

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if self.kib_per_s < LEAST_KIB:
            yield "kib_per_s", f"must be {LEAST_KIB} or more; got {self.kib_per_s:g}"

    def target(self, stack: Stack) -> Facts:
        main, folder = stack.pid(self.component), _folder(stack, self.component)
        now = cgroup.of(main.pid, "blkio") or cgroup.of(main.pid, "io")
        if now is None:
            raise FaultError(f"slow_disk: {self.component} is in no control group that limits a disk")
        disk = _disk(folder)
        group = cgroup.ours(now, f"disk-{uuid.uuid4().hex[:8]}")
        paths = {"group": str(group.folder), "back": str(now.folder), "scratch": str(_scratch(folder))}
        size = round(self.kib_per_s * KIB * LOOK_S)
        before_s = _write_s(Path(paths["scratch"]), size, "")
        return {
            **main._asdict(), **paths, "version": now.version, "disk": disk, "size": size, "before_s": before_s
        }  # fmt: skip

    def undo(self, facts: Facts) -> list[Undo]:
        leave = Undo("leave_cgroup", {"path": facts["group"], "back": facts["back"]})
        return [leave, Undo("remove", {"path": facts["scratch"]})]

    def start(self, stack: Stack, facts: Facts) -> None:
        main, group = Pid(facts["pid"], facts["started"]), cgroup.Group(facts["version"], Path(facts["group"]))
        rate = round(self.kib_per_s * KIB)
        limit = {
            1: {"blkio.throttle.write_bps_device": f"{facts['disk']} {rate}"},
            2: {"io.max": f"{facts['disk']} wbps={rate}"},
        }
        cgroup.make(group, "io" if group.version == 2 else "blkio", limit[group.version])
        cgroup.move_all(group, lambda: stack.members(self.component, main))

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """A process that writes beside the component, in the group that the kernel says the component is in: how long
        its bytes take to the disk."""
        main = stack.pid(self.component)
        group = cgroup.of(main.pid, "blkio") or cgroup.of(main.pid, "io")
        if group is None:
            return None
        took_s, before_s = _write_s(Path(facts["scratch"]), facts["size"], str(group.folder)), facts["before_s"]
        if took_s < max(LOOK_S / LONGER, LONGER * before_s):
            return None
        kib = facts["size"] / KIB
        return f"beside {self.component}, {kib:.0f} KiB took {took_s:.2g} s to the disk; before {before_s:.2g} s"


def _folder(stack: Stack, component: str) -> Path:
    if component in stack.volumes:
        return stack.volume(component)
    private = stack.run.resolve() / PRIVATE
    return private if private.is_dir() else stack.run.resolve()


def _scratch(folder: Path) -> Path:
    return folder / "slow-disk.scratch"


def _write_s(path: Path, size: int, group: str) -> float:
    argv = [sys.executable, "-S", "-c", WRITE, str(path), str(size), group]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=WRITE_WITHIN_S)
    if done.returncode:
        raise FaultError(f"slow_disk: cannot write to {path}: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


def _disk(folder: Path, sys_dev: Path = Path("/sys/dev/block")) -> str:
    """MAJOR:MINOR of the whole disk that a folder lies on. Raises FaultError where it lies on none."""
    device = os.stat(folder).st_dev
    known = sys_dev / f"{os.major(device)}:{os.minor(device)}"
    if not known.exists():
        raise FaultError(f"slow_disk: {folder} lies on no disk of this host, but in memory or on a network")
    whole = known.resolve()
    if (whole / "partition").exists():
        whole = whole.parent
    return (whole / "dev").read_text().strip()
