"""The deep health check: real inference with known answers, memory, the GPU, and the whole way of a request's data."""

from __future__ import annotations

import asyncio
import functools
import gc
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model_server.classes import CLASSES
from model_server.errors import RETRY, Problem
from model_server.inference.failures import InferenceFailed
from model_server.inference.images import decode
from model_server.storage.records import Unavailable
from model_server.telemetry.container import memory
from model_server.threads import Aside, Unanswered

if TYPE_CHECKING:
    from model_server.service import Service

SAMPLES = Path(__file__).parent / "samples"
TOLERANCE = 0.05  # of a probability: half precision and another processor's rounding, not another network
WATCH_EVERY_S, WATCHED = 30.0, 120  # an hour of memory
TREND_FROM, TREND_AHEAD_S = 20, 3600.0
FULL = 0.9


class Failed(Exception):
    """A check found something wrong; the message says what."""


class Deep:
    """The checks of one service. One run at a time."""

    def __init__(self, service: Service):
        self._service, self._running = service, False
        self._cuda = Aside("cuda")
        self._step = ""  # of the check that runs, where it has some
        self._memory: deque[tuple[float, int]] = deque(maxlen=WATCHED)
        self._checks: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
            "model": self._model,
            "memory": self._trend,
            "gpu": self._gpu,
            "data_path": self._data_path,
        }

    async def watch(self) -> None:
        """Note the memory in use, for ever; without page cache, for logs and databases fill it and it is no leak."""
        while True:
            self._memory.append((time.monotonic(), memory().working_set_bytes))
            await asyncio.sleep(WATCH_EVERY_S)

    async def run(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, and each check with its time and what it saw. Raises Problem when one runs already."""
        if self._running:
            raise Problem(409, "deep_check_running", "another deep check is running", RETRY)
        self._running = True
        try:
            checks = {name: await self._timed(check) for name, check in self._checks.items()}
        finally:
            self._running = False
        good = all(check["healthy"] for check in checks.values())
        return good, {"status": "healthy" if good else "unhealthy", "checks": checks}

    async def _timed(self, check: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        began, self._step = time.monotonic(), ""
        try:
            async with asyncio.timeout(self._service.settings.deadline_s):
                told = {"healthy": True} | await check()
        except Exception as error:  # whatever it is, it is a finding
            match error:
                case Failed() | Unavailable() | Unanswered():
                    reason = str(error)
                case InferenceFailed():
                    reason = f"{error.kind}: {error.__cause__}"
                case TimeoutError():
                    reason = f"not within {self._service.settings.deadline_s:g} s"
                case _:
                    reason = f"{type(error).__name__}: {error}"
            told = {"healthy": False, "reason": ": ".join(filter(None, (self._step, reason)))[:300]}
        return told | {"seconds": round(time.monotonic() - began, 4)}

    async def _model(self) -> dict[str, Any]:
        """Every bundled radiograph gets the answer that the weights' card says these weights give."""
        known, wrong, seen = self._service.model.known_answers, [], 0
        for path in sorted(SAMPLES.glob("*/*")):
            [probability] = await self._infer(path.read_bytes())
            seen += 1
            expected = known.get(path.name)
            if expected is not None and abs(probability - expected) > TOLERANCE:
                wrong.append(f"{path.name}: {probability:.3f} instead of {expected:.3f}")
        if wrong or not seen:
            raise Failed("; ".join(wrong) or f"no samples in {SAMPLES}")
        return {"samples": seen, "known_answers": len(known)}

    async def _trend(self) -> dict[str, Any]:
        """Memory in use, where its trend of the last hour leads, and what the garbage collector finds."""
        found = gc.collect()
        used, limit, usage = memory()
        trend = slope(self._memory)
        told = {
            "used_bytes": used, "working_set_bytes": usage, "limit_bytes": limit, "gc_found": found,
            "gc_uncollectable": len(gc.garbage), "trend_bytes_per_hour": None if trend is None else round(trend * 3600),
        }  # fmt: skip
        if usage > FULL * limit:
            raise Failed(f"{usage} of {limit} bytes are in use")
        if trend is not None and usage + trend * TREND_AHEAD_S > limit:
            raise Failed(
                f"{usage} of {limit} bytes are in use, and {trend * 3600:.0f} an hour are added: full within one"
            )
        if gc.garbage:
            raise Failed(f"{len(gc.garbage)} objects cannot be collected")
        return told

    async def _gpu(self) -> dict[str, Any]:
        """Whether the CUDA device that the model is on works and has memory left. That there is none is said, and is a
        failure where there is a GPU that should have been used."""
        service = self._service
        nvml, device = service.gpus.present, service.model.device
        if device == "cpu":
            if nvml and service.settings.device != "cpu":
                raise Failed(f"GPUs that NVML shows: {nvml}; CUDA could use none, and the model is on the CPU")
            return {"present": False, "nvml_gpus": nvml}
        told = await self._cuda.ask(functools.partial(gpu, device))
        if not told["present"]:
            raise Failed(f"the model is on {device}, and CUDA has no device any more")
        if not nvml:
            raise Failed("CUDA has a device, and NVML does not say so")
        return told | {"nvml_gpus": nvml}

    async def _data_path(self) -> dict[str, Any]:
        """One request's way, each step with its seconds: decoded to what the network takes, inferred, stored."""
        body = next(SAMPLES.glob(f"{CLASSES[1]}/*")).read_bytes()
        steps = {
            "decode": lambda: asyncio.to_thread(decode, body, side=self._service.model.side),
            "infer": lambda: self._infer(body),
            "store": self._service.durable.probe,
        }
        took: dict[str, float] = {}
        for self._step, work in steps.items():
            began, said = time.monotonic(), await work()
            took[f"{self._step}_s"] = round(time.monotonic() - began, 4)
        return took | {"store": said}

    async def _infer(self, body: bytes) -> list[float]:
        """Through the queue, as any request."""
        service = self._service
        expires = time.monotonic() + service.settings.deadline_s
        return (await service.batcher.submit(lambda: service.decoded(body), expires)).probabilities


def slope(memory: deque[tuple[float, int]]) -> float | None:
    """Bytes a second by least squares; None while there are too few readings to say."""
    if len(memory) < TREND_FROM:
        return None
    at, used = np.array(memory, float).T
    return float(np.polyfit(at - at[0], used, 1)[0])


def gpu(device: str) -> dict[str, Any]:
    """What CUDA says of the device in use; `present` is False where there is none. Raises what CUDA raises."""
    import torch  # loaded by now; before, the server answers without it

    if device == "cpu" or not torch.cuda.is_available():
        return {"present": False}
    free, total = torch.cuda.mem_get_info()
    worked = torch.ones(1024, device="cuda").sum().item()
    if worked != 1024 or free < (1 - FULL) / 2 * total:
        raise Failed(f"{free} of {total} bytes are free, and 1024 ones add up to {worked}")
    return {"present": True, "name": torch.cuda.get_device_name(), "free_bytes": free, "total_bytes": total}
