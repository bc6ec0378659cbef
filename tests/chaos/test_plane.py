"""Faults of the network and of what watches the service, on one real stack all of whose links go through the proxy:
each begins, is witnessed, and is undone."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml

from harness.errors import FaultError, StackError
from harness.eventlog import Log
from harness.faults.http import Http
from harness.faults.inject import end_all, inject
from harness.faults.kill import Kill
from harness.faults.network import Network
from harness.faults.pause import Pause
from harness.faults.receiver_failing import ReceiverFailing
from harness.faults.rules_broken import RulesBroken
from harness.faults.stop import Stop
from harness.faults.targets_lost import TargetsLost
from harness.history import History, Notification
from harness.recordfile import records
from harness.stack import failing, prometheus, tools
from harness.stack.failing import Failing
from harness.stack.look import Seen
from harness.stack.process import processes_of
from harness.stack.spec import ServiceSpec
from harness.stack.stack import Stack
from harness.stack.toxics import TYPES
from harness.stack.up import Blueprint, up

SERVER = """
import http.server, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        metrics = b"# two of them\\nready_x 1\\nother_x 2\\n" + b"# padding\\n" * 50
        body = metrics if self.path == "/metrics" else b"fine"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    allow_reuse_address = True; daemon_threads = True
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
DATABASE = "import socket,sys\ns=socket.create_server(('127.0.0.1',int(sys.argv[1])))\nwhile 1: s.accept()[0].close()"
RULES = "groups:\n- name: g\n  rules:\n  - {alert: Always, expr: vector(1), labels: {severity: critical}}\n"
ROUTES = {
    "route": {"receiver": "hook", "group_wait": "1s", "group_interval": "1s"},
    "receivers": [{"name": "hook", "webhook_configs": [{"url": "https://example.org"}]}],
}
LINKS = ("clients", "scrape", "alerts", "notifications", "collector", "database")


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plane")
    run = folder / "runs" / "one"
    run.mkdir(parents=True)
    (folder / "server.py").write_text(SERVER)
    (folder / "database.py").write_text(DATABASE)
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(ROUTES))
    spec = {
        "name": "plain",
        "start": {
            "command": f"{sys.executable} server.py {{port}}",
            "environment": {"DATABASE": "{database.host}:{database.port}"},
        },
        "dependencies": {"database": {"start": {"command": f"{sys.executable} database.py {{port}}"}}},
        "probes": {"readiness": {"path": "/ready", "periodSeconds": 1}},
        "monitoring": {"job": "plain", "rules": ["none.yaml"], "alertmanager": "alertmanager.yml"},
        "telemetry": {"traces": {"environment": {"OTLP": "{otlp}"}, "status": "status"}},
        "slos": "none.yaml",
    }
    service = ServiceSpec.model_validate(spec, context={"folder": folder})
    blueprint = Blueprint(service, RULES, folder, 60, links=LINKS)
    with up(blueprint, tools.find(), run, Log(run / "events.jsonl").event, lambda line: None) as live:
        yield live
    assert processes_of(run) == []


@pytest.fixture
def stack(live):
    here = Stack.read(live.stack.run)
    yield here
    left = [entry.kind for entry in here.ledger.open()]
    end_all(here, by="test")
    assert left == []
    live.check()


def evidence(stack, fault, within_s=8.0):
    """What is witnessed of a fault, which is then undone and witnessed no more."""
    entry = inject(fault, stack, "test", 60, within_s)
    mine = [e for e in History.read(stack.run).of("fault") if e.detail["id"] == entry.id]
    assert end_all(stack, by="test") == [fault.kind]
    assert [e.detail["edge"] for e in mine] == ["start", "witness"]
    if mine[-1].outcome == "ok":
        until = time.monotonic() + 10
        while fault.witness(stack, entry.facts) and time.monotonic() < until:
            time.sleep(0.1)
        assert fault.witness(stack, entry.facts) is None
    return mine[-1].detail["evidence"] if mine[-1].outcome == "ok" else None


def test_the_links_lead_to_the_parties_and_the_series_are_called_as_ever(stack):
    assert set(stack.links) == set(LINKS) and [way["proxy"] for way in stack.links["notifications"]] == [
        "notifications-http", "notifications-smtp",
    ]  # fmt: skip
    server = stack.addresses["server"]
    assert httpx.get(stack.service_url, trust_env=False).text == "fine" and server not in stack.service_url
    assert [one["metric"]["instance"] for one in prometheus.query(stack.prometheus_url, "up")] == [server]
    environment = Path(f"/proc/{stack.pid('server').pid}/environ").read_text()
    assert f"DATABASE={stack.links['database'][0]['listen']}" in environment
    assert f"OTLP=http://{stack.links['collector'][0]['listen']}" in environment


@pytest.mark.parametrize(
    "fault",
    [
        Network("clients", "latency", {"latency": 80}),
        Network("clients", "latency", {"latency": 80}, stream="upstream"),
        Network("clients", "bandwidth", {"rate": 2}),
        Network("clients", "timeout", {"timeout": 0}),
        Network("clients", "reset_peer", {"timeout": 0}),
        Network("clients", "reset_data", {"bytes": 100}),
        Network("clients", "limit_data", {"bytes": 100}),
        Network("clients", "slicer", {"average_size": 50, "size_variation": 5, "delay": 2000}),
        Network("clients", "slow_close", {"delay": 100}),
        Network("clients", "corrupt", {"every": 20}),
        Network("clients", "half_open"),
        Network("clients", "reset_peer", toxicity=0.5),
        Network("scrape", "down"),
        Network("alerts", "latency", {"latency": 80}),
        Network("notifications", "timeout"),
        Network("collector", "reset_peer"),
        Network("database", "timeout", {"timeout": 0}, witness_query="vector(7)"),
        Http("clients", "status", status=502),
        Http("clients", "delay", delay_ms=80),
        Http("scrape", "truncated"),
        Http("scrape", "malformed"),
        Http("scrape", "empty"),
        Http("scrape", "renamed", series="ready_x"),
        Http("scrape", "exploded", series="ready_x", values=3),
    ],
    ids=lambda fault: f"{fault.link} {getattr(fault, 'toxic', '')}{getattr(fault, 'what', '')}",
)
def test_a_link_is_broken_and_mended(fault, stack):
    if getattr(fault, "witness_query", ""):
        inject(fault, stack, "test", 60)
        assert end_all(stack, by="test") == ["network"]  # what Prometheus would say is made up here
    else:
        assert fault.link in evidence(stack, fault)


def test_a_fault_of_a_link_that_did_nothing_has_no_witness(stack):
    assert evidence(stack, Network("clients", "limit_data", {"bytes": 1_000_000}), within_s=0.3) is None
    assert evidence(stack, Http("scrape", "renamed", series="no_such_series"), within_s=0.3) is None


def test_a_link_that_does_not_go_through_the_proxy_is_an_error_with_a_remedy(stack, monkeypatch):
    bare = replace(stack, links={})
    with pytest.raises(
        FaultError, match="clients does not go through the proxy here, no link does: list the experiment"
    ):
        inject(Network("clients", "latency"), bare, "test", 60)
    monkeypatch.setitem(TYPES, "not theirs", TYPES["latency"])
    with pytest.raises(FaultError, match="invalid toxic type"):  # as of a real Toxiproxy, which has not ours
        inject(Network("clients", "not theirs"), stack, "test", 60)


def test_a_metric_that_is_renamed_is_gone_for_the_rules_though_the_target_is_up(stack):
    inject(Http("scrape", "renamed", series="ready_x"), stack, "test", 60)
    query = "up == 1 unless on (job, instance) ready_x"
    until = time.monotonic() + 10
    while not prometheus.query(stack.prometheus_url, query) and time.monotonic() < until:
        time.sleep(0.1)
    assert prometheus.query(stack.prometheus_url, query)
    end_all(stack, by="test")


def test_broken_rules_are_not_taken_and_come_back(stack):
    rules = stack.run / "prometheus" / "rules.yaml"
    assert "last_reload_successful is 0" in evidence(stack, RulesBroken())
    assert rules.read_text() == RULES
    assert prometheus.own_metric(stack.prometheus_url, "prometheus_config_last_reload_successful") == 1


def test_targets_that_are_lost_are_absent_for_the_rules_and_found_again(stack):
    assert "absent(up" in evidence(stack, TargetsLost())
    assert [one["metric"]["instance"] for one in prometheus.query(stack.prometheus_url, "up")] == [
        stack.addresses["server"]
    ]


@pytest.mark.parametrize("component", ["prometheus", "alertmanager", "collector"])
def test_what_watches_is_killed_and_started_again_by_the_undo_while_the_stack_stays_up(component, stack, live):
    before = stack.pid(component)
    inject(Kill(component), stack, "test", 60)
    with pytest.raises(StackError):
        stack.pid(component)
    live.check()
    assert end_all(stack, by="test") == ["kill"]
    assert stack.pid(component) != before
    live.check()


def test_what_watches_is_paused_and_stopped_too(stack, live):
    assert "accepted by nobody" in evidence(stack, Pause("alertmanager"))
    inject(Stop("collector"), stack, "test", 60)
    live.check()
    assert end_all(stack, by="test") == ["stop"] and stack.pid("collector")


def test_what_watches_and_ends_by_itself_ends_the_stack(stack, live):
    collector = next(watcher for watcher in live.monitoring if watcher.name == "collector")
    collector.component.child.popen.kill()
    collector.component.child.popen.wait()
    with pytest.raises(StackError, match="collector was killed by SIGKILL"):
        live.check()
    collector.component.restart_request.touch()
    until = time.monotonic() + 10
    while collector.component.restart_request.exists() and time.monotonic() < until:
        time.sleep(0.05)


@pytest.mark.parametrize(
    "fault",
    [
        ReceiverFailing(integration="webhook"),
        ReceiverFailing("slow", delay_ms=200),
        ReceiverFailing("refused", receiver="hook"),
    ],
    ids=lambda fault: fault.how,
)
def test_a_receiver_fails_and_takes_messages_again(fault, stack):
    assert "webhook of hook, asked by another client" in evidence(stack, fault)


def test_a_receiver_that_nobody_has_is_an_error(stack):
    with pytest.raises(FaultError, match="no receiver has such an integration; there is webhook of hook"):
        inject(ReceiverFailing(integration="pagerduty"), stack, "test", 60)


def test_a_message_that_its_receiver_refused_arrives_once_it_takes_messages_again(stack, live):
    inject(ReceiverFailing(), stack, "test", 60)
    live.notifier.renew()  # which has to notify of what fires anew
    failed = "alertmanager_notification_requests_failed_total"
    until = time.monotonic() + 15
    while not prometheus.own_metric(stack.alertmanager_url, failed) and time.monotonic() < until:
        time.sleep(0.1)
    since = time.time()
    assert end_all(stack, by="test") == ["receiver_failing"]
    notified = []
    while not notified and time.monotonic() < until:
        notified = [n for n in records(stack.run / "notifications.jsonl", Notification, open_end=True) if n.at >= since]
        time.sleep(0.1)
    assert [*notified[0].alerts] == ["Always"]


def test_a_mail_server_that_fails_takes_no_mail(stack):
    failing.write(stack.run, Failing("status", "email"))
    port = json.loads((stack.run / "sinks.json").read_text())["smtp"]
    assert "451" in ReceiverFailing()._by_mail(port)
    failing.file_of(stack.run).unlink()
    assert ReceiverFailing()._by_mail(port) is None


@pytest.mark.parametrize(
    ("kind", "arguments", "wrong"),
    [
        (Network, {"toxic": "latncy"}, ("toxic", "must be one of latency, ")),
        (
            Network,
            {"toxic": "latency", "attributes": {"ms": 3}},
            ("attributes", "latency has no attribute ms; it "),
        ),
        (
            Network,
            {"toxic": "latency", "attributes": {"latency": "3s"}},
            ("attributes", "latency must be a whole nu"),
        ),
        (Network, {"toxic": "latency", "attributes": {"latency": -3}}, ("attributes", "latency must not be below 0")),
        (Network, {"toxic": "down", "attributes": {"a": 1}}, ("attributes", "down has no attribute a; it has none")),
        (Network, {"toxic": "down", "stream": "both"}, ("stream", "must be upstream or downstream")),
        (Network, {"toxic": "down", "toxicity": 0}, ("toxicity", "must be a share of the connections")),
        (Http, {"what": "slow"}, ("what", "must be one of status, ")),
        (Http, {"what": "renamed", "link": "clients", "series": "x"}, ("what", "renamed is for metrics")),
        (Http, {"what": "exploded", "link": "scrape"}, ("series", "is missing")),
        (Http, {"what": "delay"}, ("delay_ms", "must be above 0")),
        (Http, {"what": "status", "toxicity": 1.5}, ("toxicity", "must be a share")),
        (Http, {"what": "status", "status": 99}, ("status", "must be from 200 to 599; got 99")),
        (ReceiverFailing, {"how": "dead"}, ("how", "must be one of status, slow, refused")),
        (ReceiverFailing, {"how": "slow"}, ("delay_ms", "must be above 0")),
        (ReceiverFailing, {"status": 200}, ("status", "must be from 400 to 599")),
    ],
)
def test_wrong_arguments_are_known_before_the_run(kind, arguments, wrong):
    linked = {"link": "clients"} if kind in (Network, Http) else {}
    found = list(kind(**linked | arguments).mistakes())
    assert [key for key, _ in found] == [wrong[0]] and found[0][1].startswith(wrong[1])


def test_a_difference_must_be_one_between_the_two_ways():
    slow = Seen("eof", b"HTTP/1.1 200 OK\r\n\r\n", 1, 1.0, 1.0)
    quick = replace(slow, first_s=0.01, whole_s=0.01)
    latency = Network("clients", "latency", {"latency": 500})
    assert latency.difference(slow, quick) and not latency.difference(slow, slow)  # the service itself is slow
    reset = Seen("reset")
    assert Network("clients", "reset_peer").difference(reset, quick)
    assert not Network("clients", "reset_peer").difference(reset, reset)
