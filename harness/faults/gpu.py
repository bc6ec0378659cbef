"""A GPU fails, as NVIDIA's library (NVML) tells it: a stand-in for that library says so, on a host without a GPU."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import prometheus
from harness.stack.component import inside_control
from harness.stack.stack import Stack
from harness.stack.undo import Undo
from harness.units import nearest

LIBRARY, STAND_IN = "libnvidia-ml.so.1", b"HARNESS_INSIDE"  # a text that only the stand-in holds
CALLS = (
    "all", "nvmlInitWithFlags", "nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID",
    "nvmlDeviceGetName", "nvmlDeviceGetMigMode", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetTotalEccErrors", "nvmlEventSetCreate",
    "nvmlDeviceRegisterEvents", "nvmlEventSetWait_v2",
)  # fmt: skip
ERRORS = (
    "UNINITIALIZED", "INVALID_ARGUMENT", "NOT_SUPPORTED", "NO_PERMISSION", "NOT_FOUND", "DRIVER_NOT_LOADED", "TIMEOUT",
    "IRQ_ISSUE", "GPU_IS_LOST", "RESET_REQUIRED", "LIB_RM_VERSION_MISMATCH", "MEMORY", "UNKNOWN",
)  # fmt: skip
TEXTS = ("nvmlDeviceGetUUID", "nvmlDeviceGetName")  # calls that are answered by a text
LONGEST = 200  # characters of a line


@dataclass(frozen=True)
class Gpu(Fault):
    """NVML answers a component's processes as `answers` says: by call, or by `CARD.call`, numbers, an error by its name
    without NVML_ERROR_, or `never`; `A after N B` is B from the call after the Nth on.

    The contract's `start` has put the stand-in in the library's place; see experiments/gpu/nvml.c. `witness_query` is
    PromQL that gives a result only while the service shows it.
    """

    answers: dict[str, Any]
    witness_query: str
    component: str = "server"
    kind: ClassVar[str] = "gpu"
    alone: ClassVar[str] = "nvml"
    touches: ClassVar[str] = "the GPU that {component} sees"
    undone: ClassVar[str] = "the stand-in answers as before"
    simulated: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("compiler",)

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if not self.answers:
            yield "answers", "must name a call, like {nvmlDeviceGetCount_v2: 1}"
        for key, value in self.answers.items():
            call = re.sub(r"^\d+\.", "", str(key))
            if call not in CALLS:
                yield "answers", f"no call {key}; {nearest(call, list(CALLS))}"
            elif problem := _wrong(call, str(value)):
                yield "answers", f"{key}: {problem}"

    def target(self, stack: Stack) -> Facts:
        main, control = stack.pid(self.component), nvml_control(stack.run, self.component)
        if control.exists():
            raise FaultError(f"gpu: NVML of {self.component} is told what to say already; undo that first")
        if not any(_has_stand_in(pid.pid) for pid in stack.members(self.component, main)):
            how = "by `harness gate` or `harness chaos` as the contract's `start` says; `chaos run` restarts nothing"
            raise FaultError(f"gpu: no process of {self.component} has the stand-in: it is to be started {how}")
        return {**main._asdict(), "control": str(control)}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("remove", {"path": facts["control"]})]

    def start(self, stack: Stack, facts: Facts) -> None:
        control = Path(facts["control"])
        scratch = control.with_name(f"{control.name}.new")
        scratch.write_text("".join(f"{call}: {value}\n" for call, value in self.answers.items()))
        os.replace(scratch, control)

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The service's own metrics, as Prometheus stored them."""
        result = prometheus.query(stack.prometheus_url, self.witness_query)
        return f"Prometheus: {self.witness_query} = {float(result[0]['value'][1]):.4g}" if result else None


def nvml_control(run: Path, component: str) -> Path:
    """The file that says what the stand-in in the processes of a component answers."""
    control = inside_control(run, component)
    return control.with_name(f"{control.name}.nvml")


def _wrong(call: str, text: str) -> str:
    """Why an answer is none; empty where it is one."""
    if not text.isprintable() or " #" in text or len(text) > LONGEST:
        return f"must be one line of at most {LONGEST} characters without a comment"
    parts = re.split(r" after (\d+) ", text)
    counts = [int(n) for n in parts[1::2]]
    if counts != sorted({*counts} - {0}):
        return "the numbers of calls must grow: A after 2 B after 5 C"
    for part in parts[::2]:
        numbers = all(re.fullmatch(r"\d+|0x[0-9a-fA-F]+", word) for word in part.split()) and part.strip()
        if not (numbers or part in (*ERRORS, "never") or (call in TEXTS and part)):
            return f"{part!r} is neither numbers nor never nor an error ({', '.join(ERRORS)})"
    return ""


def _has_stand_in(pid: int) -> bool:
    """Whether a process has the stand-in in the place of NVIDIA's library."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        mapped = {line.split(maxsplit=5)[5] for line in lines if line.endswith(f"/{LIBRARY}")}
        return any(STAND_IN in Path(path).read_bytes() for path in mapped)
    except (OSError, IndexError):
        return False
