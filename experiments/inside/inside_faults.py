"""What can break inside a Python process, each fault a context manager: it breaks, says what it did, and puts it back.

Nothing in the process is made for this. Event loops, networks and functions are found from outside: in sys.modules, and
among all that the garbage collector knows of. So nothing is imported here but the standard library.
"""

from __future__ import annotations

import functools
import gc
import itertools
import math
import mmap
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from types import FunctionType
from typing import Any

MEBIBYTE = 1 << 20
TICK_S = 0.05
LOOK_S = 0.25  # how soon a call that waits in an event loop sees that it is over
CO_COROUTINE = 0x80  # as in `inspect`, which takes long to import


@contextmanager
def loop_stalled() -> Iterator[str]:
    """Every running event loop waits, as in a call that blocks: nothing is answered, connections stay open."""
    released, loops = threading.Event(), running_loops()
    for loop in loops:
        loop.call_soon_threadsafe(released.wait)
    try:
        yield f"event loops stalled: {len(loops)}"
    finally:
        released.set()


@contextmanager
def loop_slow(by_s: float, every_s: float) -> Iterator[str]:
    """Every running event loop waits for `by_s` again and again, as in calls that block: `every_s` from one to the
    next."""
    over, loops = threading.Event(), running_loops()

    def go_on() -> None:
        while not over.wait(every_s):
            for loop in loops:
                with suppress(RuntimeError):  # it is closed
                    loop.call_soon_threadsafe(over.wait, by_s)

    thread = threading.Thread(target=go_on, name="slow", daemon=True)
    thread.start()
    try:
        yield f"event loops wait for {by_s:g} s every {every_s:g} s: {len(loops)}"
    finally:
        over.set()
        thread.join()


@contextmanager
def call_deadlocked(target: str) -> Iterator[str]:
    """Whoever calls a function, `package.module:Class.method`, waits as for a lock that is never given back."""
    released = threading.Event()
    with first(target, lambda: math.inf, released):
        try:
            yield f"{target} waits"
        finally:
            released.set()


@contextmanager
def call_slow(target: str, by_s: float) -> Iterator[str]:
    """Each call of a function takes so much longer; of an async one without holding up its event loop."""
    released = threading.Event()
    with first(target, lambda: by_s, released):
        try:
            yield f"{target} takes {by_s:g} s longer"
        finally:
            released.set()


@contextmanager
def call_failing(target: str, one_in: int) -> Iterator[str]:
    """One in so many calls of a function raises, exactly: the last of each row of them."""
    calls = itertools.count(1)  # one step of it is indivisible, whichever threads call

    def fail() -> float:
        if next(calls) % one_in == 0:
            raise RuntimeError(f"one in {one_in} calls of {target} fails")
        return 0

    if one_in < 1:
        raise ValueError(f"one_in: must be 1 or more, got {one_in}")
    with first(target, fail):
        yield f"one in {one_in} calls of {target} fails"


@contextmanager
def pool_exhausted(calls: int = 64) -> Iterator[str]:
    """The default thread pool of every running event loop has calls that do not end: in all of its threads (32 at
    most), and before all that comes later."""
    released, loops = threading.Event(), running_loops()

    def fill(loop: Any) -> None:
        for _ in range(calls):
            loop.run_in_executor(None, released.wait)

    for loop in loops:
        loop.call_soon_threadsafe(fill, loop)
    try:
        yield f"thread pools full: {len(loops)}, each with {calls} calls"
    finally:
        released.set()


@contextmanager
def memory_leaked(mib_per_s: float) -> Iterator[str]:
    """So much more memory is taken each second, and written to."""
    with leak(mebibyte, mmap.mmap.close, mib_per_s):
        yield f"{mib_per_s:g} MiB a second leak"


@contextmanager
def descriptors_leaked(per_s: float, limit: int = 0) -> Iterator[str]:
    """So many more files are opened each second, up to the limit, and kept open. `limit`: another one than the process
    has, as long as this is on: hosts differ in it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        with leak(functools.partial(os.open, os.devnull, os.O_RDONLY), os.close, per_s):
            yield f"{per_s:g} descriptors a second leak"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def threads_leaked(per_s: float) -> Iterator[str]:
    """So many more threads are started each second, and wait."""
    released = threading.Event()

    def start() -> threading.Thread:
        thread = threading.Thread(target=released.wait, name="leaked", daemon=True)
        thread.start()
        return thread

    def end(thread: threading.Thread) -> None:
        released.set()
        thread.join()

    with leak(start, end, per_s):
        yield f"{per_s:g} threads a second leak"


@contextmanager
def output_full(descriptor: int = 1) -> Iterator[str]:
    """What is written to a descriptor, as the log is to 1, meets a full disk: the kernel's own /dev/full."""
    before, full = os.dup(descriptor), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, descriptor)
    os.close(full)
    try:
        yield f"descriptor {descriptor} has no space left"
    finally:
        os.dup2(before, descriptor)
        os.close(before)


@contextmanager
def clock_skewed(by_s: float) -> Iterator[str]:
    """The wall clock is ahead, or behind, for all that asks time.time or time.time_ns; timers go on as before."""
    by_ns = int(by_s * 1e9)
    was = {"time": time.time, "time_ns": time.time_ns}
    instead = {"time": lambda: was["time"]() + by_s, "time_ns": lambda: was["time_ns"]() + by_ns}

    def put(known: dict[str, Any], other: dict[str, Any]) -> None:
        for module in list(sys.modules.values()):  # a module may have imported a function by itself
            for name, value in list(getattr(module, "__dict__", {}).items()):
                for of in known:
                    if value is known[of] and module is not sys.modules[__name__]:
                        setattr(module, name, other[of])

    put(was, instead)
    try:
        yield f"the clock is {by_s:+g} s off"
    finally:
        put(instead, was)


@contextmanager
def layer_permuted(parameter: str) -> Iterator[str]:
    """The rows of a parameter, `features.2.weight`, are in reverse order in every PyTorch network that has it: answers
    are as well-formed and as fast as before, and wrong."""
    torch = sys.modules.get("torch")
    if torch is None:
        raise LookupError("torch is not imported in this process")
    named = [dict(network.named_parameters()).get(parameter) for network in found(torch.nn.Module)]
    weights = [weight for weight in named if weight is not None]
    if not weights:
        raise LookupError(f"no network in this process has a parameter {parameter}")
    with torch.no_grad():
        before = [weight.clone() for weight in weights]
        for weight, was in zip(weights, before, strict=True):
            weight.copy_(was.flip(0 if len(was) > 1 else 1))
    try:
        yield f"{parameter} reversed in {len(weights)} networks"
    finally:
        with torch.no_grad():
            for weight, was in zip(weights, before, strict=True):
                weight.copy_(was)


FAULTS = {
    fault.__name__: fault
    for fault in (
        loop_stalled, loop_slow, call_deadlocked, call_slow, call_failing, pool_exhausted, memory_leaked,
        descriptors_leaked, threads_leaked, output_full, clock_skewed, layer_permuted,
    )
}  # fmt: skip


# -- what they share ---------------------------------------------------------------------------------------------


def found(kind: type) -> list[Any]:
    """Every object of a kind, those too that the collector is told to leave alone (gc.freeze)."""
    frozen = gc.get_freeze_count() > 0
    if frozen:
        gc.unfreeze()
    try:
        return [one for one in gc.get_objects() if issubclass(type(one), kind)]
    finally:
        if frozen:
            gc.freeze()


def running_loops() -> list[Any]:
    """Every event loop that runs, asyncio's own or one in its place. Raises LookupError where there is none."""
    asyncio = sys.modules.get("asyncio")
    loops = [loop for loop in found(asyncio.AbstractEventLoop) if loop.is_running()] if asyncio else []
    if not loops:
        raise LookupError("no event loop runs in this process")
    return loops


@contextmanager
def first(target: str, pause_s: Callable[[], float], released: threading.Event | None = None) -> Iterator[None]:
    """Have each call of a function wait for `pause_s()` seconds, until it is released at most, before it does what it
    did; what `pause_s` raises, the call raises. Raises LookupError where there is no such function."""
    released = released or threading.Event()
    module, _, path = target.partition(":")
    if module not in sys.modules:
        raise LookupError(f"{module} is not imported in this process")
    *outer, name = path.split(".")
    try:
        holder = functools.reduce(getattr, outer, sys.modules[module])
        was = vars(holder)[name]
    except (AttributeError, KeyError):
        raise LookupError(f"there is no {target} in this process") from None
    if not isinstance(was, FunctionType):
        raise LookupError(f"{target} is no function but a {type(was).__name__}")

    @functools.wraps(was)
    def instead(*args: Any, **kwargs: Any) -> Any:
        by_s = pause_s()
        released.wait(by_s if by_s < math.inf else None)
        return was(*args, **kwargs)

    @functools.wraps(was)
    async def instead_async(*args: Any, **kwargs: Any) -> Any:
        until = monotonic() + pause_s()
        while not released.is_set() and (rest := until - monotonic()) > 0:
            await sys.modules["asyncio"].sleep(min(rest, LOOK_S))
        return await was(*args, **kwargs)

    setattr(holder, name, instead_async if was.__code__.co_flags & CO_COROUTINE else instead)
    try:
        yield
    finally:
        setattr(holder, name, was)


@contextmanager
def leak(take: Callable[[], Any], give_back: Callable[[Any], object], per_s: float) -> Iterator[None]:
    """Take more and more of something; what a limit refuses is tried again and again."""
    kept: list[Any] = []
    over, began = threading.Event(), monotonic()

    def go_on() -> None:
        while not over.wait(TICK_S):
            with suppress(OSError, MemoryError, RuntimeError):
                while len(kept) < per_s * (monotonic() - began) and not over.is_set():
                    kept.append(take())

    thread = threading.Thread(target=go_on, name="leak", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for one in kept:
            give_back(one)


def mebibyte() -> mmap.mmap:
    """Memory of its own, which goes back to the kernel as soon as it is closed: an allocator might keep it."""
    piece = mmap.mmap(-1, MEBIBYTE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    piece.write(bytes([1]) * MEBIBYTE)
    return piece
