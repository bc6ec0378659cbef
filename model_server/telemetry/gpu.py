"""What NVML says about the GPUs, and torch about its own memory on them.

NVML is asked by a thread of its own, because a broken driver may not answer at all. What it does not say is absent:
never a zero that looks like a reading. The label `gpu` is NVML's index everywhere, as nvidia-smi shows it. CUDA may
count otherwise, and NVML shows the cards of others too: which one is meant is told by UUIDs.
"""

import contextlib
import ctypes
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pynvml as nvml
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from model_server.threads import Repeated

EVERY_S = 1.0
FRESH_S = 5.0  # older readings say nothing about now
NO_GPU = {nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED}
NOT_OFFERED = {
    nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_NO_PERMISSION, nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    nvml.NVML_ERROR_NOT_FOUND,  # a place for a slice where there is none
}  # fmt: skip
FAMILIES = {  # name: (help, labels beside the gpu)
    "gpu_info": ("The GPU, or the slice of it, that is read.", ("uuid", "name")),
    "gpu_utilization_ratio": ("Share of time in which it worked.", ()),
    "gpu_memory_used_bytes": ("Memory in use.", ()),
    "gpu_memory_total_bytes": ("Memory there is.", ()),
    "gpu_temperature_celsius": ("Temperature.", ()),
    "gpu_power_watts": ("Power drawn.", ()),
    "gpu_clock_hertz": ("Clock.", ("domain",)),
    "gpu_throttle_reason": ("1 while the clock is held down for that reason.", ("reason",)),
    "gpu_ecc_errors_total": ("Memory errors since the driver started.", ("kind",)),
    "gpu_xid_errors_total": ("Critical errors reported since the state folder was made.", ("xid",)),
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
# Whose fault an error is, by NVIDIA's catalogue. Their series are there from the start; others are counted as `other`.
XIDS = dict.fromkeys((13, 31, 43, 45, 68, 109), "application") | dict.fromkeys((48, 63, 64, 74, 79, 94, 95), "hardware")

Sample = tuple[str, tuple[str, ...], float]  # family, label values, value


class Card(NamedTuple):
    """What NVML, its events and torch call a GPU."""

    gpu: str  # NVML's index
    uuid: str
    ids: frozenset[str]  # bare UUIDs, of it and of its slices
    address: int | None  # of the handle


class Gpus:
    """A collector of the GPUs that are `shown`, by UUID, or of all there are; `gpu_present` is the number of all. XIDs
    are counted in the file `kept`: the process is often killed for one before it is scraped, and the next must tell."""

    def __init__(
        self, every_s: float = EVERY_S, fresh_s: float = FRESH_S, *,
        shown: Collection[str] | None = None, kept: Path | None = None,
    ):  # fmt: skip
        self._every_s, self._fresh_s, self._kept = every_s, fresh_s, kept
        self.show(shown)
        self._present: int | None = None  # not known
        self._samples: list[Sample] = []
        self._read_at = time.monotonic()
        self._errors = 0
        self._cards: dict[str, Card] = {}  # by index; one that is lost stays until another has its place
        self._xids: defaultdict[str, Counter[int]] = _restored(kept)  # by UUID
        self._events: Any = None
        self._watched: dict[str, bool] = {}  # by UUID; False where the card offers no events
        self._initialised = False
        self.close = Repeated("gpu", self._look, every_s=0).close  # each look takes the time between two

    @property
    def present(self) -> int | None:
        """How many GPUs NVML shows; None while it has not said so lately."""
        return None if self._stale else self._present

    def show(self, uuids: Collection[str] | None) -> None:
        """Read those of these UUIDs from now on; None: all."""
        self._shown = None if uuids is None else frozenset(map(_bare, uuids))

    def label(self, uuid: str) -> str:
        """The label `gpu` of a card, or of a slice of one; its UUID while NVML does not show it."""
        return next((card.gpu for card in [*self._cards.values()] if _bare(uuid) in card.ids), uuid)

    def collect(self) -> Iterator[Metric]:
        present, samples = self.present, self._samples
        if self._stale:
            self._errors += 1
            samples = []
        samples = [*samples, *self._happened_so_far()]
        yield GaugeMetricFamily("gpu_present", "GPUs that NVML shows.", value=present)
        yield CounterMetricFamily("gpu_scrape_errors_total", "Readings that NVML failed to give.", value=self._errors)
        families = {}
        for name, (about, labels) in FAMILIES.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            families[name] = kind(name, about, labels=("gpu", *labels))
        for name, values, value in samples:
            families[name].add_metric(values, value)
        yield from families.values()

    @property
    def _stale(self) -> bool:
        return self._present != 0 and time.monotonic() - self._read_at > self._fresh_s

    def _look(self) -> None:
        """Read all, and wait until the next reading is due or a GPU reports an error."""
        try:
            if not self._initialised:
                nvml.nvmlInit()
                self._initialised = True
        except nvml.NVMLError as error:
            if error.value in NO_GPU:
                self._present = 0
            else:
                self._errors += 1
            time.sleep(self._every_s)
        else:
            self._read()
            self._wait()

    def _read(self) -> None:
        count = self._asked(nvml.nvmlDeviceGetCount)
        samples: list[Sample] = []
        for index in range(count or 0):
            handle = self._asked(nvml.nvmlDeviceGetHandleByIndex, index)
            uuid = None if handle is None else self._asked(nvml.nvmlDeviceGetUUID, handle)
            if uuid is None:
                continue
            parts = self._parts(handle)
            card = Card(str(index), uuid, frozenset(map(_bare, (uuid, *(parts or ())))), _address(handle))
            self._cards[card.gpu] = card
            self._watch(uuid, handle)
            if self._shows(card):
                samples += self._of(card.gpu, handle, parts)
        self._present, self._samples, self._read_at = count, samples, time.monotonic()
        if self._shown and count is not None and not samples:
            self._errors += 1  # the card that is used is not there any more

    def _of(self, gpu: str, handle: Any, parts: Mapping[str, Any] | None) -> Iterator[Sample]:
        """Readings of a card. NVML knows use and power of whole cards only: they are not those of a slice (MIG). With
        several slices here, and none that torch or CUDA_VISIBLE_DEVICES names, its memory is not known either."""
        named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
        used = [part for uuid, part in (parts or {}).items() if uuid == named or _bare(uuid) in (self._shown or ())]
        ours = [handle] if parts is None else used or [*parts.values()]
        if parts is None and (rates := self._asked(nvml.nvmlDeviceGetUtilizationRates, handle)):
            yield "gpu_utilization_ratio", (gpu,), rates.gpu / 100
        if parts is None and (milliwatts := self._asked(nvml.nvmlDeviceGetPowerUsage, handle)) is not None:
            yield "gpu_power_watts", (gpu,), milliwatts / 1000
        for own in ours if len(ours) == 1 else ():
            uuid, name = self._asked(nvml.nvmlDeviceGetUUID, own), self._asked(nvml.nvmlDeviceGetName, own)
            if uuid and name:
                yield "gpu_info", (gpu, uuid, name), 1
            if memory := self._asked(nvml.nvmlDeviceGetMemoryInfo, own):
                yield "gpu_memory_used_bytes", (gpu,), memory.used
                yield "gpu_memory_total_bytes", (gpu,), memory.total
        if (celsius := self._asked(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)) is not None:
            yield "gpu_temperature_celsius", (gpu,), celsius
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

    def _happened_so_far(self) -> Iterator[Sample]:
        """The XIDs of the cards that are watched: they stay true while NVML says nothing."""
        for card in [*self._cards.values()]:
            if self._watched.get(card.uuid) and self._shows(card):
                counts = Counter(dict.fromkeys((*map(str, XIDS), "other"), 0))
                for xid, count in [*self._xids.get(card.uuid, {}).items()]:  # the thread may add one meanwhile
                    counts[str(xid) if xid in XIDS else "other"] += count
                for xid, count in counts.items():
                    yield "gpu_xid_errors_total", (card.gpu, xid), count

    def _parts(self, handle: Any) -> dict[str, Any] | None:
        """The slices of a card that are to be seen here, by UUID; None where it is not sliced."""
        mode = self._asked(nvml.nvmlDeviceGetMigMode, handle)
        if not mode or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        places = range(self._asked(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0)
        found = [self._asked(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place) for place in places]
        named = {self._asked(nvml.nvmlDeviceGetUUID, part): part for part in found if part is not None}
        return {uuid: part for uuid, part in named.items() if uuid is not None}

    def _watch(self, uuid: str, handle: Any) -> None:
        """Let the driver tell of a card's XIDs; tried again until it does, or says that it cannot."""
        if uuid in self._watched:
            return
        try:
            if self._events is None:
                self._events = nvml.nvmlEventSetCreate()
            nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._events)
            self._watched[uuid] = True
        except nvml.NVMLError as error:
            if error.value in NOT_OFFERED:
                self._watched[uuid] = False
            else:
                self._errors += 1

    def _wait(self) -> None:
        if not any(self._watched.values()):
            time.sleep(self._every_s)
            return
        try:
            event = nvml.nvmlEventSetWait_v2(self._events, round(1000 * self._every_s))
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_TIMEOUT:
                self._errors += 1
                time.sleep(self._every_s)
        else:
            for card in self._cards.values():
                if card.address == _address(event.device):
                    self._happened(card, event.eventData)

    def _happened(self, card: Card, xid: int) -> None:
        """Count an error, and log it at once: soon the process may be none."""
        self._xids[card.uuid][xid] += 1
        if self._shows(card) or not self._shown:  # as it starts, it is not known yet which are ours
            told = {"gpu": card.gpu, "uuid": card.uuid, "xid": xid, "fault": XIDS.get(xid, "unknown")}
            structlog.get_logger().error("GPU reported an error", **told)
        if self._kept is not None:
            with contextlib.suppress(OSError):
                written = self._kept.with_suffix(".new")
                written.write_text(json.dumps(self._xids))
                written.replace(self._kept)

    def _shows(self, card: Card) -> bool:
        shown = self._shown
        return shown is None or bool(shown & card.ids)

    def _asked(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """NVML's answer; None when this GPU does not offer it, or when it failed, which is counted."""
        try:
            return question(*arguments)
        except nvml.NVMLError as error:
            if error.value not in NOT_OFFERED:
                self._errors += 1
            return None


def allocator(torch: Any, gpus: Gpus) -> dict[str, tuple[str, Callable[[], Any], tuple[str, ...]]]:
    """Readings of torch's memory on the GPUs it has used; absent while it has used none."""

    def each(of: Callable[[int], int]) -> Callable[[], dict[tuple[str], int]]:
        def read() -> dict[tuple[str], int]:
            count = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
            used = [index for index in range(count) if torch.cuda.memory_reserved(index)]
            return {(gpus.label(str(torch.cuda.get_device_properties(index).uuid)),): of(index) for index in used}

        return read

    return {
        "gpu_torch_allocated_bytes": ("Memory that tensors hold.", each(torch.cuda.memory_allocated), ("gpu",)),
        "gpu_torch_reserved_bytes": ("Memory that the allocator holds.", each(torch.cuda.memory_reserved), ("gpu",)),
    }


def _restored(kept: Path | None) -> defaultdict[str, Counter[int]]:
    """The XIDs counted before, by UUID; none where the file is not there, or not as it should be."""
    xids: defaultdict[str, Counter[int]] = defaultdict(Counter)
    if kept is not None:
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            for uuid, counts in json.loads(kept.read_text()).items():
                xids[uuid] = Counter({int(xid): int(count) for xid, count in counts.items()})
    return xids


def _bare(uuid: str) -> str:
    """As torch has it: without NVML's first word."""
    return uuid.removeprefix("GPU-").removeprefix("MIG-")


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
