"""What NVML says about the GPUs, and torch about its own memory on them.

NVML is asked by a thread of its own, because a broken driver may not answer at all. What it does not say is absent:
never a zero that looks like a reading.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pynvml as nvml
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

EVERY_S = 1.0
FRESH_S = 5.0  # older readings say nothing about now
NO_GPU = {nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED}
NOT_OFFERED = {nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_NO_PERMISSION, nvml.NVML_ERROR_FUNCTION_NOT_FOUND}
FAMILIES = {  # name: (help, label beside the gpu)
    "gpu_utilization_ratio": ("Share of time in which it worked.", None),
    "gpu_memory_used_bytes": ("Memory in use.", None),
    "gpu_memory_total_bytes": ("Memory there is.", None),
    "gpu_temperature_celsius": ("Temperature.", None),
    "gpu_power_watts": ("Power drawn.", None),
    "gpu_clock_hertz": ("Clock.", "domain"),
    "gpu_throttle_reason": ("1 while the clock is held down for that reason.", "reason"),
    "gpu_ecc_errors_total": ("Memory errors since the driver started.", "kind"),
    "gpu_xid_errors_total": ("Critical errors reported since the service started.", None),
}
CLOCKS = {"sm": nvml.NVML_CLOCK_SM, "graphics": nvml.NVML_CLOCK_GRAPHICS, "memory": nvml.NVML_CLOCK_MEM}
THROTTLES = {
    "application_clocks": nvml.nvmlClocksEventReasonApplicationsClocksSetting,
    "sw_power_cap": nvml.nvmlClocksEventReasonSwPowerCap,
    "hw_slowdown": nvml.nvmlClocksEventReasonHwSlowdown,
    "sync_boost": nvml.nvmlClocksEventReasonSyncBoost,
    "sw_thermal_slowdown": nvml.nvmlClocksEventReasonSwThermalSlowdown,
    "hw_thermal_slowdown": nvml.nvmlClocksEventReasonHwThermalSlowdown,
    "hw_power_brake": nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
}
ECC = {"corrected": nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, "uncorrected": nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED}

Sample = tuple[str, tuple[str, ...], float]  # family, label values, value


class Gpus:
    """A collector of every GPU there is; `gpu_present` is their number."""

    def __init__(self, every_s: float = EVERY_S, fresh_s: float = FRESH_S):
        self._every_s, self._fresh_s = every_s, fresh_s
        self._present: int | None = None  # not known
        self._samples: list[Sample] = []
        self._read_at = time.monotonic()
        self._errors = 0
        self._xids: Counter[int] = Counter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu", daemon=True)
        self._thread.start()

    def collect(self) -> Iterator[Metric]:
        present, samples = self._present, self._samples
        if present != 0 and time.monotonic() - self._read_at > self._fresh_s:
            self._errors += 1
            present, samples = None, []
        yield GaugeMetricFamily("gpu_present", "GPUs that NVML shows.", value=present)
        yield CounterMetricFamily("gpu_scrape_errors_total", "Readings that NVML failed to give.", value=self._errors)
        for name, (about, label) in FAMILIES.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(name, about, labels=("gpu", label) if label else ("gpu",))
            for of, labels, value in samples:
                if of == name:
                    family.add_metric(labels, value)
            yield family

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(2 * self._every_s)

    def _run(self) -> None:
        while not self._initialised():
            if self._present == 0:
                return
            self._stopping.wait(self._every_s)
        events = self._asked(self._events)
        while not self._stopping.is_set():
            self._read(watched=events is not None)
            self._wait(events)

    def _initialised(self) -> bool:
        """Whether NVML works; `_present` is 0 when there is nothing for it to work with."""
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            if error.value in NO_GPU:
                self._present = 0
            else:
                self._errors += 1
            return False
        return True

    def _read(self, watched: bool) -> None:
        count = self._asked(nvml.nvmlDeviceGetCount)
        samples: list[Sample] = []
        for index in range(count or 0):
            gpu = str(index)
            if (handle := self._asked(nvml.nvmlDeviceGetHandleByIndex, index)) is None:
                continue
            samples += self._of(gpu, handle)
            if watched:
                samples.append(("gpu_xid_errors_total", (gpu,), self._xids[_address(handle)]))
        self._present, self._samples, self._read_at = count, samples, time.monotonic()

    def _of(self, gpu: str, handle: Any) -> Iterator[Sample]:
        if rates := self._asked(nvml.nvmlDeviceGetUtilizationRates, handle):
            yield "gpu_utilization_ratio", (gpu,), rates.gpu / 100
        if memory := self._asked(nvml.nvmlDeviceGetMemoryInfo, handle):
            yield "gpu_memory_used_bytes", (gpu,), memory.used
            yield "gpu_memory_total_bytes", (gpu,), memory.total
        if (celsius := self._asked(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)) is not None:
            yield "gpu_temperature_celsius", (gpu,), celsius
        if (milliwatts := self._asked(nvml.nvmlDeviceGetPowerUsage, handle)) is not None:
            yield "gpu_power_watts", (gpu,), milliwatts / 1000
        for domain, clock in CLOCKS.items():
            if (megahertz := self._asked(nvml.nvmlDeviceGetClockInfo, handle, clock)) is not None:
                yield "gpu_clock_hertz", (gpu, domain), 1e6 * megahertz
        if (held := self._asked(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)) is not None:
            for reason, bit in THROTTLES.items():
                yield "gpu_throttle_reason", (gpu, reason), int(bool(held & bit))
        for kind, code in ECC.items():
            errors = self._asked(nvml.nvmlDeviceGetTotalEccErrors, handle, code, nvml.NVML_VOLATILE_ECC)
            if errors is not None:
                yield "gpu_ecc_errors_total", (gpu, kind), errors

    def _events(self) -> Any:
        """What to wait on for XID errors."""
        events = nvml.nvmlEventSetCreate()
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
        return events

    def _wait(self, events: Any) -> None:
        """Until the next reading is due, or a GPU reports an error."""
        if events is None:
            self._stopping.wait(self._every_s)
            return
        try:
            self._xids[_address(nvml.nvmlEventSetWait_v2(events, round(1000 * self._every_s)).device)] += 1
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_TIMEOUT:
                self._errors += 1
                self._stopping.wait(self._every_s)

    def _asked(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """NVML's answer; None when this GPU does not offer it, or when it failed, which is counted."""
        try:
            return question(*arguments)
        except nvml.NVMLError as error:
            if error.value not in NOT_OFFERED:
                self._errors += 1
            return None


def allocator(torch: Any) -> dict[str, tuple[str, Callable[[], Any], tuple[str, ...]]]:
    """Readings of torch's memory on the GPUs it has used; absent while it has used none."""

    def each(of: Callable[[int], int]) -> Callable[[], dict[tuple[str], int]]:
        def read() -> dict[tuple[str], int]:
            count = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
            return {(str(index),): of(index) for index in range(count) if torch.cuda.memory_reserved(index)}

        return read

    return {
        "gpu_torch_allocated_bytes": ("Memory that tensors hold.", each(torch.cuda.memory_allocated), ("gpu",)),
        "gpu_torch_reserved_bytes": ("Memory that the allocator holds.", each(torch.cuda.memory_reserved), ("gpu",)),
    }


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
