"""Our counters and histograms give what the client library's give, and lose nothing under threads."""

import math
import sys
import threading
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from model_server.telemetry.exposition import written
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.registry import DuplicateTimeseries

from model_server.telemetry import tally
from model_server.telemetry.metrics import BYTES, LATENCY_S, Metrics

BOUNDS = {"a_seconds": LATENCY_S, "b_bytes": BYTES, "c_delta": (-1.0, 0.0, 1e7), "d_one": (1,)}
EDGES = [bound for bounds in BOUNDS.values() for bound in bounds] + [math.nan, math.inf, -math.inf]
VALUES = st.sampled_from(["", "/predict", 'odd \\ " \n é'])
AMOUNTS = st.sampled_from(EDGES) | st.floats() | st.integers(-10, 1 << 70)
EXEMPLARS = st.none() | st.just({}) | st.builds(lambda n: {"trace_id": f"{n:032x}"}, st.integers(0, (1 << 128) - 1))
OBSERVED = st.lists(st.tuples(st.sampled_from(list(BOUNDS)), VALUES, AMOUNTS, EXEMPLARS))
COUNTED = st.lists(st.tuples(VALUES, st.floats(0) | st.just(math.nan) | st.integers(0, 1 << 70)))
EVERY_CASE = [("d_one", "", amount, {"trace_id": "a"}) for amount in (0, 1, 1.5, math.inf, -math.inf, math.nan)]


@given(OBSERVED, COUNTED)
@example(EVERY_CASE, [("", math.nan)])
@example(EVERY_CASE[:4], [])
def test_both_formats_are_the_librarys(observed, counted):
    disable_created_metrics()  # the service has none
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histograms = {
        name: (
            tally.histogram(name, "Help.", bounds, ("x", "a")),
            Histogram(name, "Help.", ("x", "a"), buckets=bounds, registry=theirs),
        )
        for name, bounds in BOUNDS.items()
    }
    counters = tally.counter("c_total", "Help.", ("x",)), Counter("c_total", "Help.", ("x",), registry=theirs)
    for our, _ in (*histograms.values(), counters):
        ours.register(our)
    for second, (name, value, amount, exemplar) in enumerate(observed):
        with patch("time.time", return_value=second):
            for family in histograms[name]:
                family.labels(value, "y").observe(amount, exemplar)
    for value, amount in counted:
        for family in counters:
            family.labels(value).inc(amount)
    for openmetrics in (False, True):
        assert written(ours, openmetrics) == written(theirs, openmetrics)


def test_what_is_collected_is_the_librarys_to_the_type_of_a_value():
    disable_created_metrics()
    theirs = Histogram("h", "Help.", ("x",), buckets=(1, 2), registry=None), Counter("c", "Help.", registry=None)
    ours = tally.histogram("h", "Help.", (1, 2), ("x",)), tally.counter("c", "Help.")
    for histogram in (theirs[0], ours[0]):
        histogram.labels("y").observe(2)
    theirs[1].inc(3)
    ours[1].labels().inc(3)
    for our, their in zip(ours, theirs, strict=True):
        assert our.collect() == their.collect() and our.describe() == their.describe()
        assert {type(sample.value) for metric in our.collect() for sample in metric.samples} == {float}


def test_a_series_is_there_from_0_and_is_one():
    metrics = Metrics()
    metrics.counter("plain_total", "Help.")
    labelled = metrics.counter("labelled_total", "Help.", "x")
    read = metrics.registry.get_sample_value
    assert read("plain_total") == 0 and read("labelled_total", {"x": "y"}) is None
    assert labelled.labels("y") is labelled.labels("y")
    assert read("labelled_total", {"x": "y"}) == 0


def test_what_is_wrong_is_refused():
    metrics = Metrics()
    count = metrics.counter("plain_total", "Help.")
    with pytest.raises(ValueError, match="-1"):
        count.inc(-1)
    assert metrics.registry.get_sample_value("plain_total") == 0
    with pytest.raises(DuplicateTimeseries):
        metrics.histogram("plain_total", "Help.", (1,))
    for values in ((), ("a", "b")):
        with pytest.raises(ValueError):
            metrics.counter(f"of_{len(values)}", "Help.", "x").labels(*values)
    for bounds in ((), (2, 1), (1, 1), (1, math.inf), (math.nan,)):
        with pytest.raises(ValueError, match="bounds"):
            tally.histogram("h", "Help.", bounds)


THREADS, EACH = 8, 20_000


def test_many_threads_lose_nothing_and_no_scrape_sees_anything_fall():
    registry = CollectorRegistry()
    families = tally.counter("c", "Help."), tally.histogram("h", "Help.", (1, 2, 4, 8))
    for family in families:
        registry.register(family)
    count, spread = (family.labels() for family in families)

    def hammer():
        for i in range(EACH):
            count.inc(i % 3)
            spread.observe(i % 10, {"trace_id": "a"})

    def brief():  # threads that begin and end: each a new cell, or one left behind
        while any(thread.is_alive() for thread in threads):
            one = threading.Thread(target=count.inc, args=(0.0,))
            one.start()
            one.join()

    threads = [threading.Thread(target=hammer) for _ in range(THREADS)]
    all_threads = *threads, threading.Thread(target=brief)
    usual, scrapes, before = sys.getswitchinterval(), 0, {}
    sys.setswitchinterval(1e-6)
    try:
        for thread in all_threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or not scrapes:
            lines = [line.split(" # ")[0].rpartition(" ") for line in written(registry, True).decode().splitlines()]
            now = {name: float(value) for name, _, value in lines if name and not name.startswith("#")}
            assert all(value >= before.get(name, 0) for name, value in now.items())
            buckets = [value for name, value in now.items() if name.startswith("h_bucket")]
            assert buckets == sorted(buckets) and buckets[-1] == now["h_count"]
            before, scrapes = now, scrapes + 1
    finally:
        sys.setswitchinterval(usual)
        for thread in all_threads:
            thread.join()
    read = registry.get_sample_value
    assert read("c_total") == THREADS * sum(i % 3 for i in range(EACH))
    assert read("h_count") == THREADS * EACH and read("h_sum") == THREADS * sum(i % 10 for i in range(EACH))
    each = [read("h_bucket", {"le": le}) / THREADS / EACH for le in ("1.0", "2.0", "4.0", "8.0", "+Inf")]
    assert each == [0.2, 0.3, 0.5, 0.9, 1.0]
