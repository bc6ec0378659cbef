"""The headers of a run reach every request that wants them, and nothing else ever shows them."""

import json
import subprocess

import pytest
from scripted_server import scripted_server

from harness.errors import UsageError
from harness.history import Outcome, read_rows
from harness.load import headers
from harness.load.client import Client
from harness.load.request import Request
from harness.stack import generator

SECRET = "s3cret-of-the-run"
BEARER = {"Authorization": f"Bearer {SECRET}"}

WRONG = {
    "no such file": (None, "No such file or directory"),
    "no JSON": (f'{{"Authorization": "Bearer {SECRET}"', "is not JSON; it must be like {"),
    "no text": (b"\xff\xfe", "is not JSON; it must be like {"),
    "a list": (json.dumps([SECRET]), "must be one JSON object of headers, like {"),
    "a text": (json.dumps(SECRET), "must be one JSON object of headers, like {"),
    "a number as value": ('{"X-Key": 7}', "the value of X-Key must be one line of text"),
    "several values": (json.dumps({"X-Key": [SECRET]}), "the value of X-Key must be one line of text"),
    "two lines": (json.dumps({"X-Key": f"{SECRET}\r\nX: y"}), "the value of X-Key must be one line of text"),
    "a credential as name": (json.dumps({f"Bearer {SECRET}": ""}), "the name of header 1 must be a word of letters"),
    "a header of each request": ('{"content-LENGTH": "3"}', "content-LENGTH is set for each request by the generator"),
    "one header twice": (f'{{"X-Key": "{SECRET}", "x-key": "b"}}', "x-key is given twice"),
    "several mistakes": ('{"Host": "x", "X-Key": 7}', "by the generator; the value of X-Key must be"),
}


@pytest.mark.parametrize(("text", "complaint"), WRONG.values(), ids=WRONG)
def test_a_bad_file_is_one_sentence_without_what_is_in_it(tmp_path, text, complaint):
    file = tmp_path / "headers.json"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as raised:
        headers.read(file)
    message = str(raised.value)
    assert message.startswith(f"--headers-file: {file}: ") and complaint in message and "\n" not in message
    assert SECRET not in message


REQUESTS = {  # request: its lines between Host and X-Request-ID
    "as it is": (Request("GET", "/"), [f"Authorization: Bearer {SECRET}", "X-Team: a"]),
    "beside its own": (Request("GET", "/", (("A", "b"),)), ["A: b", f"Authorization: Bearer {SECRET}", "X-Team: a"]),
    "with its own": (Request("GET", "/", (("authorization", "mine"),)), ["authorization: mine", "X-Team: a"]),
    "anonymous": (Request("GET", "/", (("A", "b"),), anonymous=True), ["A: b"]),
}


@pytest.mark.parametrize(("request_", "lines"), REQUESTS.values(), ids=REQUESTS)
def test_a_request_has_the_headers_of_the_run_unless_it_sets_them_or_is_anonymous(tmp_path, request_, lines):
    (tmp_path / "headers.json").write_text(json.dumps(BEARER | {"X-Team": "a"}))
    client = Client("http://x", timeout_s=1, headers=headers.read(tmp_path / "headers.json"))
    assert client.prepare(request_).before.decode().split("\r\n")[2:-1] == lines
    client.close()


SCENARIO = """
from harness.load.arrivals import constant
from harness.load.locust import ClientPace, OpenModelUser, Request

KINDS = [
    Request("POST", "/predict", (), b"image"),
    Request("POST", "/predict", (), b"image", anonymous=True),
    Request("POST", "/predict", (("Authorization", "mine"),), b"image"),
    Request("POST", "/predict", (), b"image", pace=ClientPace(send_per_s=100_000)),
]

class Asks(OpenModelUser):
    arrivals = constant(40)
    timeout_s = 5.0

    def request(self, k):
        return KINDS[k % 4]
"""


@pytest.mark.parametrize("given", ["option", "environment", "option, to two workers"])
def test_a_run_sends_them_and_neither_its_log_nor_its_account_shows_them(tmp_path, monkeypatch, given):
    (tmp_path / "asks.py").write_text(SCENARIO)
    (tmp_path / "headers.json").write_text(json.dumps(BEARER))
    if given == "environment":
        monkeypatch.setenv("HARNESS_HEADERS_FILE", str(tmp_path / "headers.json"))
    with scripted_server() as server:
        argv = generator.command(
            tmp_path / "asks.py", server.url, arrivals=None, for_s=0.5, rows=tmp_path / "rows",
            events=tmp_path / "events", name="load", processes=2 if "two" in given else 1,
            headers_file=None if given == "environment" else tmp_path / "headers.json",
        )  # fmt: skip
        done = subprocess.run([*argv, "--loglevel", "DEBUG"], capture_output=True, text=True, timeout=60)
        seen = [head.get("authorization") for head in server.heads]
    assert done.returncode == 0, done.stderr
    assert set(read_rows(tmp_path / "rows")["outcome"]) == {Outcome.OK} and len(seen) == 20
    assert [seen.count(value) for value in (f"Bearer {SECRET}", None, "mine")] == [10, 5, 5]
    for text in (done.stdout, done.stderr, (tmp_path / "events").read_text()):
        assert SECRET not in text


def test_a_bad_file_ends_the_generator_before_any_load(tmp_path):
    (tmp_path / "asks.py").write_text(SCENARIO)
    (tmp_path / "headers.json").write_text(f'{{"X-Key": ["{SECRET}"]}}')
    with scripted_server() as server:
        argv = generator.command(
            tmp_path / "asks.py", server.url, arrivals=None, for_s=0.5, rows=tmp_path / "rows",
            events=tmp_path / "events", name="load", headers_file=tmp_path / "headers.json",
        )  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and server.requests == 0, done.stderr
    complaint = generator.complaint(done.stderr, tmp_path / "asks.py")
    assert complaint == (
        f"asks.py: --headers-file: {tmp_path / 'headers.json'}: the value of X-Key must be one line of text"
    )
    assert SECRET not in done.stdout + done.stderr
