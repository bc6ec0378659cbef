import io
import json as plain
from dataclasses import replace

import jsonschema
import pytest
from told import EMPTY, GREEN, HOSTILE, LACKING, PLAYED, RED, REMARKED, THROTTLED, UNCLEAR

from harness.report import json

SCHEMA = plain.loads(json.SCHEMA.read_text())


def written(summary) -> dict:
    out = io.StringIO()
    json.write(summary, out)
    out.getvalue().encode()  # what cannot be encoded cannot be stored
    return plain.loads(out.getvalue(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize(
    "summary", [RED, GREEN, UNCLEAR, EMPTY, HOSTILE], ids=["red", "green", "unclear", "empty", "hostile"]
)
def test_results_json_is_valid_by_its_schema(summary):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(written(summary), SCHEMA)


@pytest.mark.parametrize(
    ("summary", "verdict", "code"),
    [(RED, "FAIL", 1), (GREEN, "PASS", 0), (UNCLEAR, "INCONCLUSIVE", 3), (EMPTY, "INCONCLUSIVE", 3)],
    ids=["a failure is red", "all passed is green", "an unclear one is unclear", "nothing judged is unclear"],
)
def test_the_verdict_is_the_worst_of_the_results(summary, verdict, code):
    document = written(summary)
    assert (document["verdict"], document["exit_code"]) == (verdict, code)


def test_remarks_change_no_verdict():
    assert written(REMARKED) == written(GREEN) | {"remarks": list(REMARKED.remarks)}
    assert written(GREEN)["remarks"] == []


def test_it_holds_what_was_measured_and_when():
    document = written(RED)
    assert document["started"] == "2026-11-23T20:11:03.125Z"
    assert document["results"][0] == {
        "check": "latency", "subject": "steady: latency p95", "verdict": "PASS", "measured": 212.0, "bound": 500.0,
        "unit": "ms", "reason": "p95 212 ms of 4,650 requests, bound 500 ms", "status": "", "place": "", "remedy": "",
        "evidence": [],
    }  # fmt: skip
    assert document["alerts"]["ServiceDown"]["firing_s"] == 75
    assert document["coverage"] == {"critical": {"proven": 1, "applicable": 1}, "high": {"proven": 0, "applicable": 1}}


def test_what_a_stand_in_played_and_what_could_not_take_place_are_named():
    document = written(PLAYED)
    assert document["alerts"]["GpuLost"]["simulated"] is True and document["coverage"]["high"]["simulated"] == 1
    lacking = written(LACKING)
    assert lacking["not_applicable"] == [THROTTLED._asdict() | {"alerts": ["SlowAnswers"]}]
    assert "cpu-throttled cannot run here" in lacking["alerts"]["SlowAnswers"]["not_run"]


def test_a_figure_that_is_not_finite_is_null():
    assert {r["measured"] for r in written(HOSTILE)["results"]} == {None}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(verdict="OK"),
        lambda d: d.update(surprise=1),
        lambda d: d.pop("alerts"),
        lambda d: d["results"][0].pop("reason"),
        lambda d: d["results"][0].update(measured="fast"),
        lambda d: d["alerts"]["ServiceDown"].update(status="FINE"),
        lambda d: d.update(started=1795464663),
    ],
    ids=["a verdict", "an unknown key", "a missing key", "a result's key", "a figure", "a status", "a moment"],
)
def test_the_schema_refuses_what_is_not_the_form(spoil):
    document = written(RED)
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_every_status_a_check_can_give_is_in_the_schema():
    from harness.checks import alert_coverage

    known = SCHEMA["properties"]["alerts"]["additionalProperties"]["properties"]["status"]["enum"]
    said = alert_coverage.statuses.__doc__.replace(",", " ").replace(".", " ").split()
    assert set(known) == {word for word in said if word.isupper() and len(word) > 1}


def test_numbers_of_numpy_are_plain_numbers():
    import numpy as np

    spoiled = replace(RED, results=(replace(RED.results[0], measured=np.float64(1.5)),), lag_p99_ms=np.float32(2))
    assert written(spoiled)["results"][0]["measured"] == 1.5
