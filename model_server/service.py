"""The service without its HTTP: its start, and the truth about its health."""

import asyncio
import contextlib
import functools
import gc
import importlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import structlog

from model_server import SERVICE
from model_server.classes import CLASSES, label_of
from model_server.durable import Durable
from model_server.errors import RETRY, BadInput, Problem
from model_server.health import SAMPLES, Deep
from model_server.inference.batching import Answer, Batcher
from model_server.inference.feedback import Feedback
from model_server.inference.images import decode
from model_server.settings import Settings
from model_server.storage.records import of_several
from model_server.telemetry import gpu, tracing
from model_server.telemetry.correlation import made_trace_id
from model_server.telemetry.metrics import Metrics
from model_server.telemetry.readings import Readings, Sampled
from model_server.telemetry.tracing import Tracer
from model_server.threads import Aside

PROOF_WITHIN_S = 30.0
SATURATED_FOR_S = 1.0  # after a refused request the service is not ready for so long
CANARY_LOOK_S = 1.0


class Service:
    """What the endpoints answer from. `start` loads the model and proves it by one inference through the whole path.

    Raises CannotStart when what is to be kept, or who may call, is not in order.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self._log = structlog.get_logger().bind()  # kept: to make one for each request costs twice the line
        self.metrics = Metrics(settings.commit, settings.environment, settings.deployment, settings.metrics == "on")
        about = {"deployment.environment.name": settings.environment, "deployment": settings.deployment}
        self.tracer = Tracer(settings.otlp_endpoint, settings.trace_ratio, about)
        self.batcher = Batcher(settings, self.metrics)
        self.feedback = Feedback()
        self.durable = Durable(settings, self.metrics, self.feedback)
        self.gpus = gpu.Gpus(shown=(), kept=self.durable.folder / "gpu-xids.json")  # which are ours is not known yet
        self.metrics.register(self.gpus)
        self.deep = Deep(self)
        self.model: Any = None  # a model.Model, once it is loaded: torch is not imported before
        self.stopping = False
        self._began = time.monotonic()
        self._components: dict[str, dict[str, Any]] = {
            name: {"status": "waiting", "seconds": None} for name in ("runtime", "model", "inference", "database")
        }
        self._started_after: float | None = None
        reading = self.metrics.reading
        reading("service_ready", "1 when /health/ready would say 200.", lambda: int(all(self.ready_checks().values())))
        reading("inference_queue_depth", "Requests admitted and not yet answered.", lambda: self.batcher.depth)
        reading("inference_queue_limit", "Requests admitted at most.", lambda: settings.max_queue)
        stalled = "For how long work waits and none is done."
        reading("inference_stalled_seconds", stalled, lambda: self.batcher.stalled_s)
        reading("ml_model_accuracy", "Accuracy over recent labelled feedback.", lambda: self.feedback.accuracy)
        reading("ml_model_precision", "Precision over recent labelled feedback.", lambda: self.feedback.precision)
        reading("ml_model_recall", "Recall over recent labelled feedback.", lambda: self.feedback.recall)
        reading("ml_model_load_seconds", "Loading the model.", lambda: self._components["model"]["seconds"])
        reading("trace_spans_exported_total", "Spans the collector took.", lambda: self.tracer.exported)
        reading("trace_spans_dropped_total", "Spans lost.", lambda: self.tracer.dropped)

    async def start(self) -> None:
        """Raises what went wrong; the service is then not started."""
        # Before torch is there: set later it would not reach the inference thread, whose idle team would burn a core.
        os.environ["OMP_NUM_THREADS"] = str(self.settings.torch_threads)
        with self._component("runtime"):  # torch takes seconds to import; startup and metrics are answered meanwhile
            models = await asyncio.to_thread(importlib.import_module, "model_server.inference.model")
            await asyncio.to_thread(importlib.import_module, "model_server.inference.dicom")
        with self._component("model"):
            options = self.settings
            made = functools.partial(
                models.ready, options.weights, options.max_batch, options.torch_threads, options.device,
                options.weights_sha256, options.precision,
            )  # fmt: skip
            self.model = model = await Aside("load").ask(made)
            self.metrics.model(model.version, model.sha256, model.architecture, model.device)
            self._show_gpus(models.torch)
        with self._component("inference"):
            self.batcher.start(model)
            async with asyncio.timeout(PROOF_WITHIN_S):
                await self.batcher.submit(lambda: self.decoded(next(SAMPLES.glob("*/*")).read_bytes()))
        self.batcher.drift.against(model.features)  # after the proof: it is no input
        with self._component("database"):
            await self.durable.begin(model.sha256, model.version, model.architecture)
        gc.collect()
        gc.freeze()  # torch's 180,000 objects stay: each look through them would stop every request for 70 ms
        self._started_after = time.monotonic() - self._began
        self._tasks = [asyncio.create_task(task) for task in (self.deep.watch(), self._ask_canaries())]
        structlog.get_logger().info(
            "Service started", seconds=round(self._started_after, 3), model_version=model.version, sha256=model.sha256,
            device=model.device,
        )  # fmt: skip

    def _show_gpus(self, torch: Any) -> None:
        """Show the readings of the GPU that the model is on; of all there are where it is on none."""
        if self.model.device == "cpu":
            self.gpus.show(None)
            return
        self.gpus.show([self.model.uuid])
        if self.metrics.on:  # in a thread of its own: the allocator is locked while CUDA hangs
            self.metrics.register(Sampled(Readings(gpu.allocator(torch, self.gpus))))

    async def _ask_canaries(self) -> None:
        """Ask the model a known image while nobody else asks, and after failures, for ever: so readiness knows of now,
        and a row of failures ends or is known to be no client's doing."""
        pixels = np.full((1, self.model.side, self.model.side), 128, np.uint8)
        while True:
            await asyncio.sleep(CANARY_LOOK_S)
            if self.batcher.canary_due(self.settings.canary_every_s):
                with contextlib.suppress(Exception):  # it is counted and logged
                    await self.batcher.submit(lambda: pixels, canary=True)

    @property
    def started(self) -> bool:
        return self._started_after is not None

    @property
    def may_hang(self) -> bool:
        """Whether a thread may be in a call that never ends: of CUDA, or of a load."""
        return self.model is None or self.model.device != "cpu"

    def check_started(self) -> None:
        """Raises Problem, 503, before the service is started."""
        if not self.started:
            raise Problem(503, "starting", "the model is still loading", RETRY)

    def check_model(self, name: str, version: str | None) -> None:
        """Raises BadInput, 404, unless that is the model, and its version where one is named."""
        if name != SERVICE or (version is not None and version != self.model.version):
            raise BadInput(404, "no_such_model", f"the one model is {SERVICE} {self.model.version}")

    def decoded(self, body: bytes) -> np.ndarray:
        """A picture as a batch of one, uint8 (1, side, side). Raises BadInput."""
        return decode(body, self.settings.max_pixels, self.model.side)[np.newaxis]

    def predicted(self, ids: Mapping[str, str], answer: Answer, size: int) -> list[str]:
        """Count, log, trace and remember the predictions of a request with a body of `size` bytes. Gives the id
        of each, for the answer: `/feedback` takes it. Of several images each is stored under the request id with its
        place, as in `4bf9:0`, `4bf9:1`."""
        version, several, names = self.model.version, len(answer.probabilities) > 1, []
        for i, probability in enumerate(answer.probabilities):
            name = CLASSES[label := label_of(probability)]
            confidence = max(probability, 1 - probability)
            self.metrics.predicted[name].inc()
            self.metrics.confidence.observe(confidence)
            if i == 0:
                tracing.annotate(
                    **{
                        "image.size": size, "model.version": version,
                        "prediction.result": name, "prediction.confidence": confidence,
                    }
                )  # fmt: skip
            request_id = of_several(ids["request_id"], i) if several else ids["request_id"]
            names.append(f"{made_trace_id():032x}")  # for clients choose request ids, and may choose one twice
            self.feedback.remember(names[-1], request_id, label, version, probability)
            self._log.info(
                "Model inference completed", model_version=version, prediction=name,
                confidence=round(confidence, 4), inference_time_ms=round(1000 * answer.inference_s, 2),
            )  # fmt: skip
        return names

    def startup(self) -> tuple[bool, dict[str, Any]]:
        """Whether the model has answered once, and how far each component is."""
        seconds = self._started_after if self.started else time.monotonic() - self._began
        status = "started" if self.started else "starting"
        return self.started, {"status": status, "startup_time": round(seconds, 3), "components": self._components}

    def live(self) -> tuple[bool, dict[str, Any]]:
        """Whether the process can still do its work; only a restart heals one that cannot."""
        checks = {
            "worker_alive": not self.started or self.batcher.alive,
            "worker_progress": self.batcher.stalled_s <= self.settings.wedged_after_s,
        }
        good = all(checks.values())
        return good, {"status": "alive" if good else "dead", "checks": checks}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether traffic should come here, and each check."""
        checks = self.ready_checks()
        good = all(checks.values())
        return good, {"status": "ready" if good else "not_ready", "checks": checks}

    def ready_checks(self) -> dict[str, bool]:
        return {
            "model_loaded": self.started,
            "worker_alive": self.batcher.alive,
            "worker_progress": self.batcher.stalled_s <= self.settings.wedged_after_s,
            "inference_works": self.batcher.failures.few,
            "queue_not_saturated": self.batcher.shed_ago_s > SATURATED_FOR_S,
            "not_stopping": not self.stopping,
            **self.durable.checks(),
        }

    @contextlib.contextmanager
    def _component(self, name: str) -> Iterator[None]:
        component, began = self._components[name], time.monotonic()
        component["status"] = "starting"
        try:
            yield
        except BaseException:
            component["status"] = "failed"
            raise
        else:
            component["status"] = "started"
        finally:
            component["seconds"] = round(time.monotonic() - began, 3)
