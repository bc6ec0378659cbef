"""A process whose wall clock is wrong and whose monotonic clock is right, seen by a client."""

import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from harness.errors import FaultError
from harness.faults.clock import Clock
from harness.faults.inject import end_all, inject
from harness.history import History
from harness.stack.component import INSIDE, inside_control
from harness.stack.process import free_ports, identify, spawn

MODULE = Path(__file__).parents[2] / "experiments/inside"
SERVER = """
import http.server, sys, time
from time import time as by_name
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/dateless":
            self.wfile.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{time.time()} {by_name()} {time.time_ns() / 1e9} {time.monotonic()}".encode())
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def server(stack):
    """A stack whose server follows a control file and says what time it is."""
    [port] = free_ports(1)
    control = inside_control(stack.run, "server")
    control.parent.mkdir()
    env = {"PYTHONPATH": str(MODULE), INSIDE: str(control)}
    pid = identify(spawn("server", [sys.executable, "-c", SERVER, str(port)], stack.run, env=env).pid)
    (stack.run / "pids/server").write_text(json.dumps(pid._asdict()))
    here = replace(stack, addresses={"server": f"127.0.0.1:{port}"})
    until = time.monotonic() + 20
    while not control.with_name(f"{control.name}.report").exists() or not said(here):
        assert time.monotonic() < until
        time.sleep(0.02)
    return here


def said(stack):
    """By how much each of its wall clocks is off, and its monotonic one."""
    try:
        text = httpx.get(f"http://{stack.addresses['server']}/", trust_env=False).text
    except httpx.HTTPError:
        return None
    *wall, monotonic = map(float, text.split())
    return [round(at - time.time()) for at in wall], round(monotonic - time.monotonic())


@pytest.mark.parametrize("by_s", [600, -90])
def test_its_wall_clock_is_off_by_so_much_until_it_is_undone(server, by_s):
    inject(Clock(by_s), server, "clock", 60)
    event = History.read(server.run).of("fault")[-1]
    assert event.outcome == "ok" and f"the Date of an answer is {by_s:+d} s off" in event.detail["evidence"]
    assert said(server) == ([by_s] * 3, 0)
    with pytest.raises(FaultError, match="s off already"):
        inject(Clock(60), server, "clock", 60)
    assert end_all(server, "heal") == ["clock"]
    until = time.monotonic() + 10
    while said(server) != ([0] * 3, 0):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_clock_that_stays_right_has_no_witness(server):
    @dataclass(frozen=True)
    class Idle(Clock):
        def start(self, stack, facts):
            pass

    inject(Idle(600), server, "clock", 60, witness_within_s=0.1)
    assert History.read(server.run).of("fault")[-1].outcome == "unknown"


def test_what_could_not_be_seen_is_not_begun(server, stack):
    with pytest.raises(FaultError, match="must be 5 or more, or -5 or less, to show in a Date"):
        inject(Clock(1), server, "clock", 60)
    with pytest.raises(FaultError, match="the address of server is not known"):
        inject(Clock(60), stack, "clock", 60)
    with pytest.raises(FaultError, match="gives no Date"):
        inject(Clock(60), replace(server, addresses={"server": "127.0.0.1:9"}), "clock", 60)
    assert server.ledger.open() == [] and os.path.exists(MODULE)
