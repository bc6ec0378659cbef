"""Stands in for NVIDIA's library where pynvml calls it, below everything of ours: GPUs, as a file says.

`tell` writes the file; what it says holds from the next call on. `answers` is `good`, `lost` (whatever is asked fails)
or `never` (nothing answers). `registers` is `good` or `failing` (no event can be asked for). Each of `xids` is a card's
index and a number, reported once, in their order, to each process that asks. Cards are made by `card`.
"""

import ctypes
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pynvml

FAILED, LOST, TIMEOUT, NOT_SUPPORTED, NOT_FOUND, NO_SUCH_CARD = (
    pynvml.NVML_ERROR_UNKNOWN, pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_TIMEOUT,
    pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT,
)  # fmt: skip
CARD_APART, SLICE_APART = 0x1000, 0x10  # of the addresses that handles hold
PLACES = 7  # for slices of a card


def uuid(number: int, kind: str = "GPU") -> str:
    return f"{kind}-{number:08x}-0000-0000-0000-000000000000"


def card(number: int = 1, **changes) -> dict:
    """A good one: at its power cap, with some memory errors. `lost`: it is counted, and answers nothing more.
    `failing`: its power cannot be read. `bare`: no ECC, no events. `slices`: memory in use and in all, by UUID."""
    good = {
        "uuid": uuid(number), "name": "NVIDIA H200", "memory": [3 << 30, 80 << 30], "ecc": [5, 6],
        "held": pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonGpuIdle,
        "lost": False, "failing": False, "bare": False, "slices": None,
    }  # fmt: skip
    assert changes.keys() <= good.keys()
    return good | changes


def tell(
    state: Path, *cards: dict, answers: str = "good", registers: str = "good", xids: Sequence[tuple[int, int]] = ()
) -> None:
    told = {"answers": answers, "registers": registers, "xids": xids, "cards": cards or (card(),)}
    written = state.with_name(state.name + ".new")
    written.write_text(json.dumps(told))
    os.replace(written, state)  # whole, whenever it is read


def install(state: str) -> None:
    """Let pynvml find this library instead of the real one."""
    pynvml.CDLL = lambda name: Library(Path(state))


class Refused(Exception):
    """Its one argument is the code that the function returns."""


class Library:
    def __init__(self, state: Path):
        self._state = state
        self.reported = 0  # of the XIDs

    def __getattr__(self, name: str):
        answer = getattr(Answers, name.removesuffix("_v2"), None)
        if answer is None:
            raise AttributeError(name)

        def call(*arguments) -> int:
            while (told := json.loads(self._state.read_text()))["answers"] == "never":
                time.sleep(0.05)
            if name.startswith("nvmlInit"):
                return 0
            if told["answers"] == "lost":
                return LOST
            try:
                answer(Answers(told, self), *arguments)
            except Refused as refused:
                return refused.args[0]
            return 0

        return call


def point(reference, address: int) -> None:
    handle = ctypes.c_void_p(address)
    ctypes.memmove(reference, ctypes.byref(handle), ctypes.sizeof(handle))


def address_of(device) -> int:
    return ctypes.cast(device, ctypes.c_void_p).value


class Answers:
    """NVML's functions. Those that end badly raise Refused."""

    def __init__(self, told: dict, library: Library):
        self._told, self._library = told, library

    def _of(self, device) -> dict:
        found = self._told["cards"][address_of(device) // CARD_APART - 1]
        if found["lost"]:
            raise Refused(LOST)
        return found

    def _slice(self, device) -> tuple[str, list[int]] | None:
        """UUID and memory of a slice; None where the handle is a whole card's."""
        place = address_of(device) % CARD_APART // SLICE_APART
        return list(self._of(device)["slices"].items())[place - 1] if place else None

    def nvmlInitWithFlags(self, flags):
        pass

    def nvmlDeviceGetCount(self, count):
        count._obj.value = len(self._told["cards"])

    def nvmlDeviceGetHandleByIndex(self, index, device):
        if index.value >= len(self._told["cards"]):
            raise Refused(NO_SUCH_CARD)
        point(device, CARD_APART * (index.value + 1))

    def nvmlDeviceGetUUID(self, device, text, size):
        part = self._slice(device)
        text.value = (part[0] if part else self._of(device)["uuid"]).encode()

    def nvmlDeviceGetName(self, device, text, size):
        text.value = (self._of(device)["name"] + (" MIG 1g.18gb" if self._slice(device) else "")).encode()

    def nvmlDeviceGetMigMode(self, device, current, pending):
        if self._of(device)["bare"]:
            raise Refused(NOT_SUPPORTED)
        current._obj.value = pending._obj.value = int(self._of(device)["slices"] is not None)

    def nvmlDeviceGetMaxMigDeviceCount(self, device, count):
        count._obj.value = PLACES

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device, index, part):
        if index.value >= len(self._of(device)["slices"]):
            raise Refused(NOT_FOUND)
        point(part, address_of(device) + SLICE_APART * (index.value + 1))

    def nvmlDeviceGetUtilizationRates(self, device, rates):
        self._of(device)
        rates._obj.gpu, rates._obj.memory = 73, 10

    def nvmlDeviceGetMemoryInfo(self, device, memory):
        part = self._slice(device)
        memory._obj.used, memory._obj.total = part[1] if part else self._of(device)["memory"]

    def nvmlDeviceGetTemperature(self, device, sensor, celsius):
        self._of(device)
        celsius._obj.value = 61

    def nvmlDeviceGetPowerUsage(self, device, milliwatts):
        if self._of(device)["failing"]:
            raise Refused(FAILED)
        milliwatts._obj.value = 250_500

    def nvmlDeviceGetClockInfo(self, device, domain, megahertz):
        self._of(device)
        megahertz._obj.value = 1000 + domain.value

    def nvmlDeviceGetCurrentClocksEventReasons(self, device, reasons):
        reasons._obj.value = self._of(device)["held"]

    def nvmlDeviceGetTotalEccErrors(self, device, kind, counter, count):
        if self._of(device)["bare"]:
            raise Refused(NOT_SUPPORTED)
        count._obj.value = self._of(device)["ecc"][kind.value]

    def nvmlEventSetCreate(self, events):
        if all(each["bare"] for each in self._told["cards"]):
            raise Refused(NOT_SUPPORTED)

    def nvmlDeviceRegisterEvents(self, device, kinds, events):
        if self._told["registers"] == "failing":
            raise Refused(FAILED)
        if self._of(device)["bare"]:
            raise Refused(NOT_SUPPORTED)

    def nvmlEventSetWait(self, events, data, milliseconds):
        waiting = self._told["xids"][self._library.reported :]
        if not waiting:
            time.sleep(milliseconds.value / 1000)
            raise Refused(TIMEOUT)
        self._library.reported += 1
        index, number = waiting[0]
        point(ctypes.byref(data._obj, type(data._obj).device.offset), CARD_APART * (index + 1))
        data._obj.eventData = number
