"""A program whose event loop, worker and thread pool each go on writing a byte: `python beating.py FOLDER [uvloop]`."""

import asyncio
import gc
import sys
import threading
import time
from pathlib import Path

BEAT_S = 0.01
NAMES = ("loop", "worker", "pool", "caller")
LOOP, WORKER, POOL, CALLER = (open(Path(sys.argv[1], name), "ab", buffering=0) for name in NAMES)  # noqa: SIM115


class Worker:
    def work(self):
        WORKER.write(b".")


def works():
    worker = Worker()
    while True:
        worker.work()
        time.sleep(BEAT_S)


class Caller:
    async def call(self):
        CALLER.write(b".")


async def calls():
    while True:
        await Caller().call()
        await asyncio.sleep(BEAT_S)


async def pool():
    while True:
        await asyncio.to_thread(POOL.write, b".")
        await asyncio.sleep(BEAT_S)


async def main():
    beside, _caller = asyncio.create_task(pool()), asyncio.create_task(calls())
    gc.collect()
    gc.freeze()  # as servers do once they have started
    while not beside.done():
        LOOP.write(b".")
        await asyncio.sleep(BEAT_S)


threading.Thread(target=works, daemon=True).start()
if "uvloop" in sys.argv:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
else:
    asyncio.run(main())
