"""What a proxy can do to the bytes of a connection: toxics with the names, attributes and behaviour of Toxiproxy's, and
some more of our own.

A toxic is data, `Toxic`, and works on each connection by a `Stage` of its own, so that no two share a state.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

End = Literal["eof", "reset"]  # how a side ended what it sends
STREAMS = ("upstream", "downstream")  # from the client to the server, and back


class Connection(Protocol):
    """What a stage may do to the connection that it is part of."""

    def close(self) -> None:
        """End both sides, after what was sent."""

    def reset(self) -> None:
        """End both sides so that they see a reset."""


@dataclass
class Toxic:
    """A toxic of a proxy, as the API has it."""

    name: str
    type: str
    stream: str = "downstream"
    toxicity: float = 1.0  # the share of connections that it is done to
    attributes: dict[str, Any] = field(default_factory=dict)


class Stage:
    """A toxic at work on one direction of one connection; this one passes everything on.

    `take` and `finish` are given what comes from the stage before, in order. Attributes with another type than their
    default's are refused.
    """

    attributes: ClassVar[dict[str, Any]] = {}  # with their defaults

    def __init__(self, toxic: Toxic, connection: Connection):
        self.toxic, self.connection = toxic, connection
        self.next: Stage = self  # set by whoever builds the chain
        self.over = False
        self._sleeper: asyncio.Future | None = None
        for name, default in self.attributes.items():
            setattr(self, name, toxic.attributes.get(name, default))

    def begin(self) -> None:
        """It joins the connection."""

    async def take(self, data: bytes, at: float) -> None:
        """Bytes that came at a moment of the loop's clock."""
        await self.next.take(data, at) if self.over else await self.data(data, at)

    async def finish(self, how: End, at: float) -> None:
        """No more bytes come."""
        await self.next.finish(how, at) if self.over else await self.end(how, at)

    async def data(self, data: bytes, at: float) -> None:
        await self.next.take(data, at)

    async def end(self, how: End, at: float) -> None:
        await self.next.finish(how, at)

    def leave(self) -> None:
        """The toxic is removed, or changed: nothing is held back any more."""
        self.over = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def removed(self) -> None:
        """What is to be done to the connection once the toxic is gone."""

    async def sleep(self, seconds: float) -> None:
        """Wait, but not longer than the toxic is there."""
        if seconds <= 0 or self.over:
            return
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        timer = loop.call_later(seconds, lambda waiting: waiting.done() or waiting.set_result(None), self._sleeper)
        try:
            await self._sleeper
        finally:
            timer.cancel()


class Latency(Stage):
    """All bytes come later, by milliseconds; those that are on their way do not wait for each other."""

    attributes: ClassVar = {"latency": 0, "jitter": 0}

    async def data(self, data: bytes, at: float) -> None:
        delay_ms = self.latency + (random.randrange(-self.jitter, self.jitter) if self.jitter > 0 else 0)
        await self.sleep(at + delay_ms / 1000 - asyncio.get_running_loop().time())
        await self.next.take(data, at)


class Bandwidth(Stage):
    """At most `rate` kilobytes a second; 0: no limit."""

    attributes: ClassVar = {"rate": 0}
    owed_s = 0.0

    async def data(self, data: bytes, at: float) -> None:
        piece = self.rate * 100 if self.rate > 0 else len(data)  # what goes in 100 ms
        for start in range(0, len(data), max(1, piece)):
            part = data[start : start + piece]
            if self.rate > 0 and not self.over:
                loop = asyncio.get_running_loop()
                self.owed_s += len(part) / (1000 * self.rate)
                began = loop.time()
                await self.sleep(self.owed_s)
                self.owed_s = max(-0.1, self.owed_s - (loop.time() - began))
            await self.next.take(part, at)


class SlowClose(Stage):
    """The end comes `delay` milliseconds late."""

    attributes: ClassVar = {"delay": 0}

    async def end(self, how: End, at: float) -> None:
        await self.sleep(self.delay / 1000)
        await self.next.finish(how, at)


class Timeout(Stage):
    """No byte comes through, and the connection ends when none was sent for `timeout` milliseconds; 0: never, a black
    hole. It ends at the latest when the toxic goes, for its bytes are lost."""

    attributes: ClassVar = {"timeout": 0}
    _timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._arm()

    async def data(self, data: bytes, at: float) -> None:
        self._arm()

    def leave(self) -> None:
        super().leave()
        if self._timer:
            self._timer.cancel()

    def removed(self) -> None:
        self.connection.close()

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self.timeout > 0 and not self.over:
            self._timer = asyncio.get_running_loop().call_later(self.timeout / 1000, self.connection.close)


class ResetPeer(Stage):
    """The connection is reset `timeout` milliseconds after something came, which is lost."""

    attributes: ClassVar = {"timeout": 0}

    async def data(self, data: bytes, at: float) -> None:
        await self.sleep(self.timeout / 1000)
        self.connection.reset()

    async def end(self, how: End, at: float) -> None:
        await self.data(b"", at)


class Slicer(Stage):
    """What came at once comes in pieces of about `average_size` bytes, `delay` microseconds apart."""

    attributes: ClassVar = {"average_size": 0, "size_variation": 0, "delay": 0}

    async def data(self, data: bytes, at: float) -> None:
        start = 0
        while start < len(data):
            vary = min(self.size_variation, self.average_size - 1)
            size = max(1, self.average_size + (random.randint(-vary, vary) if vary > 0 else 0))
            end = len(data) if self.over else start + size
            await self.next.take(data[start:end], at)
            start = end
            await self.sleep(self.delay / 1e6)


class LimitData(Stage):
    """The connection is closed after `bytes` bytes."""

    attributes: ClassVar = {"bytes": 0}
    _passed = 0

    async def data(self, data: bytes, at: float) -> None:
        part = data[: max(0, self.bytes - self._passed)]
        self._passed += len(part)
        if part:
            await self.next.take(part, at)
        if self._passed >= self.bytes:
            self.stop()

    async def end(self, how: End, at: float) -> None:
        if self._passed < self.bytes:  # else we end it
            await self.next.finish(how, at)

    def stop(self) -> None:
        self.connection.close()


class ResetData(LimitData):
    """Not of Toxiproxy. The connection is reset after `bytes` bytes: in the middle of an answer that has more."""

    def stop(self) -> None:
        # Soon and not now: a reset discards what was not sent yet.
        asyncio.get_running_loop().call_later(0.005, self.connection.reset)


class Corrupt(Stage):
    """Not of Toxiproxy. One byte in every `every` is another one."""

    attributes: ClassVar = {"every": 1024}
    _left = -1

    async def data(self, data: bytes, at: float) -> None:
        every, changed = max(1, self.every), bytearray(data)
        at_byte = self._left if self._left >= 0 else random.randrange(every)
        while at_byte < len(changed):
            changed[at_byte] ^= random.randrange(1, 256)
            at_byte += every
        self._left = at_byte - len(changed)
        await self.next.take(bytes(changed), at)


class HalfOpen(Stage):
    """Not of Toxiproxy. That one side has ended, or reset, the connection is not passed on: the other side keeps it,
    and what it sends goes nowhere. As when a host is gone, or a firewall has forgotten a connection."""

    _swallowed = False

    async def end(self, how: End, at: float) -> None:
        self._swallowed = True

    def removed(self) -> None:
        if self._swallowed:
            self.connection.reset()


TYPES: dict[str, type[Stage]] = {
    "latency": Latency,
    "bandwidth": Bandwidth,
    "slow_close": SlowClose,
    "timeout": Timeout,
    "reset_peer": ResetPeer,
    "slicer": Slicer,
    "limit_data": LimitData,
    # our own
    "reset_data": ResetData,
    "corrupt": Corrupt,
    "half_open": HalfOpen,
}


def stage(toxic: Toxic, connection: Connection) -> Stage:
    """A toxic at work on a connection; where its toxicity spares that one, a stage that passes everything on."""
    kind = TYPES[toxic.type] if random.random() < toxic.toxicity else Stage
    return kind(toxic, connection)


def complete(type: str, given: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, Any]:
    """All attributes of a toxic, the given ones over those of `base`, or the defaults. What a type does not know is
    dropped, as by Toxiproxy. Raises ValueError."""
    made = dict(base if base is not None else TYPES[type].attributes)
    for name, value in given.items():
        if name not in made:
            continue
        wanted = TYPES[type].attributes[name].__class__
        if not isinstance(value, wanted) or isinstance(value, bool) is not (wanted is bool):
            raise ValueError(f"attribute {name} must be of type {wanted.__name__}, not {value!r}")
        made[name] = value
    return made
