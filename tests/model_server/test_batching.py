"""The queue and its batches, with a network that answers an image's brightness."""

import asyncio
import threading
import time
import weakref

import numpy as np
import pytest

from model_server.errors import BadInput
from model_server.inference.batching import READ_WITHIN_S, Batcher, Expired, Saturated
from model_server.inference.failures import KINDS, InferenceFailed, kind_of
from model_server.inference.images import decode
from model_server.settings import Settings
from model_server.telemetry.metrics import Metrics


def waiting(batcher: Batcher) -> int:
    """Jobs that wait for the network."""
    return batcher._decoded.qsize()


class Brightness:
    """Answers each image's brightness, once its gate is open; keeps the sizes of its batches."""

    version = "brightness"

    def __init__(self, is_open: bool = True):
        self.gate, self.batches = threading.Event(), []
        if is_open:
            self.gate.set()

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        self.batches.append(len(pixels))
        assert self.gate.wait(30)
        return pixels.mean((1, 2)) / 255

    def usable(self) -> bool:
        return True


def grey(level: int):
    """Reads an image of one grey."""
    return greys(level)


def nonsense():
    return decode(b"nonsense")[np.newaxis]


def greys(*levels: int):
    """Reads several images, as a request of the Open Inference Protocol may hold."""
    return lambda: np.stack([np.full((64, 64), level, np.uint8) for level in levels])


def running(model: Brightness, **settings) -> Batcher:
    batcher = Batcher(Settings(**settings), Metrics())
    batcher.start(model)
    return batcher


async def until(said) -> None:
    for _ in range(3000):
        if said():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 30 s")


@pytest.mark.parametrize("decode_threads", [1, 3])
def test_every_request_gets_the_answer_to_its_own_image(decode_threads):
    async def main():
        batcher = running(Brightness(), max_queue=256, max_batch=7, decode_threads=decode_threads)
        answers = await asyncio.gather(*(batcher.submit(grey(level)) for level in range(256)))
        assert [round(255 * a.probabilities[0]) for a in answers] == list(range(256))
        assert batcher.depth == 0 and batcher.stalled_s == 0

    asyncio.run(main())


def test_what_gathers_while_the_model_is_busy_runs_together_up_to_the_bound():
    async def main():
        model = Brightness(is_open=False)
        batcher = running(model, max_batch=8)
        jobs = [batcher.submit(grey(1))]
        await until(lambda: model.batches == [1])
        jobs += [batcher.submit(grey(1)) for _ in range(20)]
        await until(lambda: waiting(batcher) == 20)
        model.gate.set()
        await asyncio.gather(*jobs)
        assert model.batches == [1, 8, 8, 4]

    asyncio.run(main())


def test_beyond_the_bound_it_refuses_and_takes_again_when_there_is_room():
    async def main():
        model = Brightness(is_open=False)
        batcher = running(model, max_queue=3)
        jobs = [batcher.submit(grey(1)) for _ in range(3)]
        assert batcher.shed_ago_s == float("inf")
        with pytest.raises(Saturated):
            batcher.submit(grey(1))
        assert batcher.shed_ago_s < 30 and batcher.depth == 3
        model.gate.set()
        await asyncio.gather(*jobs)
        assert (await batcher.submit(grey(255))).probabilities == [1]

    asyncio.run(main())


def test_a_bad_image_fails_alone():
    async def main():
        batcher = running(Brightness())
        good, bad, also_good = (batcher.submit(read) for read in (grey(255), nonsense, grey(0)))
        with pytest.raises(BadInput):
            await bad
        assert ((await good).probabilities, (await also_good).probabilities) == ([1], [0])

    asyncio.run(main())


def test_work_that_waits_while_none_is_done_is_a_stall_and_bad_images_do_not_hide_it():
    async def main():
        model = Brightness(is_open=False)
        batcher = running(model)
        job = batcher.submit(grey(1))
        began = time.monotonic()
        while time.monotonic() - began < 0.3:
            with pytest.raises(BadInput):
                await batcher.submit(nonsense)
        assert batcher.stalled_s >= 0.1 and batcher.alive
        model.gate.set()
        await job
        assert batcher.stalled_s == 0

    asyncio.run(main())


def test_bad_images_that_take_long_are_no_stall():
    async def main():
        now, steps = [0.0], threading.Semaphore(0)
        batcher = Batcher(Settings(), Metrics(), clock=lambda: now[0])
        batcher.start(Brightness())

        def slow_nonsense():
            assert steps.acquire(timeout=30)
            return nonsense()

        first, second = batcher.submit(slow_nonsense), batcher.submit(slow_nonsense)
        now[0] = 4
        steps.release()
        with pytest.raises(BadInput):
            await first
        now[0] = 4 + READ_WITHIN_S
        assert batcher.stalled_s == 0  # the second is being read since 4, however long ago it came
        now[0] += 3
        assert batcher.stalled_s == 3  # no picture takes so long
        steps.release()
        with pytest.raises(BadInput):
            await second
        assert batcher.stalled_s == 0

    asyncio.run(main())


def test_an_abandoned_request_keeps_its_place_until_it_is_through_so_that_the_bound_holds():
    async def main():
        model = Brightness(is_open=False)
        batcher = running(model, max_queue=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.submit(grey(1)), 0.05)
        assert batcher.full
        model.gate.set()
        await until(lambda: not batcher.full)

    asyncio.run(main())


class Stepwise(Brightness):
    """Does one batch for each time it is let."""

    def __init__(self):
        super().__init__()
        self.entered, self.steps = threading.Semaphore(0), threading.Semaphore(0)

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        self.entered.release()
        assert self.steps.acquire(timeout=30)
        return super().predict(pixels)


def test_slow_work_is_no_stall_however_long_the_queue():
    async def main():
        now, model = [0.0], Stepwise()
        batcher = Batcher(Settings(max_batch=1), Metrics(), clock=lambda: now[0])
        batcher.start(model)
        first, *others = (batcher.submit(grey(1)) for _ in range(3))
        assert await asyncio.to_thread(model.entered.acquire)
        now[0] = 10
        await until(lambda: batcher.stalled_s == 10)  # once the model has the first
        model.steps.release()
        await first
        assert await asyncio.to_thread(model.entered.acquire)
        now[0] = 14
        await until(lambda: batcher.stalled_s == 4)
        model.steps.release(2)
        await asyncio.gather(*others)

    asyncio.run(main())


def test_a_worker_stuck_between_two_batches_is_a_stall():
    """It did a batch at 5 and takes no more. What became ready at 8 waits since then, however long it did nothing."""

    async def main():
        now, entered, go_on = [5.0], threading.Event(), threading.Event()
        batcher = Batcher(Settings(), Metrics(), clock=lambda: now[0])
        gather = batcher._gather

        def stuck_after_the_first():
            if batcher._progress == 5:
                entered.set()
                assert go_on.wait(timeout=30)
            return gather()

        batcher._gather = stuck_after_the_first
        batcher.start(Brightness())
        await batcher.submit(grey(1))
        assert await asyncio.to_thread(entered.wait, 30)
        now[0] = 8
        second = batcher.submit(grey(2))
        await until(lambda: all(job.ready is not None for job in batcher._pending))
        assert batcher.stalled_s == 0
        now[0] = 12
        assert batcher.stalled_s == 4 and batcher.alive
        now[0] = 30
        assert batcher.stalled_s == 22
        go_on.set()
        await second
        assert batcher.stalled_s == 0

    asyncio.run(main())


def test_a_request_of_several_images_gets_their_answers_in_its_order_and_shares_batches():
    async def main():
        model = Brightness(is_open=False)
        batcher = running(model, max_batch=4)
        first = batcher.submit(grey(1))
        await until(lambda: model.batches == [1])
        jobs = [batcher.submit(read) for read in (greys(0, 255, 0), greys(255, 0), grey(255), greys(255, 255, 0, 0))]
        await until(lambda: waiting(batcher) == 4)
        model.gate.set()
        await first
        answers = [(await job).probabilities for job in jobs]
        assert answers == [[0, 1, 0], [1, 0], [1], [1, 1, 0, 0]]
        assert model.batches == [1, 3, 3, 4] and batcher.depth == 0  # none is torn apart, none overtakes

    asyncio.run(main())


def test_what_has_expired_or_was_abandoned_never_reaches_the_model_and_is_counted():
    async def main():
        now, model, metrics = [0.0], Brightness(is_open=False), Metrics()
        batcher = Batcher(Settings(max_batch=1), metrics, clock=lambda: now[0])
        batcher.start(model)
        running_one = batcher.submit(grey(1), expires=10)
        await until(lambda: model.batches == [1])
        expired, abandoned, good = batcher.submit(grey(2), 5), batcher.submit(grey(3), 99), batcher.submit(grey(4), 99)
        await until(lambda: waiting(batcher) == 3)
        abandoned.cancel()
        now[0] = 6
        model.gate.set()
        await running_one
        assert round(255 * (await good).probabilities[0]) == 4
        with pytest.raises(Expired):
            await expired
        assert model.batches == [1, 1] and batcher.depth == 0
        assert metrics.registry.get_sample_value("inference_jobs_dropped_total") == 2

    asyncio.run(main())


def test_what_has_expired_is_not_even_read():
    async def main():
        batcher = running(Brightness())
        with pytest.raises(Expired):
            await batcher.submit(nonsense, expires=time.monotonic() - 1)

    asyncio.run(main())


class Broken(Brightness):
    """Fails as a GPU does after a sticky error."""

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        raise RuntimeError("unspecified launch failure")

    def usable(self) -> bool:
        return False


def test_a_device_that_is_broken_for_good_is_not_alive():
    async def main():
        batcher = running(Broken())
        assert batcher.alive
        with pytest.raises(InferenceFailed) as failed:
            await batcher.submit(grey(1))
        assert isinstance(failed.value.__cause__, RuntimeError)
        assert not batcher.alive and not batcher.canary_due(0)  # nothing that is asked of it would help

    asyncio.run(main())


class Fragile(Brightness):
    """Fails for a white image, as a network that overflows, and for all while it is `down`."""

    def __init__(self, error: Exception | None = None):
        super().__init__()
        self.error, self.down = error, False

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        answers = super().predict(pixels)
        if not self.down and answers.max() < 1:
            return answers
        if self.error:
            raise self.error
        return np.where(self.down | (answers == 1), np.nan, answers)


def failures(metrics: Metrics) -> dict[str, float]:
    """The kinds that there were."""
    counted = {kind: metrics.registry.get_sample_value("inference_failures_total", {"kind": kind}) for kind in KINDS}
    assert None not in counted.values()  # each from 0: a rate must see the first
    return {kind: count for kind, count in counted.items() if count}


def test_an_answer_that_is_no_number_fails_its_batch_with_a_reason_and_is_counted():
    async def main():
        metrics = Metrics()
        batcher = Batcher(Settings(), metrics)
        batcher.start(Fragile())
        with pytest.raises(InferenceFailed) as failed:
            await batcher.submit(greys(0, 255))
        assert (failed.value.status, failed.value.reason) == (500, "inference_not_finite")
        assert failures(metrics) == {"not_finite": 1}
        assert metrics.registry.get_sample_value("ml_inference_duration_seconds_count") is None
        assert (await batcher.submit(grey(0))).probabilities == [0]
        assert batcher.depth == 0 and batcher.alive and batcher.failures.in_a_row == 0

    asyncio.run(main())


class OutOfMemoryError(RuntimeError):
    """As torch has it."""


class AcceleratorError(RuntimeError):
    """As torch has it."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (RuntimeError("CUDA error: out of memory"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out_of_memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "cuda"),
        (AcceleratorError("unspecified launch failure"), "cuda"),
        (RuntimeError("CUDA error: device-side assert triggered"), "cuda"),
        (RuntimeError("The size of tensor a (3) must match"), "other"),
        (ZeroDivisionError("division by zero"), "other"),
    ],
)
def test_a_failed_batch_is_counted_by_its_kind(error, kind):
    async def main():
        metrics = Metrics()
        batcher = Batcher(Settings(), metrics)
        batcher.start(Fragile(error))
        with pytest.raises(InferenceFailed, match="the model failed") as failed:
            await batcher.submit(grey(255))
        assert failed.value.reason == f"inference_{kind}" and failed.value.__cause__ is error
        assert failures(metrics) == {kind: 1} and kind_of(error) == kind

    asyncio.run(main())


def test_failed_batches_in_a_row_are_counted_until_one_works_and_only_a_canary_among_them_ends_the_process():
    async def main():
        model, metrics = Fragile(), Metrics()
        batcher = Batcher(Settings(unready_after_failures=2, dead_after_failures=4), metrics)
        batcher.start(model)

        async def fails(level: int = 255, canary: bool = False) -> None:
            with pytest.raises(InferenceFailed):
                await batcher.submit(grey(level), canary=canary)
            await until(lambda: batcher.alive or batcher.failures.hopeless)  # the device has said that it goes on

        await batcher.submit(grey(0))
        assert not batcher.canary_due(3600) and batcher.canary_due(0)
        await fails()
        assert batcher.failures.few and batcher.canary_due(3600)
        await fails()
        assert not batcher.failures.few
        await batcher.submit(grey(0), canary=True)
        assert batcher.failures.few and not batcher.canary_due(3600)
        for _ in range(9):  # one client's image, again and again
            await fails()
        assert not batcher.failures.few and batcher.alive
        await batcher.submit(grey(0), canary=True)
        model.down = True
        for _ in range(3):
            await fails(0, canary=True)
        assert batcher.alive
        await fails(0)
        assert not batcher.alive
        model.down = False  # it was no error that stays
        await batcher.submit(grey(0), canary=True)
        assert batcher.alive and batcher.failures.few

    asyncio.run(main())


def test_a_canary_is_in_no_clients_batch_and_in_no_metric_of_them():
    async def main():
        model, metrics = Brightness(is_open=False), Metrics()
        batcher = Batcher(Settings(max_batch=8), metrics)
        batcher.start(model)
        first = batcher.submit(grey(1))
        await until(lambda: model.batches == [1])
        read = [grey(1), grey(1), grey(1), grey(1)]
        jobs = [batcher.submit(each, canary=i == 1) for i, each in enumerate(read)]
        await until(lambda: waiting(batcher) == 4)
        model.gate.set()
        await asyncio.gather(first, *jobs)
        assert model.batches == [1, 1, 1, 2]
        value = metrics.registry.get_sample_value
        assert value("inference_batch_size_count") == 3 and value("inference_batch_size_sum") == 4
        await until(lambda: value("ml_inference_duration_seconds_count", {"model_version": "brightness"}) == 3)
        assert value("inference_queue_wait_seconds_count") == value("ml_preprocessing_duration_seconds_count") == 4

    asyncio.run(main())


class Silent(Broken):
    """Its device never says whether it can go on, until it does."""

    def __init__(self):
        super().__init__()
        self.says = threading.Event()

    def usable(self) -> bool:
        assert self.says.wait(30)
        return True


def test_clients_are_answered_before_the_device_is_asked_whether_it_can_go_on():
    async def main():
        model = Silent()
        batcher = running(model)
        with pytest.raises(InferenceFailed):
            await batcher.submit(grey(1))
        assert not batcher.alive  # until it says otherwise
        model.says.set()
        await until(lambda: batcher.alive)

    asyncio.run(main())


def test_a_body_is_let_go_once_it_is_read():
    class Body:
        images = 1

    async def main():
        model = Brightness(is_open=False)
        batcher = running(model)
        body = Body()
        gone = weakref.ref(body)
        job = batcher.submit(lambda body=body: np.zeros((body.images, 64, 64), np.uint8))
        del body
        await until(lambda: gone() is None)
        model.gate.set()
        await job

    asyncio.run(main())
