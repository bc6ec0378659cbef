"""One load is reported as itself, whatever an earlier one left in the same folder."""

import http.server
import io
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from harness import cli
from harness.eventlog import Log
from harness.history import ROW, read_rows
from harness.report.load import write
from harness.run import load
from harness.stack.generator import Users
from harness.stack.stack import ENV, Stack
from harness.verdict import Verdict

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def once(tmp_path, monkeypatch):
    """Runs a load of so many requests that are answered at once; gives the report and both verdicts."""
    log = Log(tmp_path / "events.jsonl")
    log.event("run", "started", job="svc", scrape_s=0.25)
    stack = Stack(tmp_path, "svc", NOBODY, NOBODY, NOBODY, 1)
    monkeypatch.setattr(load.metrics, "recorded", lambda *_: [])

    def once(n):
        @contextmanager
        def generating(*_, **__):
            if n:
                log.event("load", "started", generator="load", epoch=time.time())
            rows = np.zeros(n, ROW)
            rows["intended"] = rows["sent"] = rows["done"] = time.time()
            rows["status"], rows["seq"] = 200, np.arange(n)
            with open(tmp_path / "requests-load.rows", "ab") as file:
                file.write(rows.tobytes())
            yield SimpleNamespace(alive=lambda: False, popen=SimpleNamespace(returncode=0))
            if n:
                log.event("load", "finished", generator="load", planned=n, visits=n, locust_requests=n)

        monkeypatch.setattr(load, "generating", generating)
        history, recorded, answers = load.load_once(stack, tmp_path / "s.py", None, 1, lambda _: None)
        write(history, load.LOADED, recorded, out := io.StringIO(), answers)
        return out.getvalue(), recorded.verdict, answers.verdict

    return once


def test_a_load_that_sent_nothing_repeats_no_earlier_report(once):
    text, _, answers = once(50)
    assert text.startswith("50 requests in") and answers is Verdict.PASS
    text, recorded, answers = once(0)
    assert text.startswith("0 requests in 0.0 s") and (recorded, answers) == (Verdict.INCONCLUSIVE,) * 2, text
    assert "no request" in text
    text, _, answers = once(20)
    assert text.startswith("20 requests in") and answers is Verdict.PASS


SHOP = """
from locust import HttpUser, constant, task

class Shop(HttpUser):
    wait_time = constant(0.02)
    @task
    def front(self):
        self.client.get("/")
"""


class _Well(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("arrivals", [None, "constant:40/s"])
def test_a_locustfile_as_it_is_says_by_how_much_its_latency_may_hide_stalls(tmp_path, monkeypatch, arrivals):
    monkeypatch.setattr(load.metrics, "recorded", lambda *_: [])
    Log(tmp_path / "events.jsonl").event("run", "started", job="svc", scrape_s=0.25)
    (tmp_path / "logs").mkdir()
    (tmp_path / "shop.py").write_text(SHOP)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Well)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        stack = Stack(tmp_path, "svc", f"http://127.0.0.1:{server.server_port}", NOBODY, NOBODY, 1)
        about = {"users": Users(3)}
        history, recorded, answers = load.load_once(stack, tmp_path / "shop.py", arrivals, 1, lambda _: None, **about)
        write(history, load.LOADED, recorded, out := io.StringIO(), answers)
    finally:
        server.shutdown()
        server.server_close()
    closed = "closed model, 3 users at most at once: its latency hides stalls (coordinated omission)"
    assert answers.verdict is Verdict.PASS
    assert (closed in out.getvalue()) == ("at most, had no user waited" in out.getvalue()) == (arrivals is None)
    assert "planned" not in recorded.reason and "missing" not in recorded.reason, "the account and the rows agree"


TWO = """
from locust import HttpUser, task
from harness.load.locust import OpenModelUser, Request

class Checks(HttpUser):
    @task
    def live(self):
        pass

class Steady(OpenModelUser):
    def request(self, k):
        return Request("GET", "/")
"""
FILES = {
    "two classes": (TWO, [], "name the one to run: `locust ... Steady`, `harness load --user Steady`"),
    "none of that name": (TWO, ["--user", "Stady"], "two.py: has no user class Stady"),
    "no name": (TWO, ["--user", "--x"], "expected one argument"),
    "no class": ("import harness.load.locust", [], "two.py: has no user class that Locust would run"),
}


@pytest.mark.parametrize(("text", "argv", "says"), FILES.values(), ids=FILES)
def test_a_file_without_one_schedule_is_a_mistake_of_its_user(tmp_path, monkeypatch, capsys, text, argv, says):
    Stack(tmp_path, "svc", NOBODY, NOBODY, NOBODY, 1).write()
    monkeypatch.setenv(ENV, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.py").write_text(text)
    try:
        code = cli.main(["load", "two.py", "--for", "1s", *argv])
    except SystemExit as ended:
        code = ended.code
    assert code == 2 and says in (err := capsys.readouterr().err) and "Traceback" not in err, err
    assert not (tmp_path / "requests-load.rows").exists() or not len(read_rows(tmp_path / "requests-load.rows"))
