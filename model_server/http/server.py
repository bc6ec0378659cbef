"""The HTTP server: uvicorn with h11 in the service's own event loop, from its first answer to its orderly end."""

import asyncio
import functools
import logging
import time

import structlog
import uvicorn

from model_server.http.app import application
from model_server.http.protocol import BoundedProtocol
from model_server.service import Service
from model_server.telemetry.readings import watch_event_loop

LISTENERS = 16  # each takes one connection a round of the event loop; others, probes too, wait until the next


class Server(uvicorn.Server):
    """Answers from the first moment and loads the model meanwhile; stops when the model cannot be loaded."""

    def __init__(self, service: Service):
        settings = service.settings
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # its warnings are of clients, one a connection
        super().__init__(
            uvicorn.Config(
                application(service),
                host=settings.host,
                port=settings.port,
                loop="uvloop",
                http=functools.partial(BoundedProtocol, settings=settings, refused=service.durable.guard.malformed),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=settings.deadline_s + 1,  # whatever was admitted is answered
            )
        )
        self._service = service
        self.exit_code = 0
        self._answers_until = float("-inf")  # monotonic seconds, once it is asked to stop

    async def startup(self, sockets=None) -> None:
        try:
            first = self.config.bind_socket()
            await super().startup([first, *(first.dup() for _ in range(LISTENERS - 1))])
        except SystemExit as ended:  # how uvicorn ends when it cannot listen
            self._cannot_start(f"cannot listen on {self.config.host}:{self.config.port}: {ended.__context__}")
            return
        self._loading = asyncio.create_task(self._load())
        self._watching = asyncio.create_task(watch_event_loop(self._service.metrics.loop_lag))

    async def on_tick(self, counter: int) -> bool:
        """Whether to begin the end. Not before those who send requests had time to learn, from readiness and from
        `Connection: close`, that they go elsewhere; but at once when asked a second time, by SIGINT."""
        ends = await super().on_tick(counter)
        return ends and (self.force_exit or time.monotonic() >= self._answers_until)

    def handle_exit(self, sig: int, frame) -> None:
        if not self._service.stopping:
            self._answers_until = time.monotonic() + self._service.settings.stop_after_s
        self._service.stopping = True
        super().handle_exit(sig, frame)

    async def _load(self) -> None:
        try:
            await self._service.start()
        except Exception as error:
            self._cannot_start(f"{type(error).__name__}: {error}")

    def _cannot_start(self, reason: str) -> None:
        structlog.get_logger().error("Service cannot start", reason=reason)
        self.exit_code, self.should_exit = 1, True
