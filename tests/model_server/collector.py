"""An OTLP/HTTP collector: a real server that decodes what it is sent, and can be told to keep its senders waiting."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """`spans` are those it took, in order; `waiting` counts senders that have no answer yet."""

    def __init__(self, port: int = 0):
        self.spans, self.resources, self.waiting = [], [], 0
        self.answering = threading.Event()
        self.answering.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def named(self, name: str) -> list:
        return [span for span in list(self.spans) if span.name == name]

    def close(self) -> None:
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(collector: Collector):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            collector.waiting += 1
            collector.answering.wait()
            collector.waiting -= 1
            for resource in request.resource_spans:
                collector.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
                for scope in resource.scope_spans:
                    collector.spans += scope.spans
            with contextlib.suppress(OSError):  # the sender did not wait so long
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_) -> None: ...

    return Handler


def attributes(span) -> dict:
    """A span's attributes by name."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
