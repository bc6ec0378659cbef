"""What holds the process up is seen while it does."""

import asyncio
import gc
import time

from prometheus_client import Histogram

from model_server.telemetry.readings import GCPauses, watch_event_loop


def value(samples, name: str, **labels: str) -> float:
    return next(s.value for s in samples if s.name == name and s.labels == labels)


def test_a_blocked_event_loop_is_seen_as_late():
    lag = Histogram("lag", "x", buckets=(0.2, 60), registry=None)

    async def blocked():
        watching = asyncio.create_task(watch_event_loop(lag, every_s=0.01))
        await asyncio.sleep(0.05)
        time.sleep(0.5)
        await asyncio.sleep(0.05)
        watching.cancel()

    asyncio.run(blocked())
    (family,) = lag.collect()
    late = value(family.samples, "lag_count") - value(family.samples, "lag_bucket", le="0.2")
    assert late >= 1 and value(family.samples, "lag_sum") >= 0.4


def test_each_collection_is_one_pause_even_one_inside_a_scrape():
    pauses = GCPauses()
    try:
        gc.disable()  # but for ours
        list(pauses.collect())
        (family,) = pauses.collect()
        before = value(family.samples, "python_gc_pause_seconds_count")
        gc.collect()
        gc.collect()
        (family,) = pauses.collect()
        assert value(family.samples, "python_gc_pause_seconds_count") == before + 2
    finally:
        gc.enable()
        pauses.close()


def test_the_real_server_tells_them_all(served):
    assert served.until(lambda: served.metric("process_threads") >= 5)  # the event loop, decoding, inference, logs, gpu
    assert served.metric("process_open_fds") > 3
    assert served.until(lambda: served.metric("event_loop_lag_seconds_count"))
    assert served.until(lambda: served.metric("python_gc_pause_seconds_count"))
