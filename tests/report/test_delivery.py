"""Metrics of deliveries: pushed to a real Pushgateway, scraped by a real Prometheus, asked as the document asks."""

import json
import re
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from told import GREEN, RED

from harness import cli
from harness.errors import PushError
from harness.report import delivery

DOCUMENT = (Path(__file__).parents[2] / "docs/delivery.md").read_text()
SCRAPE_S = 0.2


def held(pushgateway: str) -> dict[str, float]:
    """What a Pushgateway has, by series as it is written."""
    text = urllib.request.urlopen(f"{pushgateway}/metrics").read().decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("ci_")]
    return {series.replace('instance="",job="ci",', ""): float(value) for series, _, value in lines}


class Prometheus:
    """One that scrapes a Pushgateway all the time."""

    def __init__(self, url: str):
        self._url = url

    def ask(self, query: str) -> dict[str, float]:
        """The answer by service; empty before there is one."""
        try:
            asked = f"{self._url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
            told = json.load(urllib.request.urlopen(asked, timeout=5))["data"]["result"]
        except OSError:
            return {}
        return {one["metric"]["service"]: float(one["value"][1]) for one in told}

    def until(self, query: str, service: str, value: float | None = None) -> float:
        end = time.monotonic() + 60
        while (found := self.ask(query).get(service)) is None or (value is not None and found != value):
            assert time.monotonic() < end, f"{query}: {found}"
            time.sleep(SCRAPE_S)
        return found


@pytest.fixture
def prometheus(tmp_path, pushgateway):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    (tmp_path / "prometheus.yaml").write_text(
        f"""global: {{scrape_interval: {1000 * SCRAPE_S:.0f}ms, scrape_timeout: {1000 * SCRAPE_S:.0f}ms}}
scrape_configs:
  - job_name: pushgateway
    honor_labels: true
    static_configs: [targets: [{pushgateway.removeprefix("http://")}]]
"""
    )
    flags = [f"--config.file={tmp_path}/prometheus.yaml", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen(["prometheus", *flags, f"--web.listen-address={address}"], stderr=log)
    yield Prometheus(f"http://{address}")
    process.kill()
    process.wait()


def push(pushgateway: str, *words: str) -> None:
    assert cli.main(["push", *words, "--to", pushgateway, "--service", "svc"]) == 0


def test_frequency_lead_time_and_failures_are_queries_as_the_document_says(pushgateway, prometheus):
    queries = dict(re.findall(r"# ([^\n]+)\n([^#`]+)\n", DOCUMENT.split("```promql")[1]))
    frequency, lead, failures, red, together = queries.values()
    push(pushgateway, "build", "--took", "5m12s")
    for n in range(1, 5):
        push(pushgateway, "deployment")
        prometheus.until(frequency, "svc", n - 1)
        if n in (1, 4):
            push(pushgateway, "rollback")
            prometheus.until("changes(ci_rollback_timestamp_seconds[1w])", "svc", n == 4)
    prometheus.until(failures, "svc", 1 / 3)
    assert prometheus.until(lead, "svc") > 0
    delivery.push(delivery.of_gate(replace(GREEN, service="svc")), pushgateway, "svc")
    assert prometheus.until(red, "svc") == 0
    assert prometheus.until(together, "svc") == pytest.approx(312 + GREEN.ended - GREEN.started)


def test_a_gate_is_told_with_its_verdict_and_replaces_the_one_before(pushgateway):
    delivery.push(delivery.of_gate(RED), pushgateway, RED.service)
    first = held(pushgateway)
    name = f'service="{RED.service}"'
    assert first[f'ci_gate_verdict{{{name},verdict="fail"}}'] == 1
    assert (
        first[f'ci_gate_verdict{{{name},verdict="pass"}}']
        == first[f'ci_gate_verdict{{{name},verdict="inconclusive"}}']
        == 0
    )
    assert first[f'ci_gate_results{{{name},verdict="pass"}}'] == 2
    assert first[f"ci_gate_duration_seconds{{{name}}}"] == pytest.approx(252.4)
    assert first[f"ci_gate_timestamp_seconds{{{name}}}"] == pytest.approx(RED.ended)
    assert first[f'ci_gate_info{{commit="9f2c1e7",{name}}}'] == 1
    for severity, of in RED.coverage.items():
        share = first[f'ci_gate_alert_coverage_ratio{{{name},severity="{severity}"}}']
        assert share == pytest.approx(of["proven"] / of["applicable"])
    delivery.push(delivery.of_gate(replace(GREEN, commit="1234567")), pushgateway, RED.service)
    second = held(pushgateway)
    assert (
        second[f'ci_gate_verdict{{{name},verdict="pass"}}'] == 1
        and second[f'ci_gate_verdict{{{name},verdict="fail"}}'] == 0
    )
    assert [s for s in second if s.startswith("ci_gate_info")] == [f'ci_gate_info{{commit="1234567",{name}}}']


def test_a_build_says_what_it_took_and_whether_it_succeeded_and_leaves_the_rest(pushgateway):
    push(pushgateway, "deployment", "--environment", "staging", "--commit", "HEAD")
    push(pushgateway, "build", "--took", "90s", "--failed")
    seen = held(pushgateway)
    assert seen['ci_build_duration_seconds{service="svc"}'] == 90 and seen['ci_build_succeeded{service="svc"}'] == 0
    deployed = 'environment="staging",instance="",job="ci",service="svc"'
    found = {series.split("{")[0] for series in seen if 'environment="staging"' in series}
    assert found == {"ci_deployment_timestamp_seconds", "ci_deployment_lead_time_seconds"}, (deployed, seen)


MISTAKES = [
    (("build", "--took", "soon"), "push build: --took must be a duration with its unit"),
    (("deployment", "--commit", "nosuch", "--to", "http://127.0.0.1:9"), "git knows no commit 'nosuch' here"),
    (("deployment",), "to which Pushgateway? give --to URL, or set HARNESS_PUSH_TO"),
]


@pytest.mark.parametrize(("words", "says"), MISTAKES)
def test_a_mistake_is_one_sentence(words, says, capsys, monkeypatch):
    monkeypatch.delenv("HARNESS_PUSH_TO", raising=False)
    assert cli.main(["push", *words, "--service", "svc"]) == 2
    said = capsys.readouterr().err
    assert says in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [(), ("gate",), ("build",), ("rollback", "--failed"), ("deployment", "--took", "5s"), ("rollback", "runs/1")],
)
def test_what_a_kind_does_not_have_is_no_option_of_it(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["push", *words])
    assert ended.value.code == 2 and "error: " in capsys.readouterr().err


def test_a_severity_of_which_nothing_applies_here_has_no_share():
    gpu_only = replace(GREEN, coverage={"high": {"proven": 0, "applicable": 0}, "low": {"proven": 1, "applicable": 2}})
    made = delivery.of_gate(gpu_only)
    assert made.get_sample_value("ci_gate_alert_coverage_ratio", {"severity": "high"}) is None
    assert made.get_sample_value("ci_gate_alert_coverage_ratio", {"severity": "low"}) == 0.5


def test_what_speaks_no_http_is_one_sentence(monkeypatch, capsys):
    """And no traceback, after which a gate would not end with its verdict."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            client, _ = listener.accept()
            with client:
                client.recv(1 << 16)
                client.sendall(b"220 this is mail\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        monkeypatch.setenv("HARNESS_PUSH_TO", f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert cli.main(["push", "rollback", "--service", "svc"]) == PushError.exit_code
    said = capsys.readouterr().err
    assert "does not take the metrics: " in said and len(said.splitlines()) == 1


def test_nobody_there_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("HARNESS_PUSH_TO", "http://127.0.0.1:9")
    assert cli.main(["push", "rollback", "--service", "svc"]) == PushError.exit_code
    assert "http://127.0.0.1:9 does not take the metrics: " in capsys.readouterr().err
