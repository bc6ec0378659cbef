"""What the service keeps on disks and in databases, measured the same way for each: model, audit, database."""

from __future__ import annotations

import os
from pathlib import Path

from model_server.metrics import Metrics

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Stores:
    """The metrics of all stores; `local` maps a store to its files on this machine."""

    def __init__(self, metrics: Metrics):
        labels = ("store", "operation")
        self._seconds = metrics.histogram("storage_operation_seconds", "One read or write.", SECONDS, *labels)
        self._bytes = metrics.counter("storage_bytes_total", "Bytes read and written.", *labels)
        self._errors = metrics.counter("storage_errors_total", "Operations that failed.", *labels)
        for store, operation in (("model", "read"), ("audit", "write"), ("database", "read"), ("database", "write")):
            self._errors.labels(store, operation)  # from 0, so that a rate sees the first
        self.local: dict[str, tuple[Path, ...]] = {}
        self.sizes: dict[str, int] = {}  # as last seen by those who may wait for it; a scrape may not
        self.free: dict[str, int] = {}
        for name, about, values in (
            ("storage_free_bytes", "Bytes free on the disk of a local store.", self.free),
            ("storage_size_bytes", "Bytes that a store takes.", self.sizes),
        ):
            metrics.readings({name: (about, lambda values=values: {(s,): v for s, v in [*values.items()]}, ("store",))})

    def did(self, store: str, operation: str, took_s: float, size: int | None = None) -> None:
        """Count one `read` or `write`, and its bytes where they are known."""
        self._seconds.labels(store, operation).observe(took_s)
        if size is not None:
            self._bytes.labels(store, operation).inc(size)

    def failed(self, store: str, operation: str) -> None:
        self._errors.labels(store, operation).inc()

    def look(self) -> None:
        """Read sizes and free space anew. Raises OSError; may wait as long as the disks do."""
        for store, files in dict(self.local).items():
            disk = os.statvfs(files[0].parent)
            self.free[store] = disk.f_bavail * disk.f_frsize
            self.sizes[store] = sum(file.stat().st_size for file in files if file.exists())
