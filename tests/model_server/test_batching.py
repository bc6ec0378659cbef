"""The queue and its batches, with a network that answers an image's brightness."""

import asyncio
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from model_server.batching import Batcher, Saturated
from model_server.images import BadImage
from model_server.metrics import Metrics
from model_server.settings import Settings


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


def grey(level: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (64, 64), level).save(out, "PNG")
    return out.getvalue()


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


def test_every_request_gets_the_answer_to_its_own_image():
    async def main():
        batcher = running(Brightness(), max_queue=256, max_batch=7, decode_threads=3)
        answers = await asyncio.gather(*(batcher.submit(grey(level)) for level in range(256)))
        assert [round(255 * a.probability) for a in answers] == list(range(256))
        assert batcher.depth == 0 and batcher.stalled_s == 0

    asyncio.run(main())


def test_what_gathers_while_the_model_is_busy_runs_together_up_to_the_bound():
    async def main():
        model = Brightness(is_open=False)
        batcher = running(model, max_batch=8)
        jobs = [batcher.submit(grey(1))]
        await until(lambda: model.batches == [1])
        jobs += [batcher.submit(grey(1)) for _ in range(20)]
        await until(lambda: batcher._decoded.qsize() == 20)
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
        assert (await batcher.submit(grey(255))).probability == 1

    asyncio.run(main())


def test_a_bad_image_fails_alone():
    async def main():
        batcher = running(Brightness())
        good, bad, also_good = (batcher.submit(body) for body in (grey(255), b"nonsense", grey(0)))
        with pytest.raises(BadImage):
            await bad
        assert ((await good).probability, (await also_good).probability) == (1, 0)

    asyncio.run(main())


def test_work_that_waits_while_none_is_done_is_a_stall_and_bad_images_do_not_hide_it():
    async def main():
        model = Brightness(is_open=False)
        batcher = running(model)
        job = batcher.submit(grey(1))
        began = time.monotonic()
        while time.monotonic() - began < 0.2:
            with pytest.raises(BadImage):
                await batcher.submit(b"nonsense")
        assert batcher.stalled_s >= 0.2 and batcher.alive
        model.gate.set()
        await job
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
        self.steps = threading.Semaphore(0)

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        assert self.steps.acquire(timeout=30)
        return super().predict(pixels)


def test_slow_work_is_no_stall_however_long_the_queue():
    async def main():
        now, model = [0.0], Stepwise()
        batcher = Batcher(Settings(max_batch=1), Metrics(), clock=lambda: now[0])
        batcher.start(model)
        first, *others = (batcher.submit(grey(1)) for _ in range(3))
        now[0] = 10
        assert batcher.stalled_s == 10
        model.steps.release()
        await first
        now[0] = 14
        assert batcher.stalled_s == 4
        model.steps.release(2)
        await asyncio.gather(*others)

    asyncio.run(main())
