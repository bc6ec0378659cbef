"""A whole stack around a service that runs already: scraped, asked through the front door and the proxy, and left."""

import json
import signal
import subprocess
import sys
import time

import httpx
import pytest
import yaml
from containers import SHOP
from steered import wait

from harness.eventlog import Log
from harness.faults.inject import inject
from harness.faults.pause import Pause
from harness.stack import prometheus, tools
from harness.stack.links import CLIENTS, SCRAPE
from harness.stack.process import free_ports, processes_of
from harness.stack.spec import ServiceSpec
from harness.stack.stack import Stack
from harness.stack.up import Blueprint, up

ROUTES = {"route": {"receiver": "x"}, "receivers": [{"name": "x", "webhook_configs": [{"url": "https://example.org"}]}]}


@pytest.fixture
def shops():
    ports = free_ports(3)
    made = [subprocess.Popen([sys.executable, str(SHOP), f"127.0.0.1:{port}"]) for port in ports]
    yield ports, made
    for one in made:
        one.kill()
        one.wait()


def test_two_instances_and_what_they_need_are_watched_broken_and_left(shops, tmp_path):
    ports, made = shops
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(ROUTES))
    (tmp_path / "stock.pid").write_text(str(made[2].pid))
    probe = {"path": "/ready", "periodSeconds": 1}
    service = ServiceSpec.model_validate(
        {
            "name": "shop",
            "instances": [{"url": f"http://127.0.0.1:{ports[0]}", "labels": {"zone": "a"}}, f"http://localhost:{ports[1]}"],
            "probes": {"readiness": probe, "startup": probe},
            "monitoring": {"job": "shop", "rules": ["none.yaml"], "alertmanager": "alertmanager.yml"},
            "dependencies": {
                "stock": {
                    "address": f"127.0.0.1:{ports[2]}",
                    "ready": {"http": f"http://127.0.0.1:{ports[2]}/ready"},
                    "control": {"pid_file": "stock.pid"},
                }
            },
            "slos": "none.yaml",
        },
        context={"folder": tmp_path},
    )  # fmt: skip
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    blueprint = Blueprint(service, "groups: []\n", tmp_path, 60, None, (CLIENTS, SCRAPE))
    with up(blueprint, tools.find(), run, Log(run / "events.jsonl").event, lambda stage: None) as live:
        live.check()
        stack = Stack.read(run)
        assert stack.service_url == f"http://127.0.0.1:{ports[0]}"
        found = {
            (one["metric"]["instance"], one["metric"].get("zone")): one["value"][1]
            for one in prometheus.query(stack.prometheus_url, "up")
        }
        assert found == {(f"127.0.0.1:{ports[0]}", "a"): "1", (f"localhost:{ports[1]}", None): "1"}
        door = f"http://{stack.access['connect_to']}/basket"
        pids = {json.loads(httpx.get(door, trust_env=False).text)["pid"] for _ in range(4)}
        assert pids == {one.pid for one in made[:2]}
        made[0].send_signal(signal.SIGSTOP)
        try:
            assert wait(lambda: not live.service.replicas[0].supervisor.in_traffic)
            assert {json.loads(httpx.get(door, trust_env=False).text)["pid"] for _ in range(3)} == {made[1].pid}
        finally:
            made[0].send_signal(signal.SIGCONT)
        inject(Pause("stock"), stack, "pause", 30)
        assert not _answers(ports[2]) and stack.ledger.open()
    assert _answers(ports[2]) and stack.ledger.open() == []
    assert [one.poll() for one in made] == [None] * 3 and processes_of(run) == []


KILLED = """
import sys, time
from pathlib import Path
sys.path[:0] = {paths!r}
from harness.stack import watchdog
from harness.faults.inject import inject
from harness.faults.pause import Pause
from harness.stack.stack import Stack
run = Path({run!r})
guard = watchdog.start(run)
stack = Stack(run, "shop", "", "", "", 60.0, addresses={{"server": "127.0.0.1:{port}"}},
              controls={{"server": {{"kind": "pid_file", "path": {pid_file!r}}}}}, asked={{"server": "http://127.0.0.1:{port}/ready"}})
inject(Pause(), stack, "pause", 60)
print("paused", flush=True)
time.sleep(60)
"""


def test_a_harness_that_is_killed_while_a_service_is_paused_leaves_it_running(shops, tmp_path):
    ports, made = shops
    (tmp_path / "shop.pid").write_text(str(made[0].pid))
    assert wait(lambda: _answers(ports[0]))
    about = {"run": str(tmp_path), "port": ports[0], "pid_file": str(tmp_path / "shop.pid"), "paths": sys.path}
    harness = subprocess.Popen([sys.executable, "-c", KILLED.format(**about)], stdout=subprocess.PIPE, text=True)
    assert harness.stdout.readline() == "paused\n" and not _answers(ports[0])
    harness.kill()
    harness.wait()
    began = time.monotonic()
    assert wait(lambda: _answers(ports[0])) and time.monotonic() - began < 10 and made[0].poll() is None


def _answers(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready", timeout=0.5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
