"""Stands in for NVIDIA's library where pynvml calls it, below everything of ours: one GPU, as a file says.

The file holds one of: `good`, `failing` (power cannot be read), `lost` (nothing can), `hung` (nothing answers), `xid`
(good, after one critical error), `bare` (no ECC, no events).
"""

import ctypes
import time
from pathlib import Path

import pynvml

FAILED, LOST, TIMEOUT, NOT_SUPPORTED = (
    pynvml.NVML_ERROR_UNKNOWN, pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_TIMEOUT,
    pynvml.NVML_ERROR_NOT_SUPPORTED,
)  # fmt: skip
DEVICE = ctypes.c_void_p(0x1000)


def install(state: str) -> None:
    """Let pynvml find this library instead of the real one."""
    pynvml.CDLL = lambda name: Library(Path(state))


class Library:
    def __init__(self, state: Path):
        self._state = state

    def __getattr__(self, name: str):
        answer = getattr(Answers, name.removesuffix("_v2"), None)
        if answer is None:
            raise AttributeError(name)

        def call(*arguments) -> int:
            while (state := self._state.read_text()) == "hung":
                time.sleep(0.05)
            if name.startswith("nvmlInit"):
                return 0
            return LOST if state == "lost" else answer(state, self._state, *arguments)

        return call


def point(reference) -> None:
    ctypes.memmove(reference, ctypes.byref(DEVICE), ctypes.sizeof(DEVICE))


class Answers:
    """NVML's functions; each gives a return code."""

    def nvmlInitWithFlags(state, file, flags):
        return 0

    def nvmlDeviceGetCount(state, file, count):
        count._obj.value = 1
        return 0

    def nvmlDeviceGetHandleByIndex(state, file, index, device):
        point(device)
        return 0

    def nvmlDeviceGetUtilizationRates(state, file, device, rates):
        rates._obj.gpu, rates._obj.memory = 73, 10
        return 0

    def nvmlDeviceGetMemoryInfo(state, file, device, memory):
        memory._obj.used, memory._obj.total = 3 << 30, 80 << 30
        return 0

    def nvmlDeviceGetTemperature(state, file, device, sensor, celsius):
        celsius._obj.value = 61
        return 0

    def nvmlDeviceGetPowerUsage(state, file, device, milliwatts):
        milliwatts._obj.value = 250_500
        return FAILED if state == "failing" else 0

    def nvmlDeviceGetClockInfo(state, file, device, domain, megahertz):
        megahertz._obj.value = 1000 + domain.value
        return 0

    def nvmlDeviceGetCurrentClocksEventReasons(state, file, device, reasons):
        reasons._obj.value = pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonGpuIdle
        return 0

    def nvmlDeviceGetTotalEccErrors(state, file, device, kind, counter, count):
        count._obj.value = 5 + kind.value
        return NOT_SUPPORTED if state == "bare" else 0

    def nvmlEventSetCreate(state, file, events):
        return NOT_SUPPORTED if state == "bare" else 0

    def nvmlDeviceRegisterEvents(state, file, device, kinds, events):
        return 0

    def nvmlEventSetWait(state, file, events, data, milliseconds):
        if state == "xid":
            file.write_text("good")
            point(ctypes.byref(data._obj, type(data._obj).device.offset))
            data._obj.eventData = 79
            return 0
        time.sleep(milliseconds.value / 1000)
        return TIMEOUT
