"""Golden answers: each input of a scenario asked alone before its load, in rows of their own."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from scripted_server import scripted_server

from harness.history import GOLDEN, Outcome, read_rows
from harness.load.request import Request, picture
from harness.stack import generator

SCENARIO = """
from harness.load.locust import OpenModelUser, Request

class Asks(OpenModelUser):
    arrivals = {arrivals!r}
    asked = [Request("POST", {path!r}, (), b"image %d" % i, expected=i % 2) for i in range(5)]

    def request(self, k):
        {request}

    def predicted(self, response):
        return (1, 0.75) if b"PNEUMONIA" in response.body else -1
"""
PLAIN, VISIT = "return self.asked[k % 5]", "yield self.asked[k % 5]; yield self.asked[0]"


def load(folder, url, request=PLAIN, path="/predict", arrivals="constant:50/s", *more):
    """The rows and events of a generator that takes golden answers and then sends for half a second."""
    file = folder / "asks.py"
    file.write_text(SCENARIO.format(request=request, path=path, arrivals=arrivals))
    written = {"rows": folder / "rows", "events": folder / "events", "golden": folder / "golden"}
    argv = generator.command(file, url, arrivals=None, for_s=0.5, name="load", golden_each=2, **written)
    done = subprocess.run([*argv, *more], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (folder / "events").read_text().splitlines()]
    found = {event[2]: SimpleNamespace(**event[5]) for event in events}
    return read_rows(folder / "golden"), read_rows(folder / "rows"), found


@pytest.fixture(scope="module")
def server():
    with scripted_server() as server:
        yield server


@pytest.mark.parametrize("request_", [PLAIN, VISIT], ids=["requests", "visits"])
def test_each_input_is_asked_alone_before_the_load(tmp_path, server, request_):
    golden, rows, events = load(tmp_path, server.url, request_)
    asked = [Request("POST", "/predict", body=b"image %d" % i) for i in (4, 3, 2, 1, 0)]
    assert golden["picture"].tolist() == [picture(one) for one in asked for _ in range(2)]
    assert set(golden["outcome"]) == {Outcome.OK} and set(golden["probability"]) == {0.75}
    assert golden["expected"].tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 0, 0] and set(golden["predicted"]) == {1}
    assert (golden["sent"][1:] >= golden["done"][:-1]).all(), "one at a time"
    assert golden["done"].max() < events["started"].epoch <= rows["intended"].min()
    assert (events["golden"].generator, events["golden"].inputs, events["golden"].each) == (GOLDEN, 5, 2)
    assert events["golden"].since <= golden["intended"].min()
    assert events["finished"].planned == len(rows) == events["finished"].locust_requests, "they are no part of the load"
    assert set(rows["picture"]) == set(golden["picture"]) and len(set(golden["request_id"])) == 10


def test_a_load_that_varies_meets_a_service_that_had_no_request(tmp_path, server):
    golden, rows, events = load(tmp_path, server.url, arrivals="ramp:40/s..60/s:over=1s")
    assert len(golden) == 0 and events["golden"].inputs == 0 and len(rows)


def test_workers_ask_once_for_all(tmp_path, server):
    workers = ("--processes", "2", "--expect-workers", "2")
    golden, rows, events = load(tmp_path, server.url, PLAIN, "/predict", "constant:50/s", *workers)
    assert len(golden) == 10 and len(rows) == events["finished"].planned
    assert golden["done"].max() < events["started"].epoch


INPUTS = """
from types import SimpleNamespace as One
from harness.load.locust.golden import inputs
from harness.load.request import ClientPace, Request
a, b, c = (Request("POST", "/", (), bytes([i])) for i in range(3))
odd = [Request("GET", "/"), a._replace(pace=ClientPace(send_per_s=9)), b._replace(expect_status=(401,))]
first = lambda *some: [r.body[0] for r in inputs(One(request=lambda k: some[k % len(some)]), 200)]
assert first(a, b, c) == [2, 1, 0], "backwards"
assert first(*odd) == []
assert first(*odd, c, *25 * [a], b) == [0, 2], "the search ends"
assert len(inputs(One(request=lambda k: a._replace(body=b"%d" % k)), 7)) == 7
"""
STATED = """
from math import inf, isnan
from types import SimpleNamespace as One
from harness.load.locust import PredictUser
read = lambda said: PredictUser.predicted(None, One(body=b'{"class": "NORMAL"' + said + b"}"))
assert read(b', "probability": 0.25') == (0, 0.25)
assert isnan(read(b"")[1]) and isnan(read(b', "probability": null')[1])
assert {read(b', "probability": ' + what) for what in (b"NaN", b'"0.25"', b"true")} == {(0, inf)}
"""


@pytest.mark.parametrize("code", [INPUTS, STATED], ids=["inputs", "probabilities"])
def test_what_a_scenario_asks_and_reads(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
