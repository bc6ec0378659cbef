"""From an image's bytes to a probability: admitted or refused at once, decoded, batched, inferred.

The event loop admits jobs; decode threads make pixels of them; one worker thread takes what has gathered and runs the
network on it. All bookkeeping happens on the event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import structlog

from model_server import tracing
from model_server.images import decode
from model_server.metrics import Metrics
from model_server.settings import Settings

NICER = 5  # a third of the weight: enough to yield, not enough to starve beside a busy neighbour


class Predictor(Protocol):
    version: str

    def predict(self, pixels: np.ndarray) -> np.ndarray: ...


class Saturated(Exception):
    """The queue is full; the request is refused now rather than late."""


class Answer(NamedTuple):
    """What became of one job."""

    probability: float  # of pneumonia
    inference_s: float  # of the whole batch


class Job:
    """One image on its way."""

    __slots__ = ("admitted", "body", "decoded", "future", "pixels", "trace")

    def __init__(self, body: bytes, future: asyncio.Future[Answer], admitted: float):
        self.body, self.future, self.admitted = body, future, admitted
        self.pixels: np.ndarray | None = None
        self.trace = tracing.CURRENT.get()
        self.decoded = 0.0


def _yield_to_event_loop() -> None:
    """Lower this thread's priority: when CPU is short, refusing work and answering probes and scrapes come first."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICER))


def _traced(batch: list[Job], began: float, ended: float, version: str) -> None:
    """Leave a batch in the traces of its jobs: when they waited for it, and one span for all, linked to each."""
    traced = [job for job in batch if job.trace]
    if not traced:
        return
    attributes = {"batch.size": len(batch), "model.version": version}
    shared = traced[0].trace.tracer.shared(
        "model_inference batch", [job.trace for job in traced], began, ended, **attributes
    )
    for job in traced:
        job.trace.child("queue_wait", job.decoded, began, queue="inference")
        job.trace.child("model_inference", began, ended, shared, **attributes)


class Batcher:
    """The bounded queue, its threads, and what health says about them. `submit` is for the event loop only."""

    def __init__(self, settings: Settings, metrics: Metrics, clock: Callable[[], float] = time.monotonic):
        self._settings, self._metrics, self._clock = settings, metrics, clock
        self._pending: dict[Job, None] = {}  # in order of admission
        self._encoded: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._decoded: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._progress = self._shed_at = float("-inf")

    def start(self, model: Predictor) -> None:
        """Begin to work. Called once, from the event loop."""
        self._loop = asyncio.get_running_loop()
        self._model = model
        self._threads = [
            threading.Thread(target=self._infer, name="inference", daemon=True),
            *(
                threading.Thread(target=self._decode, name=f"decode-{i}", daemon=True)
                for i in range(self._settings.decode_threads)
            ),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, body: bytes) -> asyncio.Future[Answer]:
        """Admit an image; the future gives an Answer or raises BadImage. Raises Saturated when the queue is full."""
        if self.full:
            raise self.saturated()
        job = Job(body, self._loop.create_future(), self._clock())
        self._pending[job] = None
        self._encoded.put(job)
        return job.future

    def saturated(self) -> Saturated:
        """Note that a request is refused; gives what to raise."""
        self._shed_at = self._clock()
        self._metrics.shed.inc()
        return Saturated(f"{self._settings.max_queue} requests are waiting")

    @property
    def full(self) -> bool:
        return len(self._pending) >= self._settings.max_queue

    @property
    def depth(self) -> int:
        """Requests admitted and not yet answered."""
        return len(self._pending)

    @property
    def alive(self) -> bool:
        """Every thread runs."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    @property
    def stalled_s(self) -> float:
        """For how long work has waited and none was done; 0 when nothing waits."""
        oldest = next(iter(self._pending), None)
        return 0.0 if oldest is None else self._clock() - max(oldest.admitted, self._progress)

    @property
    def shed_ago_s(self) -> float:
        """Seconds since a request was last refused; infinite when none was."""
        return self._clock() - self._shed_at

    def _decode(self) -> None:
        _yield_to_event_loop()
        while (job := self._encoded.get()) is not None:
            if job.future.cancelled():
                self._settle([(job, None)])
                continue
            began = time.perf_counter()
            try:
                job.pixels = decode(job.body, self._settings.max_pixels)
            except Exception as error:  # BadImage, or a defect of ours: either way it is this job's alone
                self._settle([(job, error)])
            else:
                job.decoded = time.perf_counter()
                self._metrics.preprocessing.observe(job.decoded - began)
                if job.trace:
                    job.trace.child("queue_wait", job.admitted, began, queue="decode")
                    job.trace.child("preprocessing", began, job.decoded)
                self._decoded.put(job)

    def _infer(self) -> None:
        _yield_to_event_loop()
        metrics, version = self._metrics, self._model.version
        duration = metrics.inference.labels(version)
        while batch := self._gather():
            metrics.batch_size.observe(len(batch))
            now = self._clock()
            for job in batch:
                metrics.queue_wait.observe(now - job.admitted)
            began = time.perf_counter()
            try:
                pixels = np.stack([job.pixels for job in batch])
                probabilities = self._model.predict(pixels).tolist()
            except Exception as error:
                structlog.get_logger().exception("Inference failed", batch=len(batch))
                self._settle([(job, error) for job in batch])
                continue
            took = time.perf_counter() - began
            self._progress = self._clock()
            duration.observe(took)
            _traced(batch, began, began + took, version)
            self._settle([(job, Answer(p, took)) for job, p in zip(batch, probabilities, strict=True)])
            metrics.drift.see(pixels)

    def _gather(self) -> list[Job]:
        """The next batch: one job, and those that join it within the longest wait. Empty when told to stop."""
        first = self._decoded.get()
        if first is None:
            return []
        batch, until = [first], time.perf_counter() + self._settings.max_wait_ms / 1000
        while len(batch) < self._settings.max_batch:
            try:
                job = self._decoded.get(timeout=max(0.0, until - time.perf_counter()))
            except queue.Empty:
                break
            if job is None:
                self._decoded.put(None)  # for the next round
                break
            batch.append(job)
        return batch

    def _settle(self, outcomes: list[tuple[Job, Answer | Exception | None]]) -> None:
        """Hand outcomes to the event loop, all of a batch in one call."""
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settled, outcomes)

    def _settled(self, outcomes: list[tuple[Job, Answer | Exception | None]]) -> None:
        for job, outcome in outcomes:
            del self._pending[job]
            if job.future.done():  # its request has expired
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)
