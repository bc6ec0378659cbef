"""What serves a request: statuses, classes, and what an encoding hides of them."""

import gzip
import json
import math
import subprocess
import zlib

import numpy as np
import pytest
from scripted_server import head, scripted_server

from harness.history import Outcome, read_rows
from harness.load import content
from harness.load.connection import KEPT_BODY_BYTES
from harness.load.request import Request, Response
from harness.load.served import excerpt, judged
from harness.stack import generator

BODY = b'{"class": "PNEUMONIA"}'
PAGE = b"<html>Please sign in</html>"
LABELLED, UNKNOWN = Request("POST", "/", expected=1), Request("POST", "/")
OK, UNSERVED, NOT_READ = Outcome.OK, Outcome.UNSERVED, Outcome.NOT_READ


def response(body=b"", status=200, *fields: str, cut=False, outcome=Outcome.OK):
    return Response(
        outcome, status, body, 0.0, 0.0, 0.0, 0, len(body), "", "", cut, head(f"{status} Said", *fields) + body[:99]
    )


def read(answer):
    names = ("NORMAL", "PNEUMONIA")
    return names.index(json.loads(answer.body)["class"])


def raw_deflate(data):
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


brotli = pytest.importorskip("brotli")  # comes with Locust
LARGE = b'{"class": "PNEUMONIA", "map": "' + b"x" * (2 * KEPT_BODY_BYTES) + b'"}'
ENCODED = [
    ("gzip", gzip.compress(BODY), OK),
    ("GZIP", gzip.compress(BODY), OK),
    ("x-gzip", gzip.compress(BODY), OK),
    ("deflate", zlib.compress(BODY), OK),
    ("deflate", raw_deflate(BODY), OK),
    ("br", brotli.compress(BODY), OK),
    ("identity", BODY, OK),
    ("", BODY, OK),
    ("deflate, gzip", gzip.compress(zlib.compress(BODY)), OK),
    ("gzip, identity, br", brotli.compress(gzip.compress(BODY)), OK),
    ("gzip", gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), OK),
    ("gzip", gzip.compress(BODY) + b"\0\0 padding", OK),
    ("gzip", gzip.compress(PAGE), UNSERVED),
    ("gzip", gzip.compress(BODY)[:-9], UNSERVED),
    ("gzip", gzip.compress(BODY)[:-8] + bytes(8), UNSERVED),
    ("gzip", BODY, UNSERVED),
    ("gzip", b"\x1f", UNSERVED),
    ("gzip", b"", UNSERVED),
    ("deflate", b"\xff" + BODY, UNSERVED),
    ("deflate", zlib.compress(BODY)[:-5], UNSERVED),
    ("br", brotli.compress(BODY)[:-3], UNSERVED),
    ("br", b"\xff" * 40, UNSERVED),
    ("gzip, gzip", gzip.compress(BODY), UNSERVED),
    ("gzip", gzip.compress(LARGE), NOT_READ),
    ("deflate", zlib.compress(LARGE), NOT_READ),
    ("br", brotli.compress(LARGE, quality=1), NOT_READ),
    ("gzip, gzip", gzip.compress(gzip.compress(bytes(99 * KEPT_BODY_BYTES))), NOT_READ),
    ("gzip", gzip.compress(b"") * 200 + gzip.compress(BODY), NOT_READ),
    ("zstd-2030", b"whatever", NOT_READ),
    ("gzip, compress", b"whatever", NOT_READ),
    ("gzip," * 6, gzip.compress(BODY), NOT_READ),
]


@pytest.mark.parametrize(("coding", "body", "outcome"), ENCODED, ids=range(len(ENCODED)))
def test_an_answer_is_judged_after_its_encoding_is_undone(coding, body, outcome):
    answer, found, _ = judged(LABELLED, response(body, 200, f"content-ENCODING: {coding}"), read)
    assert (answer.outcome, found) == (outcome, 1 if outcome is OK else -1), answer.error
    assert bool(answer.error) == (outcome is not OK)
    assert len(answer.body) <= KEPT_BODY_BYTES
    assert outcome is not OK or answer.body == BODY, "readers and visits see what it says"


def test_two_fields_are_one_list_and_interim_heads_are_passed_over():
    body = gzip.compress(zlib.compress(BODY))
    whole = response(body, 200, "Content-Encoding: deflate", "Content-Encoding: gzip")
    assert judged(LABELLED, whole, read)[1] == 1
    interim = whole._replace(head=head("103 Early", "Content-Encoding: br") + whole.head)
    assert judged(LABELLED, interim, read)[1] == 1
    named_in_body = response(b'{"class": "NORMAL", "x": "\r\nContent-Encoding: gzip\r\n"}'.replace(b"\r\n", b" "))
    assert judged(LABELLED, named_in_body, read)[1] == 0


def test_a_bomb_takes_no_more_memory_than_what_is_kept():
    bomb = gzip.compress(bytes(200 * KEPT_BODY_BYTES))
    answer = content.decoded(response(bomb, 200, "Content-Encoding: gzip"))
    assert answer.cut and len(answer.body) == KEPT_BODY_BYTES


STATUSES = [
    (LABELLED, response(BODY), OK),
    (LABELLED, response(PAGE), UNSERVED),
    (LABELLED, response(b""), UNSERVED),
    (LABELLED, response(b"", 204), UNSERVED),
    (LABELLED, response(BODY, 203), OK),
    (LABELLED, response(b'{"class": "MAYBE"}'), UNSERVED),
    (LABELLED, response(b"[" * 100_000), UNSERVED),
    (LABELLED, response(b"null"), UNSERVED),
    (LABELLED, response(BODY[:9], cut=True), NOT_READ),
    (LABELLED, response(BODY, cut=True), OK),
    (LABELLED, response(b"", 302), UNSERVED),
    (LABELLED, response(BODY, 302), UNSERVED),
    (LABELLED, response(b"", 304), UNSERVED),
    (LABELLED, response(b"no", 503, outcome=Outcome.REFUSED_BY_SERVICE), Outcome.REFUSED_BY_SERVICE),
    (LABELLED._replace(expect_status=(200,)), response(PAGE), UNSERVED),
    (LABELLED._replace(expect_status=(200,)), response(b"", 302), Outcome.UNEXPECTED_STATUS),
    (LABELLED._replace(expect_status=(302,)), response(b"", 302), OK),
    (LABELLED._replace(expect_status=(401,)), response(b"", 401, outcome=Outcome.REFUSED_BY_SERVICE), OK),
    (UNKNOWN, response(PAGE), OK),
    (UNKNOWN, response(b"", 204), OK),
    (UNKNOWN, response(b"", 301), UNSERVED),
    (UNKNOWN, response(b"", 304), UNSERVED),
    (UNKNOWN._replace(expect_status=(304,)), response(b"", 304), OK),
    (UNKNOWN, response(b"x" * 9, cut=True), OK),
    (UNKNOWN, response(b"x", 200, "Content-Encoding: zstd"), OK),
    (UNKNOWN, response(b"x", 200, "Content-Encoding: gzip"), UNSERVED),
    (UNKNOWN, response(b"x", 500, "Content-Encoding: gzip", outcome=Outcome.REFUSED_BY_SERVICE), 1),
]


@pytest.mark.parametrize(("request_", "answer", "outcome"), STATUSES, ids=range(len(STATUSES)))
def test_what_serves_a_request(request_, answer, outcome):
    assert judged(request_, answer, read)[0].outcome == outcome


@pytest.mark.parametrize(
    ("found", "label", "probability"),
    [(1, 1, None), ((1, 0.25), 1, 0.25), ((-1, 0.5), -1, None), ((1, -1e300), 1, -math.inf)],
)
def test_a_probability_may_come_with_the_class_and_never_without(found, label, probability):
    _, given, seen = judged(UNKNOWN, response(BODY), lambda answer: found)
    assert given == label and (math.isnan(seen) if probability is None else seen == probability)


def test_without_a_reader_nothing_is_said_of_classes():
    assert judged(LABELLED, response(PAGE), None)[:2] == (response(PAGE), -1)


def test_what_reading_a_page_raises_is_no_mistake_of_the_scenario_but_a_wrong_name_is():
    class User:
        def predicted(self, answer):
            return self.reads(answer)

    def fails(error):
        def reads(answer):
            raise error

        user = User()
        user.reads = reads
        return user.predicted

    for error in (KeyError("class"), SyntaxError(), AttributeError(), ZeroDivisionError(), RecursionError()):
        answer, found, _ = judged(LABELLED, response(PAGE), fails(error))
        assert (answer.outcome, found) == (UNSERVED, -1) and type(error).__name__ in answer.error
    for own in (lambda answer: answer.jsom(), lambda answer: nowhere):  # noqa: F821
        with pytest.raises((AttributeError, NameError)):
            judged(LABELLED, response(BODY), own)
    with pytest.raises(AttributeError):
        judged(LABELLED, response(BODY), User().predicted)


EXCERPTS = [
    (response(PAGE), "<html>Please sign in</html>"),
    (response(b"  a\r\n\tb\x00\x1b[31mc "), "a b [31mc"),
    (response(b""), "(empty)"),
    (response(b"\xff" + b"a " * 400), "\N{REPLACEMENT CHARACTER}a" + " a" * 58 + " …"),
    (response(b"", 302, "LOCATION: https://me:pw@login.example/in?token=abc#x"), "to https://***login.example/in***"),
    (response(b"you sent Bearer KEY-1 and cookie"), "you sent *** and cookie"),
    (response(b"KEY-1 it was"), "*** it was"),
    (response(b'<input name="csrf" value="8f14e45fceea167a5a36dedd4bea2543">'), '<input name="csrf" value="***">'),
    (response(b"\x28\xb5", 200, "Content-Encoding: zstd", outcome=NOT_READ), "Content-Encoding: zstd"),
]


@pytest.mark.parametrize(("answer", "says"), EXCERPTS, ids=range(len(EXCERPTS)))
def test_an_excerpt_is_one_short_line_without_secrets(answer, says):
    assert excerpt(LABELLED, answer, ["Bearer KEY-1"]) == says
    own = LABELLED._replace(headers=(("X-Api-Key", "Bearer KEY-1"), ("Content-Type", "html")))
    assert excerpt(own, answer) == says


SCENARIO = """
from harness.load.arrivals import constant
from harness.load.locust import PredictUser, Request

PATHS = ["/class", "/page", "/moved", "/zipped", "/chunked", "/large", "/strange", "/none"]

class Asks(PredictUser):
    arrivals = constant(80)

    @classmethod
    def prepare(cls, options):
        pass

    def request(self, k):
        return Request("POST", PATHS[k % 8], (), b"image", expected=1, name="ask")
"""
ZIPPED = gzip.compress(BODY)
WAYS = {
    "/class": [head("200 OK", f"Content-Length: {len(BODY)}") + BODY],
    "/page": [head("200 OK", f"Content-Length: {len(PAGE)}") + PAGE],
    "/moved": [head("302 Found", "Location: /login?next=1", "Content-Length: 0")],
    "/zipped": [head("200 OK", "Content-Encoding: gzip", f"Content-Length: {len(ZIPPED)}"), 0.002, ZIPPED],
    "/chunked": [
        head("103 Early Hints", "Link: x"),
        head("200 OK", "content-encoding: gzip", "Transfer-Encoding: chunked"),
        b"%x\r\n%s\r\n" % (9, ZIPPED[:9]), 0.002, b"%x\r\n%s\r\n0\r\n\r\n" % (len(ZIPPED) - 9, ZIPPED[9:]),
    ],
    "/large": [head("200 OK", f"Content-Length: {len(LARGE)}") + LARGE],
    "/strange": [head("200 OK", "Content-Encoding: strange", "Content-Length: 2") + b"ok"],
    "/none": [head("204 No Content")],
}  # fmt: skip


@pytest.mark.parametrize("more", [(), ("--processes", "2")], ids=["alone", "distributed"])
def test_rows_and_the_account_tell_answers_that_serve_from_others(tmp_path, more):
    (tmp_path / "asks.py").write_text(SCENARIO)
    with scripted_server(WAYS) as server:
        argv = generator.command(
            tmp_path / "asks.py", server.url, arrivals=None, for_s=0.8, rows=tmp_path / "rows",
            events=tmp_path / "events", name="load", processes=int(more[-1]) if more else 1,
        )  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "rows")
    assert len(rows) == 64
    outcomes = [set(rows["outcome"][rows["seq"] % 8 == k].tolist()) for k in range(8)]
    assert outcomes == [{OK}, {UNSERVED}, {UNSERVED}, {OK}, {OK}, {NOT_READ}, {NOT_READ}, {UNSERVED}]
    assert list(np.unique(rows["predicted"][rows["outcome"] == OK])) == [1]
    _, account = [json.loads(line)[5] for line in (tmp_path / "events").read_text().splitlines()]
    at, text = account["excerpts"][0]
    assert "<html>Please sign in</html>" in {text for _, text in account["excerpts"]}
    assert math.isclose(at, rows["intended"][rows["outcome"] != OK].min(), abs_tol=0.01) and text
    for told in ("UNSERVED: status 302", "UNSERVED: no readable class"):
        assert told in done.stdout + done.stderr
    assert "NOT_READ" not in done.stdout + done.stderr, "no failure of the service"
