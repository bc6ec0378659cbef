"""What is measured of a store, and what of one that hangs."""

import contextlib
import time

import structlog

from model_server.storage.stores import Stores
from model_server.telemetry.metrics import Metrics


def value(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"store": "audit", "operation": "write"})


def test_an_operation_is_timed_with_its_bytes_and_one_that_fails_is_not():
    metrics = Metrics()
    stores = Stores(metrics)
    for size in (100, 20):
        with stores.operation("audit", "write") as done:
            done.size = size
    with contextlib.suppress(OSError), stores.operation("audit", "write") as done:
        done.size = 5
        raise OSError
    assert value(metrics, "storage_operation_seconds_count") == 2 and value(metrics, "storage_bytes_total") == 120
    assert value(metrics, "storage_errors_total") == 1
    stores.close()


def test_an_operation_that_hangs_is_counted_while_it_does_and_logged_once():
    metrics = Metrics()
    stores = Stores(metrics, within_s=0.2)
    with structlog.testing.capture_logs() as lines:
        with stores.operation("audit", "write"):
            deadline = time.monotonic() + 60
            while value(metrics, "storage_errors_total") < 2:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        told = [
            (line["event"], line["store"], line["operation"], line["log_level"]) for line in lines if "store" in line
        ]
    assert told == [
        ("Storage hangs", "audit", "write", "error"), ("Storage hangs no more", "audit", "write", "info"),
    ]  # fmt: skip
    stores.close()


def test_for_how_long_the_oldest_record_of_a_store_waits_is_read_when_it_is_asked_for():
    metrics = Metrics()
    stores, waits = Stores(metrics), [0.0]
    stores.unwritten["audit"] = lambda: waits[0]
    for waits[0] in (0.0, 2.5):
        assert metrics.registry.get_sample_value("storage_unwritten_seconds", {"store": "audit"}) == waits[0]
    assert metrics.registry.get_sample_value("storage_unwritten_seconds", {"store": "database"}) is None
    stores.close()
