"""The clock of the load generator, and when the kernel received what is read from a socket.

A response is done when its last byte had reached this machine, as the kernel notes it, and not when this process read
it: a generator that waits for a processor would report its own wait as the service's latency.
"""

from __future__ import annotations

import platform
import socket
import struct
import sys
import time

_ANCHOR = time.time() - time.monotonic()

# SO_TIMESTAMPNS, which Python does not name: with what is read comes the time at which the kernel had it.
RECEIVE_TIMESTAMPS = 35 if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") else None
_TIMESTAMP = struct.Struct("@qq")  # seconds and nanoseconds of the wall clock
ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESTAMP.size)


def now() -> float:
    """Unix seconds that never step: the wall clock as it was at the start, carried on by the monotonic clock."""
    return time.monotonic() + _ANCHOR


def reading() -> tuple[float, float, float]:
    """What `now`, the wall clock and the monotonic clock say at one moment."""
    return now(), time.time(), time.monotonic()


def received_at(ancillary: list[tuple[int, int, bytes]] | None, sent: float) -> float:
    """When the kernel had what was read just now; now where it gives no usable time. A timestamp before `sent` or after
    now is ignored: the wall clock was set meanwhile, or the bytes came before the request."""
    at = time.monotonic() + _ANCHOR
    if not ancillary:
        return at
    seconds, nanoseconds = _TIMESTAMP.unpack(ancillary[0][2])
    received = at - (time.time() - seconds - 1e-9 * nanoseconds)
    return received if sent <= received <= at else at
