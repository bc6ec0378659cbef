"""What of Prometheus' alerts reaches an Alertmanager, and that no group of an earlier one lives on in it."""

import contextlib
import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.stack import tools
from harness.stack.alertmanager import command
from harness.stack.process import free_ports
from harness.stack.relay import moment, over_before, relay, started


@contextlib.contextmanager
def serving(server):
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def receiver():
    """A webhook, and when it was told what."""
    told = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append((time.time(), json.loads(self.rfile.read(int(self.headers["Content-Length"])))["status"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Webhook)) as port:
        yield port, told


def iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f"{at % 1:.9f}"[1:] + "Z"


def post(port: int, **alert: float | str) -> int:
    """An alert as Prometheus sends it."""
    body = {"labels": {"alertname": alert.pop("name", "A")}, **{key: iso(at) for key, at in alert.items()}}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v2/alerts", json.dumps([body]).encode(), {"Content-Type": "application/json"}
    )
    try:
        return urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code


def test_what_was_over_before_an_alertmanager_opens_no_group_in_it(tmp_path, receiver):
    """Held against the real one: with the old alert's group in it, the new alert would be told of at once."""
    webhook, told = receiver
    (tmp_path / "am.yaml").write_text(
        "route: {receiver: a, group_by: [alertname], group_wait: 1s, group_interval: 1h}\n"
        f"receivers: [{{name: a, webhook_configs: [{{url: 'http://127.0.0.1:{webhook}/'}}]}}]\n"
    )
    manager_port, port = free_ports(2)
    argv = command(tools.find().alertmanager, tmp_path / "am.yaml", tmp_path / "data", manager_port)
    with serving(relay(port, manager_port)):
        assert post(port, startsAt=time.time()) == 503, "nobody is there"
        with open(tmp_path / "log", "wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as manager:
            try:
                give_up = time.monotonic() + 20
                while True:
                    with contextlib.suppress(OSError):
                        since = started(manager_port)
                        break
                    assert time.monotonic() < give_up
                    time.sleep(0.02)
                assert abs(since - time.time()) < 20
                assert post(port, startsAt=since - 100, endsAt=since - 50) == 200
                fired = time.time()
                assert post(port, startsAt=fired, endsAt=fired + 60) == 200
                while not told and time.monotonic() < give_up:
                    time.sleep(0.02)
                assert [status for _, status in told] == ["firing"] and told[0][0] - fired > 0.9, "its own group_wait"
                assert post(port, startsAt=fired, endsAt=time.time()) == 200, "what ended since is passed on"
                alerts = json.load(urllib.request.urlopen(f"http://127.0.0.1:{manager_port}/api/v2/alerts?active=true"))
                assert alerts == []
            finally:
                manager.terminate()


def test_only_what_ended_before_is_held_back():
    since = moment("2026-11-28T15:42:59.670Z")
    assert over_before({"endsAt": "2026-11-28T15:42:59.6699999Z"}, since)
    assert not over_before({"endsAt": "2026-11-28T15:42:59.671Z"}, since)
    assert not over_before({"endsAt": "2026-11-28T16:42:59.671+01:00"}, since)
    assert not over_before({}, since)
    assert moment("2026-11-28T15:42:59Z") == pytest.approx(since - 0.67)
