"""On one core the event loop and the inference thread take turns, and neither waits for the other for ever."""

import asyncio
import collections
import threading
import time

import pytest
from model_server.inference.turns import Turns

from model_server.inference import turns


class Worker:
    """Does one piece of work a turn, and says when each begins and ends."""

    def __init__(self, said: list, gate: threading.Event, lingers_s: float = 0.0):
        self.work, self.said, self.gate, self.lingers_s = collections.deque(), said, gate, lingers_s
        self.turns = Turns(asyncio.get_running_loop(), lambda: bool(self.work))
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            with self.turns:
                work = self.work.popleft() if self.work else None
                if work is None:
                    continue
                self.said.append("begin")
                assert self.gate.wait(30)
                self.said.append("end")
                work.get_loop().call_soon_threadsafe(work.set_result, None)
                time.sleep(self.lingers_s)

    def put(self) -> asyncio.Future:
        self.work.append(work := asyncio.get_running_loop().create_future())
        self.turns.wanted()
        return work


@pytest.fixture
def opened() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


def test_while_one_works_the_other_rests(monkeypatch, opened):
    monkeypatch.setattr(turns, "REST_S", 30)

    async def main():
        said: list = []
        worker = Worker(said, opened)
        jobs = [worker.put() for _ in range(20)]
        while not all(job.done() for job in jobs):
            said.append("loop")
            await asyncio.sleep(0)
        assert said.count("begin") == 20 and "loop" in said
        for at, what in enumerate(said):
            if what == "begin":
                assert said[at + 1] == "end", said

    asyncio.run(main())


def test_all_that_comes_at_once_is_read_before_the_first_turn(opened, monkeypatch):
    monkeypatch.setattr(turns, "READ_S", 30)

    async def main():
        said: list = []
        worker = Worker(said, opened)
        jobs = []
        for _ in range(5):  # each in a round of its own, as connections are taken
            jobs.append(worker.put())
            said.append("read")
            await asyncio.sleep(0)
        await asyncio.gather(*jobs)
        assert said[:6] == ["read"] * 5 + ["begin"]

    asyncio.run(main())


def test_what_never_stops_coming_does_not_keep_the_work_from_being_done(opened):
    async def main():
        worker = Worker([], opened)
        job = worker.put()
        while not job.done():
            worker.turns.came()
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("rest_s", [0.0, 0.005])
def test_the_loop_goes_on_beside_work_that_takes_long_and_what_waits_is_done_after_it(monkeypatch, rest_s):
    monkeypatch.setattr(turns, "REST_S", rest_s)

    async def main():
        said, gate = [], threading.Event()
        worker = Worker(said, gate)
        jobs = [worker.put()]
        while not said:
            await asyncio.sleep(0.001)
        jobs += [worker.put() for _ in range(10)]
        for _ in range(100):
            await asyncio.sleep(0.001)  # the loop is free, however long the thread is not
        assert said == ["begin"] and not any(job.done() for job in jobs)
        gate.set()
        await asyncio.wait_for(asyncio.gather(*jobs), 30)
        assert said == ["begin", "end"] * 11

    asyncio.run(main())


def test_work_whose_thread_ends_its_turn_long_after_it_said_what_became_of_it_is_followed_by_what_waits():
    async def main():
        gate = threading.Event()
        worker = Worker([], gate, lingers_s=10 * turns.REST_S)
        jobs = [worker.put() for _ in range(3)]  # nothing comes after them that would make the loop look again
        await asyncio.sleep(0.02)
        gate.set()
        await asyncio.wait_for(asyncio.gather(*jobs), 30)

    asyncio.run(main())
