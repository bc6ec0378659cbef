"""Before anything is started: is the service there, does it have metrics, and is it what its control holds?"""

import http.server
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from harness.plan import plan as planning
from harness.run.attachable import unattachable
from harness.run.preflight import not_judged

EXAMPLE = Path(__file__).parents[2] / "docs/examples/container"


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, kind, text, after_s = self.server.says.get(self.path, (404, "text/plain", "", 0))
        time.sleep(after_s)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *about):
        pass


@pytest.fixture
def server():
    it = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    it.says = {"/ready": (200, "text/plain", "ok", 0), "/metrics": (200, "text/plain", "up_since 1\n", 0)}
    threading.Thread(target=it.serve_forever, daemon=True).start()
    yield it
    it.shutdown()
    it.server_close()


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What is wrong with attaching to a port, with these keys in service.yaml."""
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def ask(port, **service):
        content = yaml.safe_load((tmp_path / "service.yaml").read_text()) | {"control": "none"}
        content |= {"url": f"http://127.0.0.1:{port}"} | service
        (tmp_path / "service.yaml").write_text(yaml.safe_dump(content))
        return unattachable(planning.load(tmp_path / "gate.yaml", only=["sham"]))

    return ask


def test_a_service_that_is_there_is_attached_to(server, asked):
    assert asked(server.server_port) == []


def test_one_that_is_not(asked):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    (found,) = asked(port)
    assert found.startswith(f"service.yaml: server at http://127.0.0.1:{port}: its readiness probe gets no response")
    assert found.endswith("start it, or correct url")


@pytest.mark.parametrize(
    ("path", "answer", "says"),
    [
        ("/ready", (503, "text/plain", "warming up", 0), "its readiness probe gets 503: warming up; start it"),
        ("/metrics", (200, "text/html", "<html>", 0), "text/html instead of metrics: another path, or another service"),
        ("/metrics", (200, "text/plain", "<!doctype html>", 0), "instead of metrics"),
        ("/metrics", (404, "text/plain", "", 0), "status 404; correct metrics in service.yaml"),
        ("/metrics", (401, "text/plain", "", 0), "status 401; say how scrapes get in: metrics: {bearer"),
        ("/metrics", (200, "text/plain", "late 1", 1.5), "timed out; correct metrics in service.yaml"),
    ],
)
def test_one_that_does_not_answer_as_it_should(path, answer, says, server, asked, tmp_path):
    server.says[path] = answer
    content = yaml.safe_load((tmp_path / "service.yaml").read_text())
    (found,) = asked(server.server_port, monitoring=content["monitoring"] | {"scrape_timeout": "1s"})
    assert says in found


def test_a_file_that_names_another_process(server, asked, tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (tmp_path / "shop.pid").write_text(str(other.pid))
        (found,) = asked(server.server_port, control={"pid_file": "shop.pid"})
    finally:
        other.kill()
        other.wait()
    assert f"names process {other.pid} (" in found and f"which does not listen on port {server.server_port}" in found
    (found,) = asked(server.server_port, control={"pid_file": "shop.pid"})
    assert "names no process that runs; start it, or correct pid_file" in found


def test_an_engine_and_a_cluster_that_are_not_there(server, asked, tmp_path):
    engine = f"unix://{tmp_path}/none.sock"
    (found,) = asked(server.server_port, control={"container": "shop", "engine": engine})
    assert "no answer" in found and "podman system service" in found
    cluster = {"namespace": "shop", "selector": "app=shop", "context": "production", "kubeconfig": "none"}
    (found,) = asked(server.server_port, control={"kubernetes": cluster})
    assert "context production" in found and "kubectl config get-contexts" in found


def test_what_is_not_judged_is_said(server, asked, tmp_path):
    asked(server.server_port)
    plan = planning.load(tmp_path / "gate.yaml", only=["sham"])
    assert [line.partition(" is not judged")[0] for line in not_judged(plan.service)] == [
        "how long the service takes to start",
        "what the service keeps of memory, descriptors and threads",
    ]
