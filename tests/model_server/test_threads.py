"""The queue between requests and the threads that write; what never answers takes one thread and holds up nothing."""

import asyncio
import subprocess
import sys
import threading

import pytest
from real_server import ROOT

from model_server.threads import LOOK_IN_S, LOSS_WINDOW_S, Aside, Outbox, Unanswered


def test_what_comes_while_the_last_batch_is_written_waits_for_the_next_look():
    outbox, seen = Outbox(100), []
    for i in range(25):
        outbox.put(i)
    for batch in outbox.batches(10):
        seen.append(batch)
        outbox.put("late")
    assert [len(batch) for batch in seen] == [10, 10, 7] and len(outbox) == 1
    assert list(outbox.batches(10)) == [["late"]] and list(outbox.batches(10)) == []


def test_beyond_its_bound_nothing_is_taken():
    outbox = Outbox(2)
    assert outbox.oldest() is None and [outbox.put(i) for i in range(3)] == [True, True, False]
    assert outbox.oldest() == 0 and list(outbox.batches(5)) == [[0, 1]] and outbox.oldest() is None


def test_a_batch_whose_taker_raises_comes_again_first():
    outbox, seen = Outbox(100), []
    for i in range(5):
        outbox.put(i)
    with pytest.raises(OSError):
        for batch in outbox.batches(2):
            seen.append(batch)
            if len(seen) == 2:
                raise OSError
    assert (outbox.oldest(), len(outbox)) == (2, 3)
    assert list(outbox.batches(2)) == [[2, 3], [4]] and len(outbox) == 0


def test_a_look_takes_half_of_what_may_be_lost_so_that_a_write_has_the_other():
    assert LOSS_WINDOW_S == 2 * LOOK_IN_S == 0.1


def test_it_gives_what_the_question_gives_and_raises_what_it_raises():
    async def main():
        aside = Aside("cuda")
        for _ in range(2):
            assert await aside.ask(lambda: 3) == 3
            with pytest.raises(ZeroDivisionError):
                await aside.ask(lambda: 1 / 0)

    asyncio.run(main())


def test_while_a_question_has_no_answer_no_other_is_asked():
    async def main():
        aside, gate, asked = Aside("cuda"), threading.Event(), []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aside.ask(lambda: gate.wait(60)), 0.05)
        for _ in range(3):
            with pytest.raises(Unanswered, match="cuda: the question before"):
                await aside.ask(lambda: asked.append(1))
        gate.set()
        for _ in range(3000):
            try:
                assert await aside.ask(lambda: len(asked)) == 0
                return
            except Unanswered:
                await asyncio.sleep(0.01)
        raise AssertionError("not within 30 s")

    asyncio.run(main())


HANGS = """
import asyncio, time
from model_server.threads import Aside
try:
    asyncio.run(asyncio.wait_for(Aside("cuda").ask(lambda: time.sleep(3600)), 0.1))
except TimeoutError:
    print("ends")
"""


def test_no_exit_waits_for_an_answer():
    done = subprocess.run([sys.executable, "-c", HANGS], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ends\n")
