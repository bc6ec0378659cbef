"""A real server whose responses are files, and the wait for what its prober and supervisor make of them."""

import json
import os
import sys
import time
from pathlib import Path

from harness.stack.process import free_ports, spawn
from harness.stack.service import Service
from harness.stack.spec import Probe

SERVER = """
import http.server, pathlib, socketserver, sys, time
port, says = int(sys.argv[1]), pathlib.Path(sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = (says / self.path.strip("/")).read_text().strip()
        self.send_response(int(answer)); self.end_headers(); self.wfile.write(str(port).encode())
    def log_message(self, *a): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    allow_reuse_address = True; daemon_threads = True
Server(("127.0.0.1", port), Handler).serve_forever()
"""
PROBES = {  # model_construct: no pod specification may be as fast
    "startup": Probe.model_construct(path="/startup", periodSeconds=0.1, failureThreshold=100),
    "liveness": Probe.model_construct(path="/liveness", periodSeconds=0.1, terminationGracePeriodSeconds=0.3),
    "readiness": Probe.model_construct(path="/readiness", periodSeconds=0.1, failureThreshold=2),
}


class Files:
    """What the servers respond to each probe, and what is recorded of it."""

    below_sh = False  # whether a shell that stays is the main process of each

    def __init__(self, run: Path):
        self.run, self.events = run, []
        for probe in PROBES:
            self.respond(probe, 200)
        (run / "server.py").write_text(SERVER)

    def respond(self, probe, status):
        scratch = self.run / f".{probe}"
        scratch.write_text(str(status))
        os.replace(scratch, self.run / probe)

    def spawn(self, name, port, added=None):
        argv = [sys.executable, str(self.run / "server.py"), str(port), str(self.run)]
        return spawn(name, ["sh", "-c", f"{' '.join(argv)}; true"] if self.below_sh else argv, self.run, env=added)

    def emit(self, source, name, outcome="ok", took=None, **detail):
        self.events.append((name, detail))

    def recorded(self, probe):
        lines = (self.run / "probes.jsonl").read_text().splitlines()
        return [one for one in map(json.loads, lines) if one[1] == probe]

    def of(self, name):
        return [detail for event, detail in self.events if event == name]


class Steered(Files):
    """A service over such servers."""

    def __init__(self, run, names=("server",), in_rotation=lambda name, on: None, below_sh=False):
        super().__init__(run)
        self.below_sh = below_sh
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.service = Service(
            self.ports, PROBES, lambda name, added: self.spawn(name, self.ports[name], added), run, self.emit,
            in_rotation,
        )  # fmt: skip

    def child(self, i=0):
        return self.service.replicas[i].component.child

    def restarts(self):
        return [detail["cause"] for detail in self.of("restart")]

    def request_restart(self, name):
        path = self.run / "requests" / f"restart-{name}"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return path


def wait(condition, within_s=20):
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()
