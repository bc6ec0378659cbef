"""The scenarios run as they are, with the images beside them, under plain Locust and as the harness starts them. (What
the bundled service answers to each: tests/gate/test_every_scenario.py.)"""

import ast
import json
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import yaml

from harness.history import Outcome, read_rows
from harness.stack import generator
from harness.stack.spec import filled

ROOT = Path(__file__).parents[2]
SCENARIOS = ROOT / "scenarios"
FILES = sorted(SCENARIOS.glob("*.py"))
SENDS = {"steady": ("image/jpeg", b"\xff\xd8\xff"), "surge": ("image/png", b"\x89PN")}
DEFAULTS = {"steady": "poisson:60/s:seed=7", "surge": "poisson:400/s:seed=11"}


class Predicts(BaseHTTPRequestHandler):
    """Answers as the bundled service does, always NORMAL, and keeps what it was asked; at first, for as long as it is
    told to, it refuses with 503."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers["Content-Type"], body[:3]))
        answer = json.dumps(
            {"class": "NORMAL", "probability": 0.1, "request_id": self.headers["X-Request-ID"]}
        ).encode()
        self.server.recovers_at = self.server.recovers_at or time.monotonic() + self.server.refuses_for_s
        self.send_response(503 if time.monotonic() < self.server.recovers_at else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Predicts)
    server.asked, server.recovers_at, server.refuses_for_s = [], None, 0.0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_scenario_says_what_it_stands_for(file):
    text = ast.get_docstring(ast.parse(file.read_text()))
    assert text and len(text.splitlines()) >= 3


@pytest.mark.parametrize("file", [f for f in FILES if f.stem in SENDS], ids=lambda f: f.stem)
def test_a_scenario_sends_labelled_radiographs_on_its_own_schedule(file, service, tmp_path):
    rows, events = tmp_path / "rows", tmp_path / "events"
    url = f"http://127.0.0.1:{service.server_port}"
    argv = generator.command(file, url, arrivals=None, for_s=0.7, rows=rows, events=events, name=file.stem)
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    started, finished = (json.loads(line)[5] for line in events.read_text().splitlines())
    assert (started["generator"], started["scenario"], started["arrivals"]) == (
        file.stem, file.name, DEFAULTS[file.stem],
    )  # fmt: skip
    rows = read_rows(rows)
    assert len(rows) == finished["planned"] == finished["sent"] > 0
    assert set(service.asked) == {("/predict", *SENDS[file.stem])}
    answered = rows[rows["outcome"] == Outcome.OK]
    assert len(answered) and set(answered["predicted"]) == {0}
    shown = Counter(rows["expected"].tolist())
    assert abs(shown[0] - shown[1]) <= 1, "as many healthy as ill"


def run(file: Path, service, folder: Path, arrivals: str, for_s: float) -> tuple[np.ndarray, SimpleNamespace]:
    """The rows of a scenario, in order, and its account."""
    rows, events = folder / "rows", folder / "events"
    url = f"http://127.0.0.1:{service.server_port}"
    argv = generator.command(file, url, arrivals=arrivals, for_s=for_s, rows=rows, events=events, name="load")
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    account = SimpleNamespace(**json.loads(events.read_text().splitlines()[-1])[5])
    made = np.sort(read_rows(rows), order=["seq", "turn"])
    assert len(made) == account.planned == account.rows == account.locust_requests
    return made, account


KINDS = {  # whom each scenario tells apart, by the number of a request; None: who is not labelled
    "aborted_uploads": lambda k: "stays" if k % 2 else None,
    "credentials": lambda k: None if k % 2 else "has a key",
    "retry_storm": lambda k: "backs off" if k % 2 else "does not wait",
    "slow_clients": lambda k: {1: "slow to send", 4: "slow to read"}.get(k % 6, "ordinary"),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_client_sends_images_of_both_classes(name, service, tmp_path):
    rows, _ = run(SCENARIOS / f"{name}.py", service, tmp_path, "constant:40/s", 1.5)
    shown: dict[str, Counter] = {}
    for row in rows:
        if (kind := KINDS[name](int(row["seq"]))) is not None:
            shown.setdefault(kind, Counter())[int(row["expected"])] += 1
        else:
            assert row["expected"] == -1
    assert set(shown) == {KINDS[name](k) for k in range(60)} - {None}
    assert all(set(classes) == {0, 1} and abs(classes[0] - classes[1]) <= 1 for classes in shown.values()), shown


def test_a_refused_client_tries_again_at_once_or_after_ever_longer_pauses(service, tmp_path):
    service.refuses_for_s = 1.5
    rows, account = run(SCENARIOS / "retry_storm.py", service, tmp_path, "constant:20/s", 5.0)
    first = rows[rows["turn"] == 0]
    assert account.visits == len(first) == 100 and list(first["seq"]) == list(range(100))
    tries = {int(k): rows[rows["seq"] == k] for k in first["seq"]}
    for k, visit in tries.items():
        assert list(visit["turn"]) == list(range(len(visit))) and len(visit) <= 5
        assert set(visit["status"][:-1]) <= {503}, "who is served asks no more"
        pauses = visit["intended"][1:] - visit["done"][:-1]
        assert pauses == pytest.approx([0.2 * 2**t if k % 2 else 0.0 for t in range(len(pauses))], abs=1e-6)
        assert len(set(visit["expected"])) == 1, "it is the same image"
    served = {k: visit["status"][-1] == 200 for k, visit in tries.items()}
    assert all(served[k] for k in tries if k % 2), "the patient outlast the fault: 0.2 + 0.4 + 0.8 + 1.6 s"
    early = [k for k in tries if k % 2 == 0 and k / 20 < 1.0]
    assert not any(served[k] for k in early) and all(len(tries[k]) == 5 for k in early), "the others multiply the load"
    assert account.planned == sum(map(len, tries.values())) > 100 + 4 * len(early)


def test_a_guessed_key_that_is_let_in_is_a_failure(service, tmp_path):
    rows, _ = run(SCENARIOS / "credentials.py", service, tmp_path, "constant:40/s", 1.0)
    guessed = rows["expected"] < 0
    assert set(rows["status"]) == {200} and np.count_nonzero(guessed) == 20
    assert set(rows[guessed]["outcome"]) == {Outcome.UNEXPECTED_STATUS} and set(rows[~guessed]["outcome"]) == {
        Outcome.OK
    }


@dataclass(frozen=True)
class Bundled:
    """The bundled service as it runs here, and the file of headers that let requests in."""

    url: str
    headers_file: Path


@contextmanager
def bundled(folder: Path) -> Iterator[Bundled]:
    """The bundled service itself, as service.yaml has it prepared and started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = yaml.safe_load((ROOT / "model_server/service.yaml").read_text())["start"]

    def argv(command):
        values = {"port": port, "state": folder, "replica": "server", "python": sys.executable}
        return shlex.split(filled(command, values))

    said = [
        subprocess.run(argv(step), cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
        for step in (s if isinstance(s, str) else s["command"] for s in start["prepare"])
    ]
    (key,) = filter(None, said)
    headers_file = folder / "headers.json"
    headers_file.write_text(json.dumps({"Authorization": f"Bearer {key.strip()}"}))
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(argv(start["command"]), cwd=ROOT, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and server.poll() is None:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200:
                    break
            time.sleep(0.1)
        else:
            raise AssertionError((folder / "log").read_text()[-2000:])
        yield Bundled(url, headers_file)
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with bundled(tmp_path_factory.mktemp("service")) as service:
        yield service


def test_who_guesses_keys_is_refused_and_who_has_one_notices_nothing(real, tmp_path):
    def refused():
        metrics = httpx.get(f"{real.url}/metrics", trust_env=False).text
        failures = re.findall(r'^auth_failures_total\{reason="\w+"\} (\S+)', metrics, re.MULTILINE)
        return sum(map(float, failures))

    before, rows = refused(), tmp_path / "rows"
    argv = generator.command(
        SCENARIOS / "credentials.py", real.url, arrivals=None, for_s=2, rows=rows, events=tmp_path / "events",
        name="load", headers_file=real.headers_file,
    )  # fmt: skip
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = read_rows(rows)
    guessed = rows["expected"] < 0
    assert set(rows[guessed]["outcome"]) == {Outcome.OK}, "a 401 is how it must be"
    assert set(rows[guessed]["status"]) == {401} and set(rows[~guessed]["status"]) == {200}
    assert abs(np.count_nonzero(guessed) - np.count_nonzero(~guessed)) <= 1
    assert refused() - before == np.count_nonzero(guessed)


def test_another_corpus_and_another_schedule_can_be_asked_for(service, tmp_path):
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"png")
    argv = generator.command(
        SCENARIOS / "steady.py", f"http://127.0.0.1:{service.server_port}", arrivals="constant:20/s", for_s=0.5,
        rows=tmp_path / "rows", events=tmp_path / "events", name="load", corpus=tmp_path,
    )  # fmt: skip
    assert subprocess.run(argv, capture_output=True, timeout=120).returncode == 0
    assert service.asked == [("/predict", "image/png", b"png")] * 10
    assert np.all(read_rows(tmp_path / "rows")["expected"] >= 0)


def test_a_corpus_that_is_not_there_is_one_line_and_no_load(service, tmp_path):
    argv = generator.command(
        SCENARIOS / "surge.py", f"http://127.0.0.1:{service.server_port}", arrivals=None, for_s=0.5,
        rows=tmp_path / "rows", events=tmp_path / "events", name="load", corpus=tmp_path / "nowhere",
    )  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and not service.asked and "Traceback" not in done.stderr
    assert len(re.findall(r"surge\.py: corpus: .*nowhere is not a folder", done.stderr)) == 1
