"""Whole runs of the generator, as the harness and as a user of plain Locust start it, against a real server."""

import csv
import itertools
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scripted_server import WAYS, scripted_server

from harness.errors import UsageError
from harness.history import Outcome, read_rows
from harness.load.arrivals import poisson
from harness.stack import generator

SCENARIO = """
from harness.load.arrivals import constant
from harness.load.locust import OpenModelUser, Request

class Asks(OpenModelUser):
    arrivals = constant(50)
    {settings}

    def request(self, k):
        {before}
        return Request("POST", "{path}", (), b"image", expected=k % 2)

    def predicted(self, response):
        return 1 if b"PNEUMONIA" in response.body else -1
"""


def scenario(folder: Path, path="/predict", before="pass", **settings) -> Path:
    lines = "\n    ".join(f"{name} = {value!r}" for name, value in settings.items()).replace(" inf", " float('inf')")
    file = folder / "asks.py"
    file.write_text(SCENARIO.format(path=path, before=before, settings=lines))
    return file


@dataclass
class Generator:
    """One generator process and what it left."""

    folder: Path
    child: subprocess.Popen

    @property
    def rows(self) -> np.ndarray:
        return np.sort(read_rows(self.folder / "rows"), order="seq")

    def events(self) -> list[tuple[str, SimpleNamespace]]:
        lines = [json.loads(line) for line in (self.folder / "events").read_text().splitlines()]
        return [(line[2], SimpleNamespace(**line[5])) for line in lines]

    def wait_for_rows(self, n: int) -> None:
        while len(read_rows(self.folder / "rows")) < n:
            assert self.child.poll() is None, self.child.communicate()
            time.sleep(0.02)

    def end(self, *signals: int) -> tuple[int, str, str]:
        for number in signals:
            self.child.send_signal(number)
        out, err = self.child.communicate(timeout=60)
        return self.child.returncode, out, err


@pytest.fixture
def start(tmp_path):
    """Starts generators, and ends those a failed test left."""
    children = []

    def start(file: Path, url: str, *more: str, arrivals=None, for_s=None) -> Generator:
        argv = generator.command(
            file, url, arrivals=arrivals, for_s=for_s, rows=tmp_path / "rows", events=tmp_path / "events", name="load"
        )
        children.append(
            subprocess.Popen(
                [*argv, *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return Generator(tmp_path, children[-1])

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()


@pytest.fixture(scope="module")
def server():
    with scripted_server() as server:
        yield server


def adds_up(run: Generator, err: str = "") -> SimpleNamespace:
    """The account of a run whose rows, account and schedule agree."""
    (_, started), (name, account) = run.events()
    assert (started.generator, account.generator, name) == ("load", "load", "finished")
    assert started.pid == run.child.pid
    rows = run.rows
    assert account.planned == account.rows == len(rows) == account.sent + account.unsent == account.locust_requests, err
    assert list(rows["seq"]) == list(range(len(rows)))
    assert account.unsent == np.count_nonzero(rows["outcome"] == Outcome.UNSENT)
    return account


def test_every_arrival_is_sent_once_and_has_its_row_and_its_place_in_locusts_statistics(start, server, tmp_path):
    run = start(scenario(tmp_path), server.url, "--json", "-u", "3", arrivals="poisson:80/s:seed=3", for_s=1.5)
    code, out, err = run.end()
    assert code == 0, err
    adds_up(run)
    assert [e.arrivals for name, e in run.events() if name == "started"] == ["poisson:80/s:seed=3"]
    rows = run.rows
    planned = list(itertools.takewhile(lambda t: t < 1.5, poisson(80, seed=3).times()))
    assert len(rows) == len(planned)
    epoch = run.events()[0][1].epoch
    assert rows["intended"] - epoch == pytest.approx(planned, abs=1e-6)
    assert set(rows["outcome"]) == {Outcome.OK} and set(rows["status"]) == {200}
    assert list(rows["expected"]) == [k % 2 for k in range(len(rows))] and set(rows["predicted"]) == {1}
    assert np.all((rows["intended"] <= rows["sent"]) & (rows["sent"] <= rows["first_byte"]))
    assert np.all(rows["first_byte"] <= rows["done"])
    ids = [i.decode() for i in rows["request_id"]]
    assert all(re.fullmatch("[0-9a-f]{32}", i) for i in ids) and len(set(ids)) == len(ids)
    assert set(ids) <= set(server.ids), "the service saw each request under the id of its row"
    (entry,) = json.loads(out)
    assert (entry["num_requests"], entry["num_failures"], entry["num_none_requests"]) == (len(rows), 0, 0)
    assert (entry["name"], entry["method"]) == ("/predict", "POST")
    took_ms = 1000 * (rows["done"] - rows["intended"])
    assert entry["max_response_time"] == pytest.approx(took_ms.max(), abs=0.01)
    assert entry["total_response_time"] == pytest.approx(took_ms.sum(), rel=1e-3)


def test_what_is_done_for_the_first_time_makes_no_request_late(start, server, tmp_path):
    late_ms = []
    for _ in range(5):  # a busy machine may be late with any
        (tmp_path / "rows").unlink(missing_ok=True)
        run = start(scenario(tmp_path, "/ok"), server.url, arrivals="constant:100/s", for_s=0.1)
        code, _, err = run.end()
        assert code == 0, err
        late_ms.append(1000 * float(np.max(run.rows["sent"] - run.rows["intended"])))
        if late_ms[-1] < 1.5:
            return
    raise AssertionError(f"the latest of the first ten, ms: {late_ms}")


def test_a_stall_of_the_service_neither_stops_the_schedule_nor_hides_in_the_percentiles(start, tmp_path):
    with scripted_server() as server:
        run = start(scenario(tmp_path), server.url, for_s=4)
        run.wait_for_rows(40)
        server.stall(2.0)
        code, _, err = run.end()
    assert code == 0, err
    adds_up(run)
    took_ms = 1000 * (run.rows["done"] - run.rows["intended"])
    assert server.waiting_most >= 50, "requests kept coming while none was answered"
    assert np.quantile(took_ms, 0.95) > 1000, "a closed loop would have seen one slow request and a p95 of 6 ms"


@pytest.mark.parametrize(
    "path, outcome, failure",
    [
        ("/shed", Outcome.REFUSED_BY_SERVICE, "REFUSED_BY_SERVICE: status 503"),
        ("/half-body", Outcome.BROKEN, "BROKEN: closed before the response ended"),
        ("/garbage", Outcome.GARBAGE, "GARBAGE: not HTTP"),
        ("/silent", Outcome.TIMEOUT, "TIMEOUT: no complete response in 0.5 s"),
    ],
)
def test_failed_requests_are_rows_and_failures_in_locust_and_the_process_still_ends_well(
    start, server, tmp_path, path, outcome, failure
):
    run = start(scenario(tmp_path, path, timeout_s=0.5), server.url, "--json", for_s=0.6)
    code, out, err = run.end()
    assert code == 0, err
    adds_up(run)
    assert set(run.rows["outcome"]) == {outcome}
    (entry,) = json.loads(out)
    assert entry["num_failures"] == entry["num_requests"] == len(run.rows) == 30
    assert failure in json.dumps(entry) + err


def test_with_nothing_listening_the_schedule_is_kept_all_the_same(start, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        run = start(scenario(tmp_path), f"http://127.0.0.1:{unused.getsockname()[1]}", for_s=0.6)
        code, _, err = run.end()
    assert code == 0, err
    assert adds_up(run).sent == 30
    assert set(run.rows["outcome"]) == {Outcome.CONNECT_FAILED}


def test_what_cannot_be_in_flight_is_a_row_that_says_unsent_and_no_response_time(start, server, tmp_path):
    run = start(scenario(tmp_path, "/silent", timeout_s=1.0, max_in_flight=4), server.url, "--json", for_s=0.6)
    code, out, err = run.end()
    assert code == 0, err
    assert adds_up(run).unsent == 26
    assert list(run.rows["outcome"][:4]) == [Outcome.TIMEOUT] * 4
    unsent = run.rows[run.rows["outcome"] == Outcome.UNSENT]
    assert np.all(np.isnan(unsent["sent"]) & np.isnan(unsent["first_byte"])) and set(unsent["request_id"]) == {b""}
    assert set(unsent["expected"]) == {0, 1}, "what it would have asked is known"
    (entry,) = json.loads(out)
    assert (entry["num_requests"], entry["num_none_requests"], entry["num_failures"]) == (30, 26, 30)


@pytest.mark.parametrize(
    "path, signals",
    [
        ("/predict", [signal.SIGTERM]),
        ("/predict", [signal.SIGINT]),
        ("/silent", [signal.SIGTERM]),
        ("/silent", [signal.SIGINT, signal.SIGTERM]),
    ],
    ids=["TERM", "INT", "TERM with requests in flight", "INT, then TERM, with requests in flight"],
)
def test_a_run_that_is_ended_by_a_signal_finishes_what_is_in_flight_and_its_account(
    start, server, tmp_path, path, signals
):
    run = start(scenario(tmp_path, path, timeout_s=0.8), server.url, "--json")
    run.wait_for_rows(10)
    code, out, err = run.end(*signals)
    assert code == 0, err
    assert adds_up(run, err).unsent == 0
    (entry,) = json.loads(out)
    assert entry["num_requests"] == len(run.rows), "printed once, after the last request ended"


HELD_UP = """
        if k == 20:
            import os, time
            os.kill(os.getpid(), {number})
            until = time.monotonic() + 0.5
            while time.monotonic() < until: pass"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_what_was_due_while_the_generator_was_held_up_is_sent_late_and_the_account_has_the_dispatch_lag(
    start, server, tmp_path, number
):
    run = start(scenario(tmp_path, before="pass" + HELD_UP.format(number=int(number))), server.url)
    code, _, err = run.end()
    assert code == 0, err
    account = adds_up(run, err)
    assert account.planned >= 20 + 24, "50 a second for half a second came due before the end was seen"
    assert account.unsent == 0
    assert account.lag_max_ms > 400 and account.lag_p99_ms > 300 and account.stalls


def test_a_signal_while_the_last_requests_are_waited_for_changes_nothing(start, server, tmp_path):
    run = start(scenario(tmp_path, "/silent", timeout_s=1.5), server.url, "--json", for_s=0.4)
    while not (tmp_path / "events").exists() or not run.events():
        time.sleep(0.02)
    time.sleep(0.9)  # from the start of the schedule: past its end, before the first timeout
    code, out, err = run.end(signal.SIGTERM)
    assert code == 0, err
    assert adds_up(run).planned == 20
    assert json.loads(out)[0]["num_requests"] == 20


def with_pages(start, tmp_path, url):
    """A run with Locust's web pages, and what asks them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = start(scenario(tmp_path), url, "--headful", "--web-host", "127.0.0.1", "--web-port", str(port))

    def ui(path: str, data: bytes | None = None) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=10) as response:
            return json.loads(response.read())

    while True:
        try:
            ui("/stats/requests")
            return run, ui
        except OSError:
            assert run.child.poll() is None, run.end()
            time.sleep(0.05)


@pytest.mark.timeout(60)
def test_the_web_ui_starts_and_stops_it_twice_and_counts_every_request(start, server, tmp_path):
    run, ui = with_pages(start, tmp_path, server.url)
    for seen in (0, 1):
        ui("/swarm", b"user_count=2&spawn_rate=1&arrivals=constant:40/s")
        while len(run.events()) < 2 * seen + 1:
            time.sleep(0.02)
        time.sleep(0.5)
        ui("/stop", b"")
    planned = [e.planned for name, e in run.events() if name == "finished"]
    while ui("/stats/requests")["stats"][-1]["num_requests"] != planned[-1]:  # the page is kept for two seconds
        time.sleep(0.1)
    code, _, err = run.end(signal.SIGINT)
    assert code == 0, err
    assert [name for name, _ in run.events()] == ["started", "finished"] * 2
    assert {e.arrivals for name, e in run.events() if name == "started"} == {"constant:40/s"}
    assert sum(planned) == len(run.rows) and min(planned) >= 10
    assert [e.locust_requests for name, e in run.events() if name == "finished"] == planned


@pytest.mark.timeout(90)
def test_fewer_users_are_no_end_of_the_load(start, server, tmp_path):
    """Whichever of the users began it is, most likely, among those who are stopped."""
    run, ui = with_pages(start, tmp_path, server.url)
    for users in (8, 1):
        ui("/swarm", b"user_count=%d&spawn_rate=100&arrivals=constant:40/s" % users)
        until = time.monotonic() + 30
        while ui("/stats/requests")["user_count"] != users and time.monotonic() < until:
            time.sleep(0.1)
    before = len(run.rows) if (tmp_path / "rows").exists() else 0
    run.wait_for_rows(before + 60)
    assert [name for name, _ in run.events()] == ["started"] and ui("/stats/requests")["state"] == "running"
    ui("/stop", b"")
    code, _, err = run.end(signal.SIGINT)
    assert code == 0, err
    assert adds_up(run).rows >= before + 60


MISTAKES = [
    ("an arrival text that is none", {"arrivals": "60 per s"}, "arrivals: must be one of"),
    ("arrivals that are no schedule", {"arrivals": 60}, "Asks.arrivals: must be a schedule such as"),
    ("a request that raises", {"before": "self.images[0]"}, "asks.py:10: AttributeError: 'Asks' object has no"),
    ("a request that gives nothing", {"before": "return"}, "Asks.request must give a Request, got None"),
    (
        "attributes that make no sense, all of them at once",
        {
            "timeout_s": -1,
            "connect_timeout_s": "5s",
            "read_timeout_s": 0,
            "max_in_flight": 0,
            "warm": -1,
            "arrivals": None,
        },
        "asks.py: Asks.max_in_flight: must be a whole number from 1, got 0; "
        "Asks.timeout_s: must be seconds above 0, got -1; "
        "Asks.connect_timeout_s: must be seconds above 0 or None, got '5s'; "
        "Asks.read_timeout_s: must be seconds above 0 or None, got 0; "
        "Asks.warm: must be a whole number from 0, got -1; "
        "Asks.arrivals: must be a schedule such as poisson(60, seed=7), got None",
    ),
    ("a timeout that never ends", {"timeout_s": float("inf")}, "Asks.timeout_s: must be seconds above 0, got inf"),
    ("a header that cannot be sent", {"before": 'return Request("GET", "/\\u2713")'}, "UnicodeEncodeError"),
]


@pytest.mark.parametrize("mistake, complaint", [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_in_the_scenario_is_one_line_before_any_load(start, server, tmp_path, mistake, complaint):
    before = server.requests
    code, out, err = start(scenario(tmp_path, **mistake), server.url).end()
    assert code == 2
    assert len(errors := re.findall(r"/ERROR/.*", err)) == 1 and complaint in errors[0]
    assert "Traceback" not in err and server.requests == before and not out


def plain(folder: Path, url: str, *more: str, file: Path | None = None) -> subprocess.CompletedProcess:
    """What a user of plain Locust runs, for a second."""
    argv = ["-f", file or folder / "asks.py", "-H", url, "--headless", "-u", "1", "--for", "0.6", "--only-summary"]
    return subprocess.run(
        [sys.executable, "-m", "locust", *map(str, argv), *more], cwd=folder, capture_output=True, text=True, timeout=90
    )


@pytest.mark.parametrize(
    "settings, more, code",
    [
        pytest.param({}, [], 0, id="all is well"),
        pytest.param({"path": "/shed"}, [], 1, id="requests failed"),
        pytest.param({"path": "/shed"}, ["--exit-code-on-error", "0"], 0, id="they may"),
        pytest.param({"path": "/shed"}, ["--exit-code-on-error", "5"], 5, id="as its user wants it"),
        pytest.param({"before": "assert k != 7"}, [], 2, id="a mistake of the scenario"),
        pytest.param({"before": "assert k != 7"}, ["--exit-code-on-error", "0"], 2, id="which nothing excuses"),
        pytest.param({"path": "/shed", "before": "assert k != 7"}, [], 2, id="nor hides"),
    ],
)
def test_plain_locust_ends_as_locust_does(server, tmp_path, settings, more, code):
    scenario(tmp_path, **settings)
    done = plain(tmp_path, server.url, *more)
    assert done.returncode == code, done.stderr


def test_two_schedules_in_one_run_are_refused_whether_in_one_file_or_in_two(server, tmp_path):
    before = server.requests
    first, second = scenario(tmp_path), tmp_path / "looks.py"
    second.write_text(first.read_text().replace("class Asks", "class Looks"))
    both = tmp_path / "both.py"
    both.write_text(first.read_text() + second.read_text())
    for file in (both, f"{first},{second}"):
        done = plain(tmp_path, server.url, file=file)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        assert "one user class is one schedule, and here are 2: Asks, Looks; name the one to run" in done.stderr
    assert server.requests == before
    assert plain(tmp_path, server.url, "Looks", file=both).returncode == 0


def test_slow_clients_are_refused_over_tls_before_any_load(tmp_path):
    file = scenario(tmp_path)
    slow = "request = Request('POST', '/', (), b'image', pace=ClientPace(send_per_s=10) if k % 6 == 4 else None)"
    text = "from harness.load.locust import ClientPace\n" + file.read_text()
    file.write_text(text.replace("        pass", f"        {slow}\n        return request"))
    done = plain(tmp_path, "https://127.0.0.1:9")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "pace: slow and aborting clients use plain HTTP only, and request 4 is one of theirs" in done.stderr


def csv_of(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / f"all_{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_files_hold_the_whole_run(server, tmp_path):
    scenario(tmp_path, "/shed")
    done = plain(tmp_path, server.url, "--csv", "all", "--rows", "rows", "--for", "1.5")
    assert done.returncode == 1, done.stderr
    n = len(read_rows(tmp_path / "rows"))
    assert n == 75
    for entry in csv_of(tmp_path, "stats"):
        assert (entry["Request Count"], entry["Failure Count"]) == (str(n), str(n))
    assert [entry["Name"] for entry in csv_of(tmp_path, "stats")] == ["/shed", "Aggregated"]
    assert [entry["Occurrences"] for entry in csv_of(tmp_path, "failures")] == [str(n)]
    assert csv_of(tmp_path, "stats_history")[-1]["Total Request Count"] == str(n)
    assert csv_of(tmp_path, "exceptions") == []


EXPECTING = """
from harness.load.arrivals import constant
from harness.load.locust import ClientPace, OpenModelUser, Request

class Asks(OpenModelUser):
    arrivals = constant(50)

    def request(self, k):
        return [
            Request("GET", "/not-found", name="refused as it must be", expect_status=(401, 404)),
            Request("GET", "/ok", name="let in", expect_status=range(400, 500)),
            Request("GET", "/not-found", name="refused otherwise", expect_status=(401,)),
            Request("GET", "/shed", name="shed", expect_status=(401,)),
            Request("POST", "/ok", (), b"x" * 999, name="went away", pace=ClientPace(abort_after=0.5)),
        ][k % 5]
"""


def test_locust_counts_as_failures_what_is_one_and_nothing_else(server, tmp_path):
    file = tmp_path / "asks.py"
    file.write_text(EXPECTING + LISTENING)
    done = plain(tmp_path, server.url, "--csv", "all", "--rows", "rows", "--json")
    assert done.returncode == 1, done.stderr
    rows, n = read_rows(tmp_path / "rows"), 6
    outcomes = [set(rows["outcome"][rows["seq"] % 5 == i].tolist()) for i in range(5)]
    right, refused, wrong = {Outcome.OK}, {Outcome.REFUSED_BY_SERVICE}, {Outcome.UNEXPECTED_STATUS}
    assert outcomes == [right, wrong, wrong, refused, {Outcome.ABANDONED}]
    stats = {entry["Name"]: int(entry["Failure Count"]) for entry in csv_of(tmp_path, "stats")}
    assert stats == {
        "refused as it must be": 0, "let in": n, "refused otherwise": n, "shed": n, "went away": 0, "Aggregated": 3 * n,
    }  # fmt: skip
    errors = {entry["Error"]: int(entry["Occurrences"]) for entry in csv_of(tmp_path, "failures")}
    assert errors == {
        "UNEXPECTED_STATUS: status 200": n, "UNEXPECTED_STATUS: status 404": n,
        "REFUSED_BY_SERVICE: status 503": n,
    }  # fmt: skip
    gone = next(e for e in json.loads(done.stdout[done.stdout.index("[") :]) if e["name"] == "went away")
    assert (gone["num_none_requests"], gone["response_times"]) == (n, {}), "nobody waited for a response"
    heard = [line for line in done.stdout.splitlines() if line.startswith("heard")]
    assert sum("heard POST went away NoneType None" in line for line in heard) == n
    assert sum("heard GET refused as it must be float None" in line for line in heard) == n


OPTIONS = [
    (["--arrivals", "poisson:60"], "poisson: rate must be like 60/s, got '60'"),
    (["--for", "0"], "--for: must be above 0 seconds, got 0"),
    (["--rows", "/dev/null/rows"], "/dev/null/rows: Not a directory"),
    (["-H", "localhost"], "host: must be like http://127.0.0.1:8000, got 'localhost'"),
    (["--clients", "0"], "--clients: must be above 0, got 0"),
    (["--ca-file", "/nowhere.pem", "-H", "https://x"], "--ca-file: /nowhere.pem: No such file"),
    (["--client-cert", "/nowhere.pem", "-H", "https://x"], "--client-cert: /nowhere.pem: No such file"),
    (["--client-key", "/dev/null", "-H", "https://x"], "--client-key: /dev/null: needs the certificate"),
    (["--headers-file", "/nowhere.json"], "--headers-file: /nowhere.json: No such file"),
]


@pytest.mark.parametrize("options, complaint", OPTIONS, ids=[o[0][0] for o in OPTIONS])
def test_options_that_make_no_run_are_one_line_before_any_load(start, server, tmp_path, options, complaint):
    code, _, err = start(scenario(tmp_path), server.url, *options).end()
    assert code == 2
    assert complaint in err and "Traceback" not in err


def test_mistakes_that_show_during_the_run_are_unsent_rows_and_a_bad_end(start, server, tmp_path):
    before = "assert k != 7, 'no seventh'\n        if k == 9: return None"
    run = start(scenario(tmp_path, before=before), server.url, for_s=0.5)
    code, _, err = run.end()
    assert code == 2
    assert "asks.py:10: AssertionError: no seventh" in err and "must give a Request, got None for number 9" in err
    adds_up(run)
    assert {k: row["outcome"] for k, row in enumerate(run.rows) if row["outcome"] != Outcome.OK} == {7: 6, 9: 6}


def test_rows_that_cannot_be_written_are_a_bad_end(start, server, tmp_path):
    run = start(scenario(tmp_path), server.url, "--rows", "/dev/full", for_s=0.3)
    code, _, err = run.end()
    assert code == 2 and "No space left on device" in err
    assert run.events()[-1][0] == "finished"


def test_plain_locust_needs_none_of_the_options_and_runs_its_whole_time_however_slow_the_imports(server, tmp_path):
    file = scenario(tmp_path)
    slow = "import time\nuntil = time.monotonic() + 2\nwhile time.monotonic() < until:\n    pass\n"
    file.write_text(slow + file.read_text())
    argv = ["-f", file, "-H", server.url, "--headless", "-u", "1", "-t", "2s", "--only-summary", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "locust", *map(str, argv)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["num_requests"] > 0
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["asks.py"]


def test_a_command_for_a_scenario_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.py: no such scenario"):
        generator.command(
            tmp_path / "nothing.py", "http://x", arrivals=None, for_s=None, rows=tmp_path, events=tmp_path, name="load"
        )


VISITS = """
from harness.history import Outcome
from harness.load.arrivals import constant
from harness.load.locust import OpenModelUser, Request

class Visits(OpenModelUser):
    arrivals = constant(20)
    timeout_s = 5.0

    def request(self, k):
        if k % 4 == 3:
            return Request("GET", "/ok", step=7)  # some only look
        return self.visit(k)

    def visit(self, k):
        response = yield Request("POST", "/shed" if k % 4 == 2 else "/predict", (), b"image", expected=k % 2)
        if response.outcome is Outcome.OK:
            ours = response.request_id.encode()
            yield Request("POST", "/ok", (), ours, expected=k % 2, after_s=0.25, name="feedback")
            yield Request("GET", "/slow")
"""


def test_a_visit_goes_on_after_its_response_and_leaves_the_schedule_alone(start, server, tmp_path):
    (tmp_path / "visits.py").write_text(VISITS)
    run = start(tmp_path / "visits.py", server.url, "--json", for_s=1.5)
    code, out, err = run.end()
    assert code == 0, err
    rows, (_, (_, account)) = run.rows, run.events()
    first = rows[rows["turn"] == 0]
    assert list(first["seq"]) == list(range(30)) and np.diff(first["intended"]) == pytest.approx(0.05, abs=1e-4)
    assert account.visits == 30
    assert account.planned == account.rows == account.locust_requests == len(rows) > 30
    assert len(np.unique(rows["request_id"])) == len(rows)
    by_seq = {seq: rows[rows["seq"] == seq] for seq in range(30)}
    for seq, visit in by_seq.items():
        if seq % 4 == 3:
            assert list(visit["step"]) == [7]
        elif seq % 4 == 2:
            assert list(visit["outcome"]) == [Outcome.REFUSED_BY_SERVICE], "no feedback without a prediction"
        else:
            assert list(visit["turn"]) == list(visit["step"]) == list(range(len(visit)))
            for before, after, pause_s in zip(visit[:-1], visit[1:], (0.25, 0.0), strict=False):
                assert after["intended"] - before["done"] == pytest.approx(pause_s, abs=1e-6)
    assert len(by_seq[0]) == 3 and len(by_seq[28]) == 1, "what would have been due after the end is not"
    names = {(entry["method"], entry["name"]): entry["num_requests"] for entry in json.loads(out)}
    assert names["POST", "feedback"] == np.count_nonzero(rows["step"] == 1)


def test_labels_follow_predictions_under_the_id_the_prediction_had(start, tmp_path):
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.dcm").write_bytes(name.encode())
    file = tmp_path / "labels.py"
    file.write_text(
        "from pathlib import Path\nfrom harness.load.arrivals import constant\n"
        "from harness.load.locust import LabellingUser\n\n"
        "class Labels(LabellingUser):\n    arrivals = constant(20)\n    feedback_after_s = 0.1\n"
        "    radiographs = Path(__file__).parent\n    headers = (('X-Key', 'k'),)\n"
    )
    with scripted_server(WAYS | {"/feedback": WAYS["/ok"]}) as server:
        run = start(file, server.url, for_s=0.6)
        code, _, err = run.end()
        bodies = server.bodies
    assert code == 0, err
    predictions = {row["request_id"].decode(): row for row in run.rows if row["turn"] == 0}
    labels = [json.loads(body) for path, body in bodies if path == "/feedback"]
    assert len(labels) == np.count_nonzero(run.rows["turn"] == 1) >= 5
    for label in labels:
        assert label["label"] == ("NORMAL", "PNEUMONIA")[predictions[label["request_id"]]["expected"]]


def test_the_requests_of_a_closed_model_have_rows_too(start, server, tmp_path):
    run = start(scenario(tmp_path, "/slow"), server.url, "--clients", "3", for_s=1.0)
    code, _, err = run.end()
    assert code == 0, err
    assert adds_up(run).unsent == 0
    assert run.events()[0][1].arrivals == "clients:3"
    rows = run.rows
    assert 10 < len(rows) <= 3 * 1.0 / 0.02 + 3, "each waits for its response, which takes 20 ms"
    assert np.all(rows["sent"] - rows["intended"] < 0.5)


def test_a_closed_model_pauses_after_a_failed_connection(start, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        run = start(scenario(tmp_path), url, "--clients", "2", for_s=1.5)
        code, _, err = run.end()
    assert code == 0, err
    adds_up(run)
    assert set(run.rows["outcome"]) == {Outcome.CONNECT_FAILED} and len(run.rows) <= 2 * 1.5 / 0.01 + 2


LISTENING = """

import locust

@locust.events.request.add_listener
def heard(request_type, name, response_time, exception, start_time, **_):
    print("heard", request_type, name, type(response_time).__name__, exception, start_time > 1e9)
"""


def test_listeners_of_locusts_request_event_get_each(start, server, tmp_path):
    file = scenario(tmp_path, "/shed")
    file.write_text(file.read_text() + LISTENING)
    run = start(file, server.url, for_s=0.5)
    code, out, err = run.end()
    assert code == 0, err
    assert adds_up(run).rows == 25
    assert out.count("heard POST /shed float REFUSED_BY_SERVICE: status 503 True") == 25
