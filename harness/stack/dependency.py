"""What the service needs beside itself, such as a database: started before it and tested, or attached and tested.

Nobody restarts one that ends, unless asked: what the service does without it is what a fault is to show.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from harness.errors import StackError
from harness.stack.component import Component
from harness.stack.ready import TEST_TIMEOUT_S, not_ready, wait_until
from harness.stack.spec import DependencySpec, filled

ATTACHED_READY_WITHIN_S = 30.0
POLL_S = 0.1
REQUEST_GRACE_S = 5.0


class Dependency:
    """One dependency, in threads of the caller's process. `component`: None where it is attached.

    `values` are the placeholders of its commands. That it ended by itself is an event, once for each of its processes.
    """

    def __init__(
        self,
        name: str,
        spec: DependencySpec,
        component: Component | None,
        values: Mapping[str, object],
        workdir: Path,
        emit: Callable[..., None],
    ):
        self.name, self.spec, self.component, self.emit = name, spec, component, emit
        self.failure: BaseException | None = None
        self._values, self._workdir = values, workdir
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guard, name=f"dependency-{name}", daemon=True)

    def start(self) -> None:
        """Start it and return when it is ready. Raises StackError with its last lines if it does not get so."""
        if self.component is not None:
            self.component.start()
        self._wait_ready()
        if self.component is not None:
            self._thread.start()

    def stop(self) -> None:
        """End it, where it was started here."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(TEST_TIMEOUT_S + 1)
        if self.component is not None:
            self.component.end(REQUEST_GRACE_S)

    @property
    def address(self) -> str | None:
        """HOST:PORT at which it accepts connections, where that is known."""
        if self.spec.test.tcp:
            return filled(self.spec.test.tcp, self._values)
        if self.spec.takes_port:
            return f"127.0.0.1:{self._values['port']}"
        if not self.spec.test.http:
            return None
        url = urlsplit(filled(self.spec.test.http, self._values))
        return f"{url.hostname}:{url.port or {'http': 80}.get(url.scheme, 443)}"

    def _wait_ready(self) -> None:
        within_s = self.spec.start.ready_within if self.spec.start else ATTACHED_READY_WITHIN_S
        until = time.monotonic() + within_s

        def problem() -> str:
            return not_ready(self.spec.test, self._values, self._workdir, until - time.monotonic())

        child = self.component.child if self.component is not None else None
        wait_until(f"{self.name} was not ready", problem, within_s, child, self._stop)

    def _watch(self) -> None:
        component, ended, tried = self.component, 0, 0.0  # the generation whose end is recorded; the request tried
        while not self._stop.wait(POLL_S):
            if not component.alive() and ended != component.generation:
                ended, code = component.generation, component.child.popen.returncode
                component.end(0.0)  # what it left behind
                self.emit("stack", "exited", "fail", component=component.name, code=code)
            try:
                asked = component.restart_request.stat().st_mtime
            except OSError:
                continue
            if asked != tried:
                tried = asked
                if self._restart():
                    component.restart_request.unlink(missing_ok=True)

    def _restart(self) -> bool:
        try:
            self.component.end(REQUEST_GRACE_S)
            self.component.start()
            self.emit("stack", "restart", component=self.name, cause="request")
            self._wait_ready()
        except StackError as error:
            self.emit("stack", "restart", "fail", component=self.name, cause="request", problem=str(error))
            return False
        return True

    def _guard(self) -> None:
        try:
            self._watch()
        except BaseException as error:
            self.failure = error
