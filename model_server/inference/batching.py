"""From a request to its probabilities: admitted or refused at once, read into pixels, batched, inferred.

The event loop admits jobs; decode threads make pixels of them; one worker thread takes what has gathered and runs the
network on it. All bookkeeping happens on the event loop, so nothing here needs a lock.
"""

import asyncio
import contextlib
import itertools
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import structlog

from model_server.errors import RETRY, Problem
from model_server.inference.drift import Drift
from model_server.inference.failures import Failures, InferenceFailed, finite
from model_server.settings import Settings
from model_server.telemetry import tracing
from model_server.telemetry.metrics import Metrics
from model_server.telemetry.tracing import Trace

# A picture's work is bounded, to four seconds of a core. Eight times as long is a slow or busy machine.
READ_WITHIN_S = 30.0
NICER = 5  # a third of the weight: enough to yield, not enough to starve beside a busy neighbour


class Saturated(Problem):
    """The queue is full; the request is refused now rather than late."""

    def __init__(self, limit: int):
        super().__init__(503, "queue_full", f"{limit} requests are waiting", RETRY)


class Expired(Exception):
    """The time of the request was over before the model saw it."""


class Answer(NamedTuple):
    """What became of one job."""

    probabilities: list[float]  # of pneumonia, one an image
    inference_s: float  # of the whole batch


@dataclass(slots=True, eq=False)
class Job:
    """The images of one request on their way."""

    read: Callable[[], np.ndarray] | None
    outcome: asyncio.Future[Answer]
    client: Any  # who asked; `gone` once it went away
    admitted: float
    expires: float
    trace: Trace | None
    canary: bool
    pixels: np.ndarray | None = None
    ready: float | None = None  # when its pixels were there: since then it waits for inference

    @property
    def gone(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.outcome.cancelled() or (self.client is not None and self.client.gone)


def _yield_to_event_loop() -> None:
    """Lower this thread's priority: when CPU is short, refusing work and answering probes and scrapes come first."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICER))


def _traced(batch: list[Job], began: float, ended: float, version: str, error: Exception | None = None) -> None:
    """Leave a batch in the traces of its jobs: when they waited for it, and one span for all, linked to each, with what
    it ended by."""
    traced = [job for job in batch if job.trace]
    if not traced:
        return
    attributes = {"batch.size": sum(len(job.pixels) for job in batch), "model.version": version, **_kind(error)}
    shared = tracing.shared("model_inference batch", [job.trace.link for job in traced], began, ended, **attributes)
    for job in traced:
        job.trace.child("queue_wait", job.ready, began, queue="inference")
        job.trace.child("model_inference", began, ended, shared, **attributes)


def _kind(error: Exception | None) -> dict[str, str]:
    """How a span says that it failed."""
    return {"error.type": type(error).__name__} if error else {}


class Batcher:
    """The bounded queue, its threads, and what health says about them. `submit` is for the event loop only."""

    def __init__(self, settings: Settings, metrics: Metrics, clock: Callable[[], float] = time.monotonic):
        self._settings, self._metrics = settings, metrics
        self._clock = clock  # on Linux also that of perf_counter, by which traces go
        self._pending: dict[Job, None] = {}  # in order of admission
        self.limit = settings.max_queue  # requests admitted at most
        self._unread: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._decoded: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._held: Job | None = None  # was taken to join a batch, and did not fit
        self.failures = Failures(metrics.failures, settings.unready_after_failures, settings.dead_after_failures)
        self.drift = Drift()
        metrics.register(self.drift)
        self._broken = False
        self._threads: list[threading.Thread] = []
        self._read_at = self._progress = self._shed_at = float("-inf")

    def start(self, model: Any) -> None:
        """Begin to work with a Model, or a CudaModel. Called once, from the event loop."""
        self._loop = asyncio.get_running_loop()
        self._model = model
        work = {"inference": self._infer} | {f"decode-{i}": self._decode for i in range(self._settings.decode_threads)}
        self._threads = [threading.Thread(target=do, name=name, daemon=True) for name, do in work.items()]
        for thread in self._threads:
            thread.start()

    def submit(
        self, read: Callable[[], np.ndarray], expires: float = float("inf"), client: Any = None,
        canary: bool = False,
    ) -> asyncio.Future[Answer]:  # fmt: skip
        """Admit a request. `read` is called in a decode thread and gives its images, uint8 (n, side, side), at most
        a batch of them; the future gives the answer, or raises what `read` raised. What has not reached the model when
        the future is cancelled, when the client goes away, or when `expires` (monotonic seconds) is over, never does:
        Expired. A `canary` is no client's: it makes a batch of its own, and counts in no metric but those of failures.
        Raises Saturated when the queue is full.
        """
        if self.full:
            raise self.saturated()
        job = Job(read, self._loop.create_future(), client, self._clock(), expires, tracing.CURRENT.get(), canary)
        self._pending[job] = None
        self._unread.put(job)
        return job.outcome

    def saturated(self) -> Saturated:
        """Note that a request is refused; gives what it is told."""
        self._shed_at = self._clock()
        self._metrics.shed.inc()
        return Saturated(self.limit)

    @property
    def full(self) -> bool:
        return len(self._pending) >= self.limit

    @property
    def depth(self) -> int:
        """Requests admitted and not yet answered."""
        return len(self._pending)

    @property
    def alive(self) -> bool:
        """Every thread runs, and the device works or has not failed too often to be given up."""
        running = bool(self._threads) and all(thread.is_alive() for thread in self._threads)
        return running and not self._broken and not self.failures.hopeless

    def canary_due(self, every_s: float) -> bool:
        """Whether nobody has asked the model for so long, or the last batch failed, and a known image might tell."""
        idle = not self._pending and self._clock() - self._progress >= every_s
        return (idle or self.failures.in_a_row > 0) and not self._broken and not self.full

    @property
    def stalled_s(self) -> float:
        """For how long what is ready for the model has waited and no batch was done, or, where that is longer, no
        picture was read of those that wait; from that is taken as long as a client's picture can make it. 0 when
        nothing waits."""
        now = self._clock()
        unread = next((job.admitted for job in self._pending if job.ready is None), now)
        ready = min((job.ready for job in self._pending if job.ready is not None), default=now)
        return max(0.0, now - max(ready, self._progress), now - max(unread, self._read_at) - READ_WITHIN_S)

    @property
    def shed_ago_s(self) -> float:
        """Seconds since a request was last refused; infinite when none was."""
        return self._clock() - self._shed_at

    def _decode(self) -> None:
        _yield_to_event_loop()
        while True:
            job = self._unread.get()
            if not self._dropped(job):
                self._read(job)
            del job

    def _read(self, job: Job) -> None:
        """Make pixels of what a job brought, for the worker; settle it where it is no image."""
        began, failed = self._clock(), None
        try:
            job.pixels = job.read()
        except Exception as error:  # BadInput, or a defect of ours: either way it is this job's alone
            failed = error
        ended = self._read_at = self._clock()
        job.read = None  # and with it the body: only pixels wait
        if job.trace:
            job.trace.child("queue_wait", job.admitted, began, queue="decode")
            job.trace.child("preprocessing", began, ended, **_kind(failed))
        if failed:
            self._settle([(job, failed)])
            return
        if not job.canary:
            self._metrics.preprocessing.observe(ended - began)
        job.ready = ended
        self._decoded.put(job)

    def _infer(self) -> None:
        _yield_to_event_loop()
        while True:
            batch = self._gather()
            self._run(batch)
            del batch

    def _run(self, batch: list[Job]) -> None:
        """Infer a batch, and tell each of its jobs."""
        metrics, version, canary = self._metrics, self._model.version, batch[0].canary
        pixels = np.concatenate([job.pixels for job in batch])
        began = self._clock()
        if not canary:
            for job in batch:
                metrics.queue_wait.observe(began - job.admitted)
            metrics.batch_size.observe(len(pixels))
        try:
            probabilities = finite(self._model.predict(pixels)).tolist()
        except Exception as error:
            structlog.get_logger().exception("Inference failed", batch=len(pixels), canary=canary)
            _traced(batch, began, self._clock(), version, error)
            self._failed(batch, InferenceFailed(error))
            return
        self._progress = self._clock()
        took = self._progress - began
        self.failures.worked()
        _traced(batch, began, self._progress, version)
        answers = iter(probabilities)
        self._settle([(job, Answer([*itertools.islice(answers, len(job.pixels))], took)) for job in batch])
        if not canary:
            metrics.inference.labels(version).observe(took)
            self.drift.see(pixels)

    def _failed(self, batch: list[Job], failed: InferenceFailed) -> None:
        """Tell the jobs of a batch first, then ask the device whether it can go on: it may never answer that."""
        self.failures.failed(failed.kind, batch[0].canary)
        self._broken = True  # until it says otherwise
        self._settle([(job, failed) for job in batch])
        self._broken = not self._model.usable()

    def _gather(self) -> list[Job]:
        """The next batch: one job, and those that join it within the longest wait."""
        batch: list[Job] = []
        images, until = 0, 0.0
        while images < self._settings.max_batch and not (batch and batch[0].canary):
            job, self._held = self._held, None
            if job is None:
                try:
                    job = self._decoded.get(timeout=max(0.0, until - self._clock()) if batch else None)
                except queue.Empty:
                    break
            if self._dropped(job):
                continue
            if batch and (job.canary or images + len(job.pixels) > self._settings.max_batch):
                self._held = job
                break
            if not batch:
                until = self._clock() + self._settings.max_wait_ms / 1000
            batch.append(job)
            images += len(job.pixels)
        return batch

    def _dropped(self, job: Job) -> bool:
        """Whether nobody waits for a job any more; it is then settled and counted."""
        if not job.gone and self._clock() < job.expires:
            return False
        self._metrics.dropped.inc()
        self._settle([(job, Expired())])
        return True

    def _settle(self, outcomes: list[tuple[Job, Answer | Exception]]) -> None:
        """Hand outcomes to the event loop, all of a batch in one call."""
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settled, outcomes)

    def _settled(self, outcomes: list[tuple[Job, Answer | Exception]]) -> None:
        for job, outcome in outcomes:
            del self._pending[job]
            if job.outcome.done():  # who asked has gone
                continue
            if isinstance(outcome, Exception):
                job.outcome.set_exception(outcome)
            else:
                job.outcome.set_result(outcome)
