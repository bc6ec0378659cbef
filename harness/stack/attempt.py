"""One attempt of a probe: an HTTP request, a TCP connection or a command, as the kubelet makes it.

After kubernetes pkg/probe and the HTTP client that it uses, net/http:
- One timeout bounds all of an attempt; each HTTP request has a connection of its own, and no certificate is verified.
- A response is complete after Content-Length bytes, after the last chunk, at once where its status has no body, else at
  the end of the connection. 1xx are skipped. A body that is cut short is a failure. After 10 KiB no more is read.
- A redirect to the same host, on whatever port and scheme, is followed, and the last response decides; the tenth in a
  row is a failure. One to another host is a success with a warning, as is any other status from 300 to 399.
- A command is run as the component is, without a shell; what it started is killed with it when its time is up.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import h11

from harness.errors import StackError
from harness.stack.access import read_secret
from harness.stack.process import Child
from harness.stack.spec import Exec, HttpGet, Probe, TcpSocket

HERE = "127.0.0.1"  # what the address of the pod is to the kubelet
REQUESTS_AT_MOST = 10  # one after the other, by redirects
INFORMATIONAL_AT_MOST = 5
BODY_AT_MOST = 10 << 10  # bytes
HEAD_AT_MOST = 10 << 20
REASON_AT_MOST = 300  # characters
REDIRECTS = {301, 302, 303, 307, 308}
NOT_OURS = {"host", "content-length", "transfer-encoding", "trailer"}  # names of headers that the client sets itself


class Execution(NamedTuple):
    """How a probe's commands are run."""

    start: Callable[[Sequence[str]], Child]  # as the component is started
    log: Path  # what they print


@dataclass(frozen=True)
class Response:
    """What one attempt got: `status` is that of HTTP, 0 where there is none, and why it failed or what it warns of."""

    ok: bool
    status: int
    took: float
    reason: str = ""


class _Failed(Exception):
    """Why an attempt is a failure."""


def ask(
    port: int, probe: Probe, timeout_s: float, state: Path = Path(), execution: Execution | None = None,
    here: str = HERE,
) -> Response:  # fmt: skip
    """Make one attempt. port, here: of the component. state: the run's folder for the files that a header's value comes
    from. Raises StackError where there is no such value."""
    began = time.monotonic()
    left_s = _clock(began + timeout_s)
    action, status = probe.action, 0
    try:
        match action:
            case HttpGet():
                status, reason = _http(action, port, state, left_s, here)
                ok = 200 <= status < 400
            case TcpSocket():
                _connected(action.host or here, _number(action.port, port), left_s).close()
                ok, reason = True, ""
            case Exec():
                ok, reason = _executed(action.command, execution, timeout_s)
    except TimeoutError:
        ok, reason = False, f"no complete response within {timeout_s:g} s"
    except _Failed as failed:
        ok, reason = False, str(failed)
    except OSError as error:
        ok, reason = False, error.strerror or str(error)
    except ValueError:  # as that of a label of more than 63 characters
        ok, reason = False, f"no address: {getattr(action, 'host', None)}"
    return Response(ok, status, time.monotonic() - began, reason[:REASON_AT_MOST])


def _clock(until: float) -> Callable[[], float]:
    """Tells how much time is left; raises TimeoutError when none is."""

    def left_s() -> float:
        if (left := until - time.monotonic()) <= 0:
            raise TimeoutError
        return min(left, 3600.0)  # more is none that a socket takes

    return left_s


def _number(port: int | str | None, own: int) -> int:
    """The port that is meant: a name stands for the one that the component has here."""
    return port if isinstance(port, int) else own


def _http(get: HttpGet, own_port: int, state: Path, left_s: Callable[[], float], here: str) -> tuple[int, str]:
    """The status that decides, and what is said of it."""
    headers, host = _headers(get, state)
    name = get.host or here
    address = f"[{name}]" if ":" in name else name
    url = f"{get.scheme.lower()}://{address}:{_number(get.port, own_port)}{get.path}"
    first = urlsplit(url).hostname
    for _ in range(REQUESTS_AT_MOST):
        status, location, body = _exchange(url, headers, host, left_s)
        if location is None:
            return status, body if status >= 400 else "a success with a warning" if status >= 300 else ""
        try:
            to, absolute = urljoin(url, location), bool(urlsplit(location).scheme)
            if urlsplit(to).hostname != first:
                return status, f"a redirect to another host, {urlsplit(to).hostname}, is not followed"
        except ValueError:
            raise _Failed("redirected to what is no address") from None
        url, host = to, "" if absolute else host
    raise _Failed(f"stopped after {REQUESTS_AT_MOST} redirects")


def _headers(get: HttpGet, state: Path) -> tuple[list[tuple[str, str]], str]:
    """The headers of each request, and the Host where it is not the address."""
    given = [(h.name, read_secret(h.valueFrom, state) if h.valueFrom else h.value or "") for h in get.httpHeaders]
    host = next((value for name, value in given if name.lower() == "host"), "")
    names = {name.lower() for name, _ in given}
    ours = [("User-Agent", "kube-probe/1.30"), ("Accept", "*/*")]
    headers = [(name, value) for name, value in ours if name.lower() not in names]
    emptied = {name.lower() for name, _ in ours}  # given as nothing, they are not sent
    headers += [(n, v) for n, v in given if n.lower() not in NOT_OURS and (v or n.lower() not in emptied)]
    return [*headers, ("Connection", "close")], host


def _exchange(
    url: str, headers: list[tuple[str, str]], host: str, left_s: Callable[[], float]
) -> tuple[int, str | None, str]:
    """One request on a connection of its own: its status, where it redirects to if it does, and its body as text."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        raise _Failed("redirected to what is no address") from None
    if port is None or not parts.hostname:
        raise _Failed(f"redirected to an address of another kind than http: {parts.scheme}")
    target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="!$%&'()*+,/:;=?@[]~")
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_AT_MOST)
    try:
        fields = [("Host", host or parts.netloc.rpartition("@")[2]), *headers]
        asked = h11.Request(method="GET", target=target, headers=[(n.encode(), v.encode()) for n, v in fields])
        sent = connection.send(asked) + connection.send(h11.EndOfMessage())
    except h11.LocalProtocolError as error:
        raise _Failed(f"the request cannot be sent: {error}") from None
    with _connected(parts.hostname, port, left_s, tls=parts.scheme == "https") as wire:
        wire.settimeout(left_s())
        wire.sendall(sent)
        return _response(_events(connection, wire, left_s))


def _response(events: Iterator[h11.Event]) -> tuple[int, str | None, str]:
    head, body, informational = None, b"", 0
    for event in events:
        match event:
            case h11.InformationalResponse():
                informational += 1
                if informational > INFORMATIONAL_AT_MOST:
                    raise _Failed("too many 1xx responses")
            case h11.Response():
                head = event
                location = next((v.decode("latin-1") for n, v in event.headers if n == b"location"), "")
                if event.status_code in REDIRECTS and location:
                    return event.status_code, location, ""
            case h11.Data():
                body += event.data
    return head.status_code, None, body[:BODY_AT_MOST].decode(errors="replace")


def _events(connection: h11.Connection, wire: socket.socket, left_s: Callable[[], float]) -> Iterator[h11.Event]:
    """What comes of a response until it is complete, or enough of its body was read."""
    started, size = False, 0
    try:
        while size < BODY_AT_MOST:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                wire.settimeout(left_s())
                connection.receive_data(wire.recv(16384))
                continue
            if isinstance(event, h11.ConnectionClosed):
                raise _Failed("unexpected EOF before the response")
            if isinstance(event, h11.EndOfMessage):
                return
            started |= isinstance(event, h11.Response)
            size += len(event.data) if isinstance(event, h11.Data) else 0
            yield event
    except h11.RemoteProtocolError as error:
        if connection.trailing_data[1]:  # no more will come
            raise _Failed(f"unexpected EOF {'in' if started else 'before'} the response") from None
        raise _Failed(f"the response is not HTTP: {error}") from None


def _connected(host: str, port: int, left_s: Callable[[], float], tls: bool = False) -> socket.socket:
    connection = socket.create_connection((host, port), left_s())
    if not tls:
        return connection
    try:
        connection.settimeout(left_s())
        return _trusting().wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


@cache
def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _executed(command: Sequence[str], execution: Execution | None, timeout_s: float) -> tuple[bool, str]:
    """Whether a command exits with 0 in time, else its exit code and the beginning of what it printed."""
    if execution is None:
        raise _Failed("nothing can be run here")
    began = execution.log.stat().st_size if execution.log.exists() else 0
    try:
        child = execution.start(command)
    except StackError as error:
        raise _Failed(str(error)) from None
    try:
        code = child.popen.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise _Failed(f"no end within {timeout_s:g} s") from None
    finally:
        if child.popen.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.popen.wait()
    if code == 0:
        return True, ""
    with open(execution.log, "rb") as log:
        log.seek(began)
        printed = log.read(BODY_AT_MOST).decode(errors="replace").strip()
    return False, f"exit code {code}: {printed}"
