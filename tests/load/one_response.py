"""The response to one request, waited for."""

from harness.load.client import Client
from harness.load.request import Request, Response


def one_response(client: Client, request: Request) -> Response:
    responses = []
    client.turn()  # for connections that ended meanwhile
    client.send(client.prepare(request), b"0", responses.append)
    while not responses:
        if not client.turn():
            client.wait(1.0)
    return responses[0]
