"""The service without its HTTP: its start, and the truth about its health."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import io
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import structlog
from PIL import Image

from model_server import drift, gpu
from model_server.batching import Batcher
from model_server.feedback import Feedback
from model_server.images import SIDE
from model_server.logs import now
from model_server.metrics import Metrics
from model_server.settings import Settings
from model_server.tracing import Tracer

SATURATED_FOR_S = 1.0  # after a refused request the service is not ready for so long


class Service:
    """What the endpoints answer from. `start` loads the model and proves it by one inference through the whole path."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.metrics = Metrics(settings.commit, settings.environment, settings.deployment, settings.metrics == "on")
        self.tracer = Tracer(settings.otlp_endpoint, settings.trace_ratio)
        self.batcher = Batcher(settings, self.metrics)
        self.feedback = Feedback()
        self.model_version = ""
        self.stopping = False
        self._began = time.monotonic()
        self._components: dict[str, dict[str, Any]] = {
            name: {"status": "waiting", "seconds": None} for name in ("runtime", "model", "inference")
        }
        self._started_after: float | None = None
        self.metrics.readings(
            {
                "service_ready": (
                    "1 when /health/ready would say 200.",
                    lambda: int(all(self.ready_checks().values())),
                ),
                "inference_queue_depth": ("Requests admitted and not yet answered.", lambda: self.batcher.depth),
                "inference_queue_limit": ("Requests admitted at most.", lambda: settings.max_queue),
                "inference_stalled_seconds": (
                    "For how long work waits and none is done.",
                    lambda: self.batcher.stalled_s,
                ),
                "ml_model_accuracy": ("Accuracy over recent labelled feedback.", lambda: self.feedback.accuracy),
                "ml_model_precision": ("Precision over recent labelled feedback.", lambda: self.feedback.precision),
                "ml_model_recall": ("Recall over recent labelled feedback.", lambda: self.feedback.recall),
                "ml_model_load_seconds": ("Loading the model.", lambda: self._components["model"]["seconds"]),
                "trace_spans_exported_total": ("Spans the collector took.", lambda: self.tracer.exported),
                "trace_spans_dropped_total": ("Spans lost.", lambda: self.tracer.dropped),
            }
        )

    async def start(self) -> None:
        """Raises what went wrong; the service is then not started."""
        # Before torch is there: set later it would not reach the inference thread, whose idle team would burn a core.
        os.environ["OMP_NUM_THREADS"] = str(self.settings.torch_threads)
        with self._component("runtime"):  # torch takes seconds to import; startup and metrics are answered meanwhile
            models = await asyncio.to_thread(importlib.import_module, "model_server.model")
        with self._component("model"):
            model = await asyncio.to_thread(
                models.ready, self.settings.weights, self.settings.max_batch, self.settings.torch_threads
            )
            self.model_version = model.version
            self.metrics.model(model.version, model.sha256, model.architecture)
            self.metrics.readings(gpu.allocator(models.torch))
            self.metrics.drift.against(drift.stored_beside(self.settings.weights))
        with self._component("inference"):
            self.batcher.start(model)
            await asyncio.wait_for(self.batcher.submit(_grey_png()), self.settings.deadline_s)
        gc.collect()
        gc.freeze()  # torch's 180,000 objects stay: each look through them would stop every request for 70 ms
        self._started_after = time.monotonic() - self._began
        structlog.get_logger().info(
            "Service started", seconds=round(self._started_after, 3), model_version=model.version, sha256=model.sha256
        )

    @property
    def started(self) -> bool:
        return self._started_after is not None

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
        return all(checks.values()), {"status": "alive" if all(checks.values()) else "dead", "checks": checks}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether traffic should come here, and each check."""
        checks = self.ready_checks()
        return all(checks.values()), {"status": "ready" if all(checks.values()) else "not_ready", "checks": checks}

    def ready_checks(self) -> dict[str, bool]:
        return {
            "model_proven": self.started,
            "worker_alive": self.batcher.alive,
            "worker_progress": self.batcher.stalled_s <= self.settings.wedged_after_s,
            "queue_not_saturated": self.batcher.shed_ago_s > SATURATED_FOR_S,
            "not_stopping": not self.stopping,
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


def answered(answer: tuple[bool, dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    """A health answer as HTTP status and body."""
    good, body = answer
    return 200 if good else 503, body | {"timestamp": now()}


def _grey_png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((SIDE, SIDE), 128, np.uint8)).save(out, "PNG")
    return out.getvalue()
