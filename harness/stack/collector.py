"""Where a service under test sends its spans: a receiver of OTLP over HTTP, as a collector is one.

    python -m harness.stack.collector --file PATH --port PORT

A process of its own, so that an overload of the service slows nobody but itself. It takes protobuf and JSON, plain or
gzip, at /v1/traces, and answers as a collector does: 200 with an empty response, or 400 for what is no
ExportTraceServiceRequest. Each message is appended to PATH as it was understood: HEAD (when it came, in Unix seconds;
the length of what follows; TAKEN or REFUSED) and then the message in protobuf, or the reason why it was refused, in
UTF-8. What comes to /v1/metrics and /v1/logs is taken and forgotten. Ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HEAD = struct.Struct("<dIB")
TAKEN, REFUSED = 0, 1
BODY_BYTES = 64 << 20
LOOPBACK = "127.0.0.1"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
OTHERS = ("/v1/metrics", "/v1/logs")


class Refusal(Exception):
    """Why a message is not taken, with the status that says so."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


def message_of(body: bytes, content_type: str, encoding: str) -> bytes:
    """A message in protobuf, whatever form it came in. Raises Refusal."""
    if encoding == "gzip":
        unpack = zlib.decompressobj(31)
        try:
            body = unpack.decompress(body, BODY_BYTES)
        except zlib.error as error:
            raise Refusal(400, f"its gzip is broken: {error}") from None
        if unpack.unconsumed_tail or not unpack.eof:
            raise Refusal(400, "its gzip is cut short, or longer than is taken")
    elif encoding not in ("", "identity"):
        raise Refusal(415, f"Content-Encoding: {encoding}")
    if content_type == PROTOBUF:
        try:
            ExportTraceServiceRequest.FromString(body)
        except DecodeError:
            raise Refusal(400, "it is no ExportTraceServiceRequest") from None
        return body
    if content_type == JSON:
        return _from_json(body)
    raise Refusal(415, f"Content-Type: {content_type or 'none'}")


def _from_json(body: bytes) -> bytes:
    """OTLP's JSON writes ids in hexadecimal, where protobuf's own takes any bytes for base64."""
    request = ExportTraceServiceRequest()
    try:
        ParseDict(json.loads(body), request, ignore_unknown_fields=True)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    for one, names in ((span, ("trace_id", "span_id", "parent_span_id")), *_linked(span)):
                        for name in names:
                            read = base64.b64encode(getattr(one, name)).decode()
                            setattr(one, name, bytes.fromhex(read))
    except (ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Refusal(400, f"it is no ExportTraceServiceRequest: {str(error)[:200]}") from None
    return request.SerializeToString()


def _linked(span) -> list[tuple]:
    return [(link, ("trace_id", "span_id")) for link in span.links]


def receiver(port: int, write: Callable[[int, bytes], None]) -> ThreadingHTTPServer:
    """A receiver on a port of loopback, not yet serving. Raises OSError."""

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 60

        def do_POST(self) -> None:
            content_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            try:
                body = self.body()
                if self.path in OTHERS:
                    return self.reply(200, content_type, b"")
                if self.path != "/v1/traces":
                    raise Refusal(404, "spans are taken at /v1/traces")
                message = message_of(body, content_type, self.headers.get("Content-Encoding", "").strip().lower())
            except Refusal as refusal:
                write(REFUSED, f"{refusal.status} to POST {self.path[:200]}: {refusal}".encode())
                return self.reply(refusal.status, "text/plain", str(refusal).encode())
            write(TAKEN, message)
            self.reply(200, content_type, b"{}" if content_type == JSON else b"")

        def body(self) -> bytes:
            """The whole body. Raises Refusal."""
            if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
                return self.chunks()
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > BODY_BYTES:
                self.close_connection = True
                raise Refusal(413 if length.isdigit() else 411, f"Content-Length: {length or 'none'}")
            return self.rfile.read(int(length))

        def chunks(self) -> bytes:
            parts, size = [], 0
            while True:
                line = self.rfile.readline(64).partition(b";")[0].strip()
                try:
                    length = int(line, 16)
                except ValueError:
                    length = -1
                size += length
                if length < 0 or size > BODY_BYTES:
                    self.close_connection = True
                    raise Refusal(400, "its chunks are broken, or more than is taken")
                parts.append(self.rfile.read(length))
                self.rfile.readline(8)
                if not length:
                    return b"".join(parts)

        def reply(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass  # the file is the log

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    return Server((LOOPBACK, port), Receiver)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.stack.collector", description=__doc__.partition("\n")[0])
    parser.add_argument("--file", type=Path, required=True, help="what messages are appended to")
    parser.add_argument("--port", type=int, required=True)
    asked = parser.parse_args()
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    try:
        file = os.open(asked.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        # Each message is one write, so a kill cuts at most the last one.
        server = receiver(asked.port, lambda kind, what: os.write(file, HEAD.pack(time.time(), len(what), kind) + what))
    except OSError as error:
        print(f"collector: {asked.file}, port {asked.port}: {error.strerror}", file=sys.stderr)
        return 1
    with server:
        threading.Thread(target=server.serve_forever, args=(3600,), daemon=True).start()
        over.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
