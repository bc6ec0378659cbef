"""Runs the server: `python -m model_server --port 8000`. Exit codes: 0 stopped by a signal, 1 no start, 2 usage."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

import structlog

from model_server import __version__, settings
from model_server.durable import CannotStart
from model_server.http.server import Server
from model_server.service import Service
from model_server.telemetry import logs
from model_server.telemetry.tracing import BadVariable


def main() -> int:
    # No handler here raises: what is raised in a destructor, or as the garbage collector calls, is lost.
    asked: list[int] = []
    _on_signal(lambda sig, _: asked.append(sig))
    options = settings.read()
    lines = logs.configure(options.log_level, deployment=options.deployment)
    structlog.get_logger().info("Service starting", version=__version__, host=options.host, port=options.port)
    for variable in settings.unknown():
        structlog.get_logger().warning("This environment variable is no setting", variable=variable)
    try:
        service = Service(options)
    except (CannotStart, BadVariable) as error:
        structlog.get_logger().error("Service cannot start", reason=str(error))
        lines.close()
        return 2 if isinstance(error, BadVariable) else 1
    server = Server(service)
    _on_signal(server.handle_exit)  # as uvicorn does while it serves; once it has drained it raises them again
    for sig in asked:
        server.handle_exit(sig, None)
    reading = service.metrics.reading
    reading("log_lines_total", "Log lines made.", lambda: {(level,): n for level, n in lines.made.items()}, "level")
    reading("log_lines_dropped_total", "Log lines that could not be written.", lambda: lines.lost)
    reading("http_connections_open", "Open connections.", lambda: len(server.server_state.connections))
    try:
        server.run()
    finally:
        service.durable.close()
        service.tracer.close()
        structlog.get_logger().info("Service stopped")
        lines.close()
    if service.may_hang:
        os._exit(server.exit_code)  # all is written; Python's and CUDA's own ends may wait for that call
    return server.exit_code


def _on_signal(handler: Callable[[int, FrameType | None], object]) -> None:
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, handler)


if __name__ == "__main__":
    sys.exit(main())
