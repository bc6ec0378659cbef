"""Figures read for a scrape, and before it."""

import threading
import time

import pytest
from prometheus_client.core import GaugeMetricFamily

from model_server.telemetry.metrics import Metrics
from model_server.telemetry.readings import Readings, Sampled


def samples(collector) -> dict[str, float]:
    return {s.name + str(s.labels or ""): s.value for family in collector.collect() for s in family.samples}


def test_a_name_says_whether_it_counts_and_labels_come_from_the_mapping():
    readings = Readings(
        {
            "a_bytes": ("x", lambda: 3),
            "b_total": ("x", lambda: 4),
            "c_total": ("x", lambda: {("lo",): 5, ("eth0",): 6}, ("interface",)),
        }
    )
    assert [family.type for family in readings.collect()] == ["gauge", "counter", "counter"]
    assert samples(readings) == {
        "a_bytes": 3, "b_total": 4, "c_total{'interface': 'lo'}": 5, "c_total{'interface': 'eth0'}": 6,
    }  # fmt: skip


@pytest.mark.parametrize("error", [FileNotFoundError("/proc/gone"), ValueError("x"), RuntimeError("CUDA error")])
def test_what_cannot_be_read_is_absent_and_the_rest_is_not(error):
    def gone():
        raise error

    readings = Readings(
        {"gone": ("x", gone), "none": ("x", lambda: None), "n": ("x", lambda: {}, ("a",)), "b": ("x", int)}
    )
    assert samples(readings) == {"b": 0}


@pytest.mark.parametrize("wrong", [{("x",): "no number"}, [1], {1: 1}, {("x",): 1, ("y",): []}])
def test_what_is_no_figure_is_absent_and_the_rest_is_not(wrong):
    assert samples(Readings({"wrong": ("x", lambda: wrong, ("a",)), "b": ("x", int)})) == {"b": 0}


class Broken:
    """Fails after it has given something."""

    def collect(self):
        yield GaugeMetricFamily("half", "x", value=1)
        raise RuntimeError("CUDA error")


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
@pytest.mark.parametrize("wrapped", [lambda c: c, Sampled])
def test_a_collector_that_fails_takes_nothing_else_with_it(accept, wrapped):
    metrics = Metrics()
    collector = wrapped(Broken())
    metrics.register(collector)
    metrics.reading("fails", "x", lambda: 1 / 0)
    exposed = metrics.expose(accept)[0].decode()
    assert "half" not in exposed and "\nfails" not in exposed and "build_info" in exposed and "process_cpu" in exposed
    if wrapped is Sampled:
        collector.close()  # else it goes on telling that it fails, in the log of other tests


class Slow:
    """Gives how often it was asked, until it fails or is held up."""

    def __init__(self):
        self.asked, self.fails, self.going = 0, False, threading.Event()
        self.going.set()

    def collect(self):
        self.going.wait()
        self.asked += 1 / (not self.fails)
        return [GaugeMetricFamily("asked", "x", value=self.asked)]


def until(said) -> None:
    deadline = time.monotonic() + 60
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_source_that_waits_holds_up_no_scrape_and_what_it_said_grows_old():
    slow = Slow()
    sampled = Sampled(slow, every_s=0.01, fresh_s=0.2)
    assert samples(sampled)["asked"] >= 1  # there from the first
    until(lambda: samples(sampled).get("asked", 0) > 1)
    slow.going.clear()
    until(lambda: samples(sampled) == {})  # asked a hundred times meanwhile, and it never waited
    slow.going.set()
    until(lambda: samples(sampled))
    sampled.close()


def test_a_source_that_fails_is_asked_again_in_its_time():
    slow = Slow()
    sampled = Sampled(slow, every_s=0.01, fresh_s=0.2)
    slow.fails = True
    until(lambda: samples(sampled) == {})
    slow.fails = False
    until(lambda: samples(sampled))
    sampled.close()
