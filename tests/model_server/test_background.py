"""The tests before this one have left no thread that looks at something now and then (conftest.py)."""

import threading

import pytest

from model_server.storage.stores import Stores
from model_server.telemetry.metrics import Metrics


def looking() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name in ("readings", "stores"))


@pytest.mark.parametrize("turn", range(3))
def test_the_threads_of_metrics_and_stores_end_with_the_test_that_made_them(turn):
    assert looking() == []
    for _ in range(3):
        Stores(Metrics())
    assert looking() == ["readings"] * 3 + ["stores"] * 3
