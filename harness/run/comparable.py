"""Which runs may be compared: those of the same plan, by a digest of what defines it, on the same kind of machine."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.plan.experiments import Experiment
from harness.plan.plan import Plan
from harness.plan.yamlfile import read

# Of an experiment, what changes nothing that it does; but for `start` of its contract (_start).
IN_WORDS = {"title", "description", "tags", "extensions"}
CHIPS = Path("/proc/driver/nvidia/gpus")


def digest(plan: Plan) -> str:
    """A digest of the load, its scenario, the time scale, the experiments and the service's name: of all that decides
    what a run does, and of neither the service itself nor what is judged."""
    does = {
        "service": plan.service.name,
        "time_scale": plan.gate.time_scale,
        "load": plan.gate.load.model_dump(mode="json", by_alias=True, exclude={"may_fire"}),
        "scenario": plan.scenario.read_text(errors="replace"),
        "experiments": {e.name: _method(e) | _start(e) for e in plan.experiments},
    }
    return hashlib.sha256(json.dumps(does, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _start(experiment: Experiment) -> dict[str, Any]:
    """How the service is started for an experiment, which is part of what that does, as its contract writes it."""
    return {} if (start := experiment.contract.start) is None else {"start": start.model_dump()}


def _method(experiment: Experiment) -> dict[str, Any]:
    file = read(experiment.path, [])
    data = experiment.given or (file.data if file and isinstance(file.data, dict) else {})
    return {key: value for key, value in data.items() if key not in IN_WORDS}


def machine() -> str:
    """The kind of this machine: its processor, how many cores a run may use, memory to the next power of two, GPUs."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    memory = 2 ** round(math.log2(gib)) if gib > 1 else 1
    gpus = sorted(_values(chip / "information", "Model") for chip in CHIPS.glob("*"))
    cores = _cores()
    parts = [
        _values(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        f"{cores:g} core{'s' * (cores != 1)}",
        f"{memory} GiB",
        f"{len(gpus)} x {gpus[0]}" if gpus else "no GPU",
    ]
    return ", ".join(parts)


def _cores() -> float:
    """The processors that this process may use, by its affinity and its cgroup's quota."""
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(usable, round(int(quota) / int(period), 2))
    except (OSError, ValueError):
        return usable


def _values(path: Path, key: str) -> str:
    """The first value of a key in a file of `key : value` lines; empty where there is none."""
    return next((value for name, value in _pairs(_lines(path)) if name == key), "")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _pairs(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        name, _, value = line.partition(":")
        yield name.strip(), " ".join(value.split())
