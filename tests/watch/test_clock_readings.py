"""The clocks of this machine, read at one moment."""

import time

import numpy as np
import pytest

from harness.history import ROW
from harness.load import clock
from harness.watch import clocks


def test_the_clocks_go_alike(tmp_path):
    rows = np.zeros(3, ROW)
    rows["sent"] = [time.time() - 2, np.nan, time.time() - 5]
    rows["done"] = time.time()
    rows.tofile(tmp_path / "requests-load.rows")
    one = clocks.reading("http://127.0.0.1:1", tmp_path / "requests-load.rows")
    time.sleep(0.05)
    after = clocks.reading("http://127.0.0.1:1", tmp_path / "none.rows")
    passed = after["monotonic"] - one["monotonic"]
    assert after["wall"] - one["wall"] == pytest.approx(passed, abs=0.02)
    assert after["boot"] - one["boot"] == pytest.approx(passed, abs=0.02)
    assert one["sent_before_s"] == pytest.approx(2, abs=0.5) and "sent_before_s" not in after
    assert "prometheus_ahead_s" not in one


def test_the_generator_reads_its_own():
    mine, wall, monotonic = clock.reading()
    assert mine == pytest.approx(wall, abs=0.5) and monotonic == pytest.approx(time.monotonic(), abs=1)
