"""The front door over real connections: whose turn it is, what stays, what is reset; and replicas behind it."""

import itertools
import os
import signal
import socket
import threading
import time
from contextlib import suppress

import httpx
import pytest
from steered import Steered, wait

from harness.stack.frontdoor import RESET, FrontDoor
from harness.stack.process import end_all, free_ports, spawn
from harness.stack.ready import not_ready, wait_until
from harness.stack.spec import ReadyTest

RESET_PLEASE = b"reset, please"


class Echo:
    """A server that greets with its name and sends back what it gets, until the client has sent all."""

    def __init__(self, name):
        self.name, self.connections = name, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        with connection, suppress(OSError):
            connection.sendall(self.name)
            while (data := connection.recv(65536)) and data != RESET_PLEASE:
                connection.sendall(data)
            if data:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


@pytest.fixture
def door(tmp_path):
    it = FrontDoor(free_ports(1)[0], lambda name, argv, **options: spawn(name, argv, tmp_path, **options))
    test = ReadyTest(tcp=f"127.0.0.1:{it.port}")
    wait_until("the front door did not open", lambda: not_ready(test, {}), 15, it.child)
    yield it
    it.child.end()
    end_all(tmp_path)


@pytest.fixture
def two():
    servers = [Echo(b"a"), Echo(b"b")]
    yield servers
    for server in servers:
        server.listener.close()


def connected(door, within_s=10):
    """A connection, and who greeted; None where it was reset."""
    connection = None
    try:
        connection = socket.create_connection(("127.0.0.1", door.port), within_s)
        return connection, connection.recv(1)
    except ConnectionResetError:  # which may come before connect() has returned
        return connection, None


def admitted(door, *servers):
    """Put them in traffic, and wait until the door knows."""
    for server in servers:
        door.put(f"127.0.0.1:{server.port}", True)
    assert wait(lambda: {connected(door)[1] for _ in range(4)} == {server.name for server in servers})


def test_new_connections_take_turns_and_old_ones_stay_where_they_are(door, two):
    admitted(door, *two)
    greeted = [connected(door) for _ in range(6)]
    assert sorted(name for _, name in greeted) == [b"a"] * 3 + [b"b"] * 3
    assert all(one[1] != other[1] for one, other in itertools.pairwise(greeted))
    door.put(f"127.0.0.1:{two[0].port}", False)
    assert wait(lambda: {connected(door)[1] for _ in range(4)} == {b"b"})
    for connection, _ in greeted:
        connection.sendall(b"still here")
        assert connection.recv(100) == b"still here"


def test_with_nobody_in_traffic_a_connection_is_reset(door, two):
    assert connected(door)[1] is None
    admitted(door, two[0])
    door.put(f"127.0.0.1:{two[0].port}", False)
    assert wait(lambda: connected(door)[1] is None)


def test_a_replica_that_does_not_accept_is_not_replaced_by_another_one(door, two):
    admitted(door, *two)
    two[0].listener.shutdown(socket.SHUT_RDWR)
    two[0].listener.close()
    assert wait(lambda: [connected(door)[1] for _ in range(4)].count(None) == 2)


def test_everything_arrives_however_slowly_either_side_reads_and_each_direction_ends_by_itself(door, two):
    admitted(door, two[0])
    connection, _ = connected(door)
    sent = os.urandom(8_000_000)
    sender = threading.Thread(target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR)))
    sender.start()
    time.sleep(0.3)  # nobody reads: what lies between must be held back, not piled up
    got = bytearray()
    while data := connection.recv(1 << 20):
        got += data
    sender.join()
    assert got == sent


def test_a_reset_goes_through_to_the_client(door, two):
    admitted(door, two[0])
    connection, _ = connected(door)
    connection.sendall(RESET_PLEASE)
    with pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_of_two_replicas_one_is_killed_and_clients_meet_that_one_alone(door, tmp_path):
    steered = Steered(
        tmp_path, ("server-1", "server-2"), lambda name, on: door.put(f"127.0.0.1:{steered.ports[name]}", on)
    )
    try:
        steered.service.start()
        steered.service.wait_ready(20)
        url = f"http://127.0.0.1:{door.port}/liveness"

        def served():
            response = httpx.get(url, trust_env=False)
            return int(response.text)

        assert {served() for _ in range(6)} == set(steered.ports.values())
        assert sorted(path.name for path in (tmp_path / "pids").iterdir()) == ["server-1", "server-2"]
        steered.service.forget_backoff()
        first = steered.child(0).pid
        steered.service.replicas[0].supervisor._backoff_s = 1.0  # time to see who answers meanwhile
        os.kill(first, signal.SIGKILL)
        assert wait(lambda: not steered.service.replicas[0].supervisor.in_traffic)
        time.sleep(0.1)
        assert {served() for _ in range(6)} == {steered.ports["server-2"]}
        assert steered.service.in_traffic
        assert wait(lambda: steered.service.replicas[0].supervisor.in_traffic)
        assert wait(lambda: {served() for _ in range(6)} == set(steered.ports.values()))
        assert [detail["process"] for detail in steered.of("restart")] == ["server-1"]
        assert {one[7] for one in steered.recorded("readiness")} == {"server-1", "server-2"}
        assert set(steered.service.latest) >= {"server-1 readiness", "server-2 liveness"}
    finally:
        steered.service.stop(grace_s=0.5)
        end_all(tmp_path)
