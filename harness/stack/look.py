"""What a client sees at an address: a connection of its own, one question, and how that ended."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from typing import Literal

BYTES = 1 << 20


@dataclass(frozen=True)
class Seen:
    """One connection of a client. Seconds are from when it began to connect."""

    end: Literal["refused", "reset", "eof", "open"]
    data: bytes = b""
    pieces: int = 0
    first_s: float | None = None  # when the first byte came
    whole_s: float = 0.0  # when it ended, or was left

    @property
    def status(self) -> int:
        """Of an HTTP response; 0: it is none."""
        line = self.data.split(b"\r\n", 1)[0].split()
        return int(line[1]) if line and line[0].startswith(b"HTTP/1.") and line[1:] and line[1].isdigit() else 0

    @property
    def body(self) -> bytes:
        """What follows the header."""
        return self.data.partition(b"\r\n\r\n")[2]


def look(address: str, path: str, within_s: float, tls: bool = False) -> Seen:
    """Connect to HOST:PORT and, with a path, ask for that and have the connection end with the answer; without one, say
    nothing. Never raises: what goes wrong is what is seen."""
    host, _, port = address.rpartition(":")
    began = time.monotonic()
    until = began + within_s
    data, pieces, first_s = b"", 0, None
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), within_s)
    except TimeoutError:
        return Seen("open", whole_s=time.monotonic() - began)
    except ConnectionResetError:
        return Seen("reset", whole_s=time.monotonic() - began)
    except OSError:
        return Seen("refused", whole_s=time.monotonic() - began)
    end: Literal["reset", "eof", "open"] = "open"
    try:
        if tls:
            context = ssl._create_unverified_context()
            connection = context.wrap_socket(connection)
        if path:
            head = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: harness-witness\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode())
        while len(data) < BYTES and (left_s := until - time.monotonic()) > 0:
            connection.settimeout(left_s)
            part = connection.recv(1 << 16)
            if not part:
                end = "eof"
                break
            first_s = time.monotonic() - began if first_s is None else first_s
            data, pieces = data + part, pieces + 1
    except TimeoutError:
        pass
    except (ConnectionError, ssl.SSLError, OSError):
        end = "reset"
    finally:
        connection.close()
    return Seen(end, data, pieces, first_s, time.monotonic() - began)
