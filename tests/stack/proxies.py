"""A proxy process of one's own."""

import sys
from contextlib import contextmanager

from harness.stack.process import end_all, free_ports, spawn
from harness.stack.ready import not_ready, wait_until
from harness.stack.spec import ReadyTest


@contextmanager
def proxy_process(run):
    """The process, its files in a folder; gives the port of its control."""
    port = free_ports(1)[0]
    child = spawn("proxy", [sys.executable, "-m", "harness.stack.proxy", str(port)], run)
    ready = ReadyTest(http=f"http://127.0.0.1:{port}/version")
    try:
        wait_until("the proxy did not open", lambda: not_ready(ready, {}), 15, child)
        yield port
    finally:
        child.end()
        end_all(run)
