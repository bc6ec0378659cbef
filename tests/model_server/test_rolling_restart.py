"""A release under way: servers behind one address are restarted one after the other, and no client loses a request.

Nothing here waits for a time to pass: a server that was asked to stop goes on answering until the front door has let it
go and nobody is connected with it, and only then it is asked a second time, to end at once.
"""

import collections
import contextlib
import http.client
import signal
import socket
import threading
import time

import pytest

GOES_ON = ("--stop-after-s", "3600")


def until(said, within_s: float = 60) -> None:
    """Wait for `said()` to be true."""
    end = time.monotonic() + within_s
    while not said():
        assert time.monotonic() < end
        time.sleep(0.01)


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes, to its end."""
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class FrontDoor:
    """One address for several servers, as a Kubernetes Service is: each new connection goes to the next server that is
    let in, and stays there. `open` counts connections by the server's port."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.open, self.opened = collections.Counter(), 0
        self._let_in: collections.deque[int] = collections.deque()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def let_in(self, server) -> None:
        """Send connections to a server from now on, if it says that it is ready."""
        server.until(lambda: server.get("/health/ready").status_code == 200)
        with self._lock:
            self._let_in.append(server.port)

    def let_go(self, server) -> None:
        """Send no more connections to a server, once it says that it is not ready; and wait for those it has."""
        server.until(lambda: server.get("/health/ready").status_code == 503)
        with self._lock:
            self._let_in.remove(server.port)
        until(lambda: not self.open[server.port])

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # which ends the thread's wait
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._join, args=self._listener.accept()[:1], daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with self._lock:  # chosen and counted at once: who was let go and has none open will have none
            self._let_in.rotate()
            port = self._let_in[0]
            self.open[port] += 1
            self.opened += 1
        try:
            with client, socket.create_connection(("127.0.0.1", port)) as server:
                there = threading.Thread(target=pump, args=(client, server), daemon=True)
                there.start()
                pump(server, client)
                there.join()
        finally:
            with self._lock:
                self.open[port] -= 1


class Clients:
    """Some clients, each of which sends its next request when it has its answer, on the same connection unless that
    answer said `Connection: close`. What is lost is not sent again."""

    def __init__(self, port: int, body: bytes, count: int = 4):
        self.answered, self.lost = [0] * count, []
        self._port, self._body, self._stopping = port, body, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def go_on(self, more: int = 5) -> None:
        """Wait until each has so many answers more."""
        wanted = [answered + more for answered in self.answered]
        until(lambda: self.lost or all(have >= want for have, want in zip(self.answered, wanted, strict=True)))
        assert not self.lost

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, i: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._stopping.is_set() and not self.lost:
            try:
                connection.request("POST", "/predict", self._body)
                answer = connection.getresponse()
                told = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                break
            if answer.status == 200:
                self.answered[i] += 1
            else:
                self.lost.append((answer.status, told))
        connection.close()


@pytest.fixture
def door():
    door = FrontDoor()
    yield door
    door.close()


def test_a_rolling_restart_under_keep_alive_load_loses_no_request(serve, corpus, door):
    with contextlib.ExitStack() as servers:

        def start():
            server = servers.enter_context(serve(*GOES_ON))
            door.let_in(server)
            return server

        before = [start(), start()]
        clients = Clients(door.port, corpus[0][0])
        clients.go_on()
        kept = door.opened
        for server in before:
            server.process.terminate()
            server.until(lambda s=server: s.get("/health/ready").status_code == 503)
            clients.go_on()  # it takes connections still, for the front door does not know yet
            door.let_go(server)
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(60) == 0
            clients.go_on()  # with one server less
            start()
        clients.go_on()
        clients.stop()
    assert not clients.lost and kept == len(clients.answered)  # until then no connection was closed


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_answered_after_sigterm_says_that_its_connection_closes_and_not_before(serve, corpus, method):
    paths = ("/predict", "/feedback", "/metrics", "/health/live", "/health/ready", "/v2", "/nowhere")
    with serve(*GOES_ON) as client:
        answers = [client.request(method, path, content=corpus[0][0]) for path in paths]
        assert not [a.url.path for a in answers if "connection" in a.headers and a.status_code < 400]
        client.process.terminate()
        client.until(lambda: client.get("/health/ready").status_code == 503)
        answers = [client.request(method, path, content=corpus[0][0]) for path in paths]
        assert [a.headers.get("connection") for a in answers] == ["close"] * len(paths)
        predicted = client.post("/predict", content=corpus[0][0])
        assert (predicted.status_code, client.get("/health/live").status_code) == (200, 200)
        assert client.get("/health/ready").json()["checks"]["not_stopping"] is False
        client.process.send_signal(signal.SIGINT)
        assert client.process.wait(60) == 0


def test_an_answer_says_only_once_that_its_connection_closes(serve):
    with serve(*GOES_ON) as client:
        client.process.terminate()
        client.until(lambda: client.get("/health/ready").status_code == 503)
        with socket.create_connection(("127.0.0.1", client.port), timeout=30) as slow:
            slow.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-Timeout-Ms: 100\r\nContent-Length: 9\r\n\r\nx"
            )
            head = slow.recv(4096).lower()
        assert b" 408 " in head and head.count(b"connection: close") == 1


HELD = """
import model_server.inference.model as m, pathlib, time
real, held = m.Model.predict, pathlib.Path({file!r})
def predict(*a):
    while held.exists():
        time.sleep(0.01)
    return real(*a)
m.Model.predict = predict
"""


def test_what_is_under_way_when_the_door_closes_is_answered_and_the_connection_then_closed(serve, corpus, tmp_path):
    held, flags = tmp_path / "held", ("--deadline-s", "120", "--canary-every-s", "3600")
    with serve(*flags, defect=HELD.format(file=str(held))) as client:
        held.touch()
        asked = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
        asked.request("POST", "/predict", corpus[0][0])
        client.until(lambda: client.metric("inference_queue_depth") == 1)
        client.process.terminate()
        client.until(lambda: refused(client.port))
        held.unlink()
        answer = asked.getresponse()
        assert (answer.status, answer.getheader("connection")) == (200, "close") and b"probability" in answer.read()
        asked.close()
        assert client.process.wait(60) == 0


def refused(port: int) -> bool:
    """Whether nobody accepts a connection any more."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_it_goes_on_for_as_long_as_was_said(serve):
    with serve("--stop-after-s", "1.5") as client:
        asked = time.monotonic()
        client.process.terminate()
        assert client.process.wait(60) == 0 and time.monotonic() - asked >= 1.5
