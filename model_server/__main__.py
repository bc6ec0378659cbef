"""Runs the server: `python -m model_server --port 8000`. Exit codes: 0 stopped by a signal, 1 no start, 2 usage."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import structlog

from model_server import __version__, settings
from model_server.durable import CannotStart
from model_server.http.server import Server
from model_server.service import Service
from model_server.telemetry import logs
from model_server.telemetry.tracing import BadVariable


def main() -> int:
    # uvicorn takes the signals over while it serves and raises them again once it has drained: both end in exit code 0.
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: sys.exit(0))
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
    reading = service.metrics.reading
    reading("log_lines_total", "Log lines made.", lambda: {(level,): n for level, n in lines.made.items()}, "level")
    reading("log_lines_dropped_total", "Log lines that could not be written.", lambda: lines.lost)
    reading("http_connections_open", "Open connections.", lambda: len(server.server_state.connections))
    try:
        with contextlib.suppress(SystemExit):  # a signal's, which uvicorn raises again once it has drained
            server.run()
    finally:
        service.durable.close()
        service.tracer.close()
        structlog.get_logger().info("Service stopped")
        lines.close()
    if service.may_hang:
        os._exit(server.exit_code)  # all is written; Python's and CUDA's own ends may wait for that call
    return server.exit_code


if __name__ == "__main__":
    sys.exit(main())
