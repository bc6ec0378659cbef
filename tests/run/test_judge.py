"""Objectives judged by the results of other load generators, and what their files cannot prove."""

import base64
import json

import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.history import Outcome
from harness.load.elsewhere import read
from harness.plan.slos import Slos
from harness.run.judge import judge
from harness.verdict import Verdict

AT = 1_700_000_000
SLOS = Slos.model_validate({"latency": {"target": "500ms", "percentile": 95}, "error_rate": {"target": "1%"}})


def vegeta_csv(n=1000, took_s=0.1, **bad):
    body = base64.b64encode(b"ok, with a , and a \n").decode()
    for k in range(n):
        code, error = (
            (0, '"Post ""http://x"": dial tcp: connection refused"') if k in bad.get("refused", ()) else (200, "")
        )
        yield f"{(AT * 100 + k) * 10**7},{code},{int(took_s * 1e9)},10,2,{error},{body},,{k},GET,http://x/,"


def vegeta_json(n=1000):
    for k in range(n):
        when = f"2023-11-14T22:13:{20 + k // 100:02d}.{k % 100:02d}0000123+02:00"
        yield json.dumps({"attack": "", "seq": k, "code": 200, "timestamp": when, "latency": 10**8, "bytes_out": 1,
                          "bytes_in": 2, "error": ""})  # fmt: skip


def hey(n=1000):
    yield "response-time,DNS+dialup,DNS,Request-write,Response-delay,Response-read,status-code,offset"
    for k in range(n):
        yield f"0.1000,0.0001,0.0000,0.0000,0.0990,0.0001,200,{k / 100:.4f}"


def k6(n=1000, status="200"):
    yield json.dumps({"type": "Metric", "data": {"name": "http_req_duration", "type": "trend"}, "metric": "x"})
    for k in range(n):
        when = f"2023-11-14T22:13:{20 + k // 100:02d}.{k % 100:02d}0000123Z"
        tags = {"status": status, "method": "GET", "url": "http://x/"}
        for metric, value in (("http_req_waiting", 90.0), ("http_req_duration", 100.0)):
            yield json.dumps({"type": "Point", "metric": metric, "data": {"time": when, "value": value, "tags": tags}})


@pytest.fixture
def file(tmp_path):
    def writing(lines):
        path = tmp_path / "results"
        path.write_text("\n".join(lines) + "\n")
        return path

    return writing


@pytest.mark.parametrize("tool, lines", [("vegeta", vegeta_csv), ("vegeta", vegeta_json), ("hey", hey), ("k6", k6)])
def test_the_requests_of_each_tool(file, tool, lines):
    found = read(file(lines()))
    rows = found.rows
    assert (found.tool, len(rows)) == (tool, 1000)
    assert set(rows["status"]) == {200} and set(rows["outcome"]) == {Outcome.OK}
    assert rows["done"] - rows["sent"] == pytest.approx(0.1, abs=1e-6)
    assert rows["intended"][-1] - rows["intended"][0] == pytest.approx(9.99, abs=1e-3)
    assert list(rows["seq"]) == list(range(1000))


def verdicts(found):
    return {result.check: result.verdict for result in found}


def test_what_the_file_proves_is_judged(file):
    good = judge(read(file(vegeta_csv())), SLOS)
    assert verdicts(good) == {"latency": Verdict.PASS, "error_ratio": Verdict.PASS}
    slow = judge(read(file(vegeta_csv(took_s=0.6))), SLOS)
    assert verdicts(slow) == {"latency": Verdict.FAIL, "error_ratio": Verdict.PASS}
    refused = read(file(vegeta_csv(refused=range(50))))
    assert list(refused.rows["outcome"][:50]) == [Outcome.CONNECT_FAILED] * 50
    assert verdicts(judge(refused, SLOS))["error_ratio"] is Verdict.FAIL
    assert verdicts(judge(read(file(k6(status="503"))), SLOS))["error_ratio"] is Verdict.FAIL


def test_what_it_cannot_prove_is_inconclusive(file):
    closed = judge(read(file(k6())), SLOS)
    assert verdicts(closed) == {"latency": Verdict.INCONCLUSIVE, "error_ratio": Verdict.PASS}
    assert "nobody knows how much more had no user waited for a response" in closed[0].reason
    left_out = judge(read(file(hey())), SLOS)
    assert set(verdicts(left_out).values()) == {Verdict.INCONCLUSIVE}
    assert "hey leaves requests without a response out of it" in left_out[1].reason
    few = judge(read(file(vegeta_csv(n=20))), SLOS)
    assert set(verdicts(few).values()) == {Verdict.INCONCLUSIVE}
    up = Slos.model_validate({"availability": {"target": "99%"}})
    assert verdicts(judge(read(file(vegeta_csv())), up)) == {"availability": Verdict.INCONCLUSIVE}


WRONG = {
    "of no tool": (["hello"], ":1: is none of vegeta's CSV"),
    "JSON of something else": (['{"a": 1}'], ":1: is none of vegeta's CSV"),
    "empty": ([""], ":1: is none of"),
    "cut short": ([*vegeta_csv(2), "17000000000,2"], ":3: is no request: not enough values"),
    "no number": ([*hey(1), "0.1,x,0,0,0,0,abc,0.1"], ":3: is no request: invalid literal"),
    "no time": ([*hey(1), "nan,0,0,0,0,0,200,nan"], ":3: is no request: a time or a status is none"),
    "without its value": (['{"type": "Point", "metric": "http_req_duration", "data": {}}'], ":1: is no request: value"),
    "no request": (['{"type": "Metric", "metric": "x", "data": {}}'], "holds no request, though it looks like the"),
}


@pytest.mark.parametrize("lines, says", WRONG.values(), ids=WRONG)
def test_what_is_no_result_is_one_sentence(file, lines, says):
    with pytest.raises(UsageError) as raised:
        read(file(lines))
    assert says in str(raised.value)


def test_the_command(file, tmp_path, capsys):
    slos = tmp_path / "slos.yaml"
    slos.write_text("slos: {error_rate: {target: 1%}}")
    assert main(["judge", "--requests", str(file(vegeta_csv())), "--slos", str(slos)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("PASS  1,000 requests of vegeta\n  PASS          error_ratio: 0 % of 1,000 requests failed")
    assert "remark: how late each request was sent is not in it" in out
    assert main(["judge", "--requests", str(tmp_path / "none"), "--slos", str(slos)]) == 2
