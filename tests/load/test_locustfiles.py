"""Locustfiles as they are: each request a row, in a closed model or as arrivals of iterations."""

import json
import subprocess
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from scripted_server import scripted_server

from harness.history import EXPECTS_STATUS, Outcome, read_rows
from harness.load.reported import Abandoned, CutOff, outcome
from harness.stack import generator
from harness.stack.generator import Users

SHOP = """
import time
from locust import FastHttpUser, HttpUser, LoadTestShape, SequentialTaskSet, TaskSet, User, constant, tag, task

class Buy(SequentialTaskSet):
    @task
    def look(self):
        self.client.get("/ok", headers={"X-Request-ID": "mine"})
    @task
    def missing(self):
        with self.client.get("/not-found", catch_response=True) as response:
            response.success()
    @task
    def pay(self):
        with self.client.post("/predict", data=b"x", name="pay", catch_response=True) as response:
            response.failure("the till says no")

class Shopper(HttpUser):
    wait_time = constant(0.02)
    tasks = [Buy]
    def on_start(self):
        self.client.get("/slow")

class Hurried(FastHttpUser):
    weight = 3
    wait_time = constant(0.02)
    @tag("calm")
    @task(3)
    def front(self):
        self.client.get("/ok", name="front")
    @task
    def refused(self):
        self.client.get("/shed")
        self.client.get("/close")

class Strange(User):
    fixed_count = 1
    wait_time = constant(0.02)
    @task
    def call(self):
        self.environment.events.request.fire(
            request_type="grpc", name="call", response_time=4.0, response_length=7, exception=None, context={},
        )
"""
SHAPE = """
class Waves(LoadTestShape):
    def tick(self):
        return (2, 9) if self.get_run_time() < 0.8 else None
"""
STALLS = """
from locust import HttpUser, constant, task

class Asks(HttpUser):
    wait_time = constant(0.01)
    @task
    def ask(self):
        self.client.get("{path}")
"""


@pytest.fixture(scope="module")
def server():
    with scripted_server() as server:
        yield server


def run(folder, server, text, *more, code=0, for_s=0.9, host=None, **options):
    """One load: its rows in order of their end, its account, what its log says."""
    file = folder / "shop.py"
    file.write_text(text)
    argv = generator.command(
        file, host or server.url, arrivals=options.pop("arrivals", None), for_s=for_s, rows=folder / "rows",
        events=folder / "events", name="load", **options,
    )  # fmt: skip
    done = subprocess.run([*argv, *more], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    events = [json.loads(line) for line in (folder / "events").read_text().splitlines()]
    account = {k: v for event in events for k, v in event[5].items()}
    return read_rows(folder / "rows"), SimpleNamespace(**account), done.stderr


def adds_up(rows, account):
    assert len(rows) == account.planned == account.rows == account.locust_requests
    assert sorted(rows["seq"][rows["turn"] == 0]) == list(range(account.visits))
    assert np.all(rows["intended"] <= rows["sent"]) and np.all(rows["sent"] <= rows["done"])


def by_name(rows, account):
    """The rows of each kind of request."""
    steps = rows["step"] & (EXPECTS_STATUS - 1)
    return {name: rows[steps == n] for n, name in enumerate(account.steps)}


def test_all_kinds_of_users_run_unchanged_and_each_request_is_a_row(server, tmp_path):
    rows, account, _ = run(tmp_path, server, SHOP, users=Users(5))
    adds_up(rows, account)
    assert (account.model, account.arrivals, account.users) == ("closed", "closed:users=5", 5)
    assert np.all(rows["intended"] == rows["sent"]) and account.think_s >= 0.01
    kinds = by_name(rows, account)
    kinds = {name: some[some["outcome"] != Outcome.ABANDONED] for name, some in kinds.items()}  # by the end of the run
    assert set(kinds) == {"GET /ok", "GET /not-found", "POST pay", "GET /slow", "GET front", "GET /shed", "GET /close",
                          "grpc call"}  # fmt: skip
    assert len(kinds["GET /slow"]) == 1, "on_start, of one of four by weight"
    met = {name: Counter(map(Outcome, some["outcome"])) for name, some in kinds.items()}
    assert {name: set(outcomes) for name, outcomes in met.items()} == {
        "GET /ok": {Outcome.OK}, "GET /slow": {Outcome.OK}, "GET front": {Outcome.OK}, "grpc call": {Outcome.OK},
        "GET /not-found": {Outcome.OK}, "POST pay": {Outcome.UNSERVED}, "GET /shed": {Outcome.REFUSED_BY_SERVICE},
        "GET /close": {Outcome.BROKEN},
    }  # fmt: skip
    assert np.all(kinds["GET /not-found"]["step"] & EXPECTS_STATUS), "the locustfile says that 404 is right"
    assert set(kinds["GET /ok"]["request_id"]) == {b"mine"}
    ids = {one.decode() for one in kinds["GET front"]["request_id"]}
    assert len(ids) == len(kinds["GET front"]) and ids <= set(server.ids), "the service saw each under its row's id"
    assert np.all(abs(kinds["grpc call"]["done"] - kinds["grpc call"]["sent"] - 0.004) < 1e-6)
    assert set(kinds["GET /shed"]["status"]) == {503} and set(kinds["grpc call"]["status"]) == {0}


def test_tags_and_a_shape_decide_as_under_locust(server, tmp_path):
    rows, account, _ = run(tmp_path, server, SHOP + SHAPE, for_s=20, users=Users(tags=("calm",)), user="Hurried")
    adds_up(rows, account)
    assert (account.arrivals, account.users) == ("closed:shape=Waves", 2)
    assert set(rows["step"][rows["outcome"] != Outcome.ABANDONED]) == {account.steps.index("GET front")}
    assert rows["sent"].max() - rows["sent"].min() < 5, "the shape says when it is over"


def test_iterations_arrive_whatever_the_service_does(server, tmp_path):
    head = tmp_path / "headers"
    head.write_text('{"Authorization": "Bearer key"}')
    rows, account, _ = run(
        tmp_path, server, SHOP + SHAPE, arrivals="constant:40/s", for_s=0.5, user="Shopper", headers_file=head
    )
    adds_up(rows, account)
    assert (account.model, account.arrivals, account.visits) == ("open", "constant:40/s", 20)
    first = np.sort(rows["intended"][rows["turn"] == 0])
    assert first - account.epoch == pytest.approx(np.arange(20) / 40, abs=1e-6)
    assert Counter(rows["turn"])[1] == Counter(rows["turn"])[2] == 20, "each iteration is the whole sequence"
    assert account.lag_p99_ms is not None
    assert server.heads[-1]["authorization"] == "Bearer key"


def test_a_stall_stays_in_the_rows_of_an_open_load_only(server, tmp_path):
    seen = {}
    for arrivals in (None, "constant:50/s"):
        folder = tmp_path / str(arrivals).replace("/", "")
        folder.mkdir()
        stalls = STALLS.replace("{path}", "/ok")
        server.stall(1.2 + 1.0)
        rows, account, _ = run(folder, server, stalls, arrivals=arrivals, for_s=3.0)
        adds_up(rows, account)
        seen[account.model] = np.count_nonzero(rows["done"] - rows["intended"] > 0.1)
    assert seen["closed"] <= 1 < 10 < seen["open"]


def test_what_the_end_cuts_off_is_a_row_too(server, tmp_path):
    rows, account, _ = run(tmp_path, server, STALLS.replace("{path}", "/silent"), "--stop-timeout", "1", for_s=0.3)
    adds_up(rows, account)
    assert list(rows["outcome"]) == [Outcome.TIMEOUT] and rows["done"][0] - rows["sent"][0] > 0.9


def test_another_host_is_not_asked(server, tmp_path):
    text = STALLS.replace("{path}", "http://example.invalid/x")
    rows, _, log = run(tmp_path, server, text, for_s=0.3, code=2)
    says = "asks example.invalid, which is not the service under test"
    assert not len(rows) and says in generator.complaint(log, tmp_path / "shop.py")


WRONG = {
    "several processes": ({"processes": 2}, "its users keep no schedule that workers could share"),
    "no such schedule": ({"arrivals": "sometimes"}, "arrivals: must be one of"),
    "a number of users that arrive": ({"arrivals": "constant:9/s"}, "fixed_count is a number of users, and --open has"),
}


@pytest.mark.parametrize(("options", "says"), WRONG.values(), ids=WRONG)
def test_what_cannot_run_is_one_sentence_before_any_load(server, tmp_path, options, says):
    before = server.requests
    (tmp_path / "events").touch()
    _, _, log = run(tmp_path, server, SHOP, code=2, **options)
    assert says in generator.complaint(log, tmp_path / "shop.py")
    assert server.requests == before


class ReadTimeout(Exception):
    pass


def chained(inner):
    error = ConnectionError(inner)
    error.__context__ = error  # as careless clients do
    return error


@pytest.mark.parametrize(
    ("status", "exception", "is_"),
    [
        (200, None, Outcome.OK),
        (404, None, Outcome.OK),
        (200, "no", Outcome.UNSERVED),
        (302, "no", Outcome.UNSERVED),
        (500, "no", Outcome.REFUSED_BY_SERVICE),
        (0, CutOff(), Outcome.TIMEOUT),
        (0, Abandoned(), Outcome.ABANDONED),
        (0, ReadTimeout(), Outcome.TIMEOUT),
        (0, chained(TimeoutError()), Outcome.TIMEOUT),
        (0, chained(ConnectionRefusedError()), Outcome.CONNECT_FAILED),
        (0, chained(ConnectionResetError()), Outcome.BROKEN),
        (0, "a text", Outcome.BROKEN),
    ],
)
def test_an_outcome_is_that_of_the_status_and_the_locustfile(status, exception, is_):
    assert outcome(status, exception) is is_
