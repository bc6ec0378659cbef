"""What the server adds to uvicorn: how it takes connections, and how it writes."""

import asyncio
import socket

import h11
import uvloop

from model_server.http.framing import BoundedConnection
from model_server.http.server import Server
from model_server.service import Service
from model_server.settings import Settings

CLIENTS = 64


def test_new_connections_are_taken_many_in_a_round_of_the_event_loop():
    async def rounds() -> int:
        server = Server(Service(Settings(auth="off", audit="off", database="off", port=0)))
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup()
        address = server.servers[0].sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(CLIENTS)]  # the kernel keeps them
        passed = 0
        while len(server.server_state.connections) < CLIENTS:
            await asyncio.sleep(0)
            passed += 1
        for client in clients:
            client.close()
        await server.shutdown()
        return passed

    assert uvloop.run(rounds()) < CLIENTS / 2, "a probe would wait for as many rounds as there are clients before it"


def test_an_answer_is_written_at_once():
    connection = BoundedConnection(1000)
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.budget = 2
    connection.next_event()
    events = (
        h11.Response(status_code=200, headers=[("content-length", "2")]),
        h11.Data(data=b"ok"),
        h11.EndOfMessage(),
    )
    assert [connection.send(event) for event in events] == [b"", b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok", b""]
