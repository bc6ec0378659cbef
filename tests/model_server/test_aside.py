"""What may never answer takes one thread, and holds up nothing."""

import asyncio
import subprocess
import sys
import threading

import pytest
from real_server import ROOT

from model_server.aside import Aside, Unanswered


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
from model_server.aside import Aside
try:
    asyncio.run(asyncio.wait_for(Aside("cuda").ask(lambda: time.sleep(3600)), 0.1))
except TimeoutError:
    print("ends")
"""


def test_no_exit_waits_for_an_answer():
    done = subprocess.run([sys.executable, "-c", HANGS], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ends\n")
