"""How an address of this host reacts to a client: it accepts its connection, leaves it unaccepted, or refuses it."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from harness.stack.look import look

POLL_S = 0.01
NUDGE_AFTER_S = 0.2
NUDGE = b"\r\n"  # HTTP lets a server skip empty lines before a request; some are handed a connection only with data


class Reaction(NamedTuple):
    """What became of one connection, and after how long."""

    kind: Literal["accepted", "unaccepted", "refused"]
    took_s: float


def react(address: str, within_s: float, http: bool = False) -> Reaction:
    """Open one connection to HOST:PORT and close it again. It counts as accepted once a process has taken it, or
    anything came back: the kernel alone completes connections for a process that is stopped. http: what is there speaks
    HTTP, so it may be sent an empty line."""
    began = time.monotonic()

    def so_far(kind: Literal["accepted", "unaccepted", "refused"]) -> Reaction:
        return Reaction(kind, time.monotonic() - began)

    host, _, port = address.rpartition(":")
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), within_s)
    except TimeoutError:
        return so_far("unaccepted")  # not even the kernel's queue has room
    except OSError:
        return so_far("refused")
    with connection:
        connection.setblocking(False)
        nudged = not http
        while True:
            with suppress(BlockingIOError):
                with suppress(ConnectionError):  # somebody has closed it
                    connection.recv(1)
                return so_far("accepted")
            if _taken(connection):
                return so_far("accepted")
            waited_s = time.monotonic() - began
            if waited_s >= within_s:
                return so_far("unaccepted")
            if not nudged and waited_s >= NUDGE_AFTER_S:
                nudged = True
                with suppress(OSError):
                    connection.send(NUDGE)
            time.sleep(POLL_S)


def answer(url: str, within_s: float) -> Reaction:
    """Ask for a URL once. Only an answer shows that a service elsewhere took the connection: what stands between may
    accept it by itself, and closes it where nobody is behind."""
    began, at = time.monotonic(), urlsplit(url)
    address = at.netloc if at.port else f"{at.netloc}:{443 if at.scheme == 'https' else 80}"
    seen = look(address, at.path or "/", within_s, tls=at.scheme == "https")
    kind = "accepted" if seen.data else "unaccepted" if seen.end == "open" else "refused"
    return Reaction(kind, time.monotonic() - began)


def _taken(connection: socket.socket) -> bool:
    """Whether a process has accepted the other end of a connection on this host: only then it has an inode."""
    here, there = connection.getsockname()[1], connection.getpeername()[1]
    ends = f":{there:04X}", f":{here:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split(None, 10)
                if fields[1].endswith(ends[0]) and fields[2].endswith(ends[1]):
                    return fields[9] != "0"
    return False
