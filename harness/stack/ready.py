"""When something can be used: a test of it, and the wait until it passes."""

from __future__ import annotations

import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.errors import StackError
from harness.masking import hidden
from harness.stack.process import Child
from harness.stack.spec import ReadyTest, filled

POLL_S = 0.05
TEST_TIMEOUT_S = 5.0
NEVER = threading.Event()


def wait_until(
    what: str,
    problem: Callable[[], str],
    within_s: float,
    child: Child | None = None,
    stop: threading.Event = NEVER,
) -> None:
    """Return when there is no problem any more. Raises StackError, with what did not come to be and the latest problem,
    when the time is up or at `stop`, and ProcessDied where the child ends meanwhile."""
    until = time.monotonic() + within_s
    while found := problem():
        if child is not None:
            child.check()
        if time.monotonic() > until or stop.wait(POLL_S):
            log = f"; its log: {child.log}" if child is not None else ""
            raise StackError(f"{what} within {within_s:g} s: {found}{log}")
    if child is not None:  # something else may have passed the test
        child.check()


def not_ready(
    test: ReadyTest, values: Mapping[str, object], workdir: Path | None = None, within_s: float = TEST_TIMEOUT_S
) -> str:
    """Why a thing cannot be used yet; empty when it can. values: of the placeholders; workdir: of the command."""
    timeout_s = max(0.1, min(TEST_TIMEOUT_S, within_s))
    if test.tcp:
        address = filled(test.tcp, values)
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout_s).close()
        except OSError as error:
            return f"{address}: {error.strerror or error}"
    elif test.http:
        import httpx  # only who asks over HTTP pays for it

        url = filled(test.http, values)
        try:
            status = httpx.get(url, timeout=timeout_s, trust_env=False, verify=False).status_code
        except httpx.HTTPError as error:
            return hidden(f"{url}: {error}", paths=False)
        return hidden(f"{url}: status {status}", paths=False) if status >= 400 else ""
    else:
        argv = [filled(part, values) for part in shlex.split(test.command)]
        try:
            done = subprocess.run(argv, cwd=workdir, capture_output=True, text=True, timeout=timeout_s)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{argv[0]}: {getattr(error, 'strerror', None) or f'no end within {timeout_s:.3g} s'}"
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines() or [""]
            return f"{argv[0]} exited with {done.returncode}: {lines[-1][:200]}"
    return ""
