"""Runs the server: `python -m model_server --port 8000`. Exit codes: 0 stopped by a signal, 1 no start, 2 usage."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import sys
import time

import structlog
import uvicorn

from model_server import __version__, settings
from model_server.durable import CannotStart
from model_server.http.app import application
from model_server.http.direct import Call
from model_server.http.protocol import BoundedProtocol
from model_server.service import Service
from model_server.telemetry import logs
from model_server.telemetry.process import watch_event_loop

KEEP_ALIVE_S = 75  # longer than a client's or proxy's, so that they and not we close idle connections
DRAIN_S = 4
LISTENERS = 16


class Server(uvicorn.Server):
    """Answers from the first moment and loads the model meanwhile; stops when the model cannot be loaded."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self._service = service
        self.exit_code = 0

    async def startup(self, sockets=None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as ended:  # how uvicorn ends when it cannot listen
            self._cannot_start(f"cannot listen on {self.config.host}:{self.config.port}: {ended.__context__}")
            return
        await self._listen_more()
        self._loading = asyncio.create_task(self._load())
        self._watching = asyncio.create_task(watch_event_loop(self._service.metrics.loop_lag))

    async def _listen_more(self) -> None:
        """Let more listeners take connections from the queues that the first ones take theirs from."""
        protocol = functools.partial(
            self.config.http_protocol_class,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        for listening in [listening for server in self.servers for listening in server.sockets]:
            for _ in range(LISTENERS - 1):
                again = socket.socket(fileno=os.dup(listening.fileno()))
                server = await asyncio.get_running_loop().create_server(
                    protocol, sock=again, backlog=self.config.backlog
                )
                self.servers.append(server)

    async def _load(self) -> None:
        try:
            await self._service.start()
        except Exception as error:
            self._cannot_start(f"{type(error).__name__}: {error}")

    def _cannot_start(self, reason: str) -> None:
        structlog.get_logger().error("Service cannot start", reason=reason)
        self.exit_code, self.should_exit = 1, True

    async def shutdown(self, sockets=None) -> None:
        until = time.monotonic() + self._service.settings.stop_after_s
        while self._service.stopping and not self.force_exit and time.monotonic() < until:  # whoever sends requests
            await asyncio.sleep(0.05)  # may learn from readiness that they are to go elsewhere
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame) -> None:
        self._service.stopping = True
        super().handle_exit(sig, frame)


def main() -> int:
    # uvicorn takes the signals over while it serves and raises them again once it has drained: both end in exit code 0.
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: sys.exit(0))
    options = settings.read()
    lines = logs.configure(options.log_level)
    structlog.get_logger().info("Service starting", version=__version__, host=options.host, port=options.port)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # its warnings are of clients, one a connection
    try:
        service = Service(options)
    except CannotStart as error:
        structlog.get_logger().error("Service cannot start", reason=str(error))
        lines.close()
        return 1
    service.metrics.readings(
        {
            "log_lines_total": (
                "Log lines made.",
                lambda: {(level,): n for level, n in lines.made.items()},
                ("level",),
            ),
            "log_lines_dropped_total": ("Log lines that could not be written.", lambda: lines.lost),
            "http_connections_open": ("Open connections.", lambda: len(server.server_state.connections)),
        }
    )
    server = Server(
        uvicorn.Config(
            application(service),
            host=options.host,
            port=options.port,
            loop="uvloop",
            http=functools.partial(
                BoundedProtocol,
                max_head_bytes=options.max_head_bytes,
                head_within_s=options.deadline_s,
                refused=service.durable.guard.malformed,
                call=functools.partial(Call, service),
                came=service.batcher.came,
            ),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
        ),
        service,
    )
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
