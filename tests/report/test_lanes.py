"""The timeline: one grid, exact figures, at most some thousand points whatever there is."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from made_run import FAULT, T0, make, rows

from harness.history import History, Outcome
from harness.report.lanes import POINTS, lanes
from harness.report.stored import Stored, read


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return lanes(read(make(tmp_path_factory.mktemp("runs") / "a")))


def line(found, chart: str, name: str) -> list:
    lines = next(c for c in found["charts"] if c["id"] == chart)["series"]
    return next(one for one in lines if one["name"] == name)["values"]


def row(found, name: str) -> dict:
    return next(r for r in found["rows"] if r["name"] == name)


def test_all_lines_are_on_one_grid(found):
    assert {len(one["values"]) for chart in found["charts"] for one in chart["series"]} == {len(found["x"])}
    assert [c["id"] for c in found["charts"]] == [
        "rate", "latency", "errors", "queue", "memory", "processors", "replicas", "generator"
    ]  # fmt: skip


def test_arrivals_goodput_and_latency_are_those_of_the_rows(found):
    at = int(30 / found["step"])
    during = int((FAULT[0] - T0 + 5) / found["step"])
    assert line(found, "rate", "arrivals")[at] == 20 == line(found, "rate", "goodput")[at]
    assert (line(found, "rate", "arrivals")[during], line(found, "rate", "goodput")[during]) == (20, 0)
    assert line(found, "errors", "refused by service")[during] == 20
    assert line(found, "latency", "p50")[at] == pytest.approx(14) and line(found, "latency", "p99")[
        at
    ] == pytest.approx(19)
    assert line(found, "latency", "p50")[during] is None  # nothing was answered well
    assert set(line(found, "latency", "bound p95")) == {500.0}


def test_a_fault_an_alert_its_bounds_and_its_messages_have_their_times(found):
    assert [(f["start"], f["end"], f["witnessed"]) for f in found["faults"]] == [(60, 75, True)]
    alert = row(found, "Down plain")
    assert [s[:3] for s in alert["spans"]] == [[70, 78.75, "firing"]]
    assert [m[:2] for m in alert["marks"]] == [[72, "notified"], [80, "resolved"]]
    assert [b[:2] for b in alert["bounds"]] == [[60, 68], [60, 75]]  # 8 and 15 min of production, 60 times as quick


def test_an_older_plan_names_its_alerts(tmp_path):
    run = make(tmp_path / "a")
    plan = yaml.safe_load((run / "plan.yaml").read_text())
    for one in (*plan["checks"], *plan["rules"]):
        one |= {"alert": one["alert"]["name"]} if "alert" in one else {}
    plan["checks"] += [{"check": "alert_fires", "alert": 7}, {"check": "alert_fires", "alert": {}}, "text"]
    (run / "plan.yaml").write_text(yaml.safe_dump(plan))
    alert = row(lanes(read(run)), "Down plain")
    assert [b[:2] for b in alert["bounds"]] == [[60, 68], [60, 75]] and alert["severity"] == "plain"


def test_probes_decisions_restarts_and_generators_have_lanes(found):
    probe = row(found, "plain liveness")
    assert [s[2] for s in probe["spans"]] == ["ok", "bad", "ok"] and [m[1] for m in probe["marks"]] == ["restart"]
    assert [m[0] for m in row(found, "plain")["marks"]] == [62]
    assert row(found, "load")["spans"][0][:3] == [0, 120, "ok"]


def test_a_million_requests_are_no_more_points(found, tmp_path):
    many = Stored(tmp_path, History(rows={"load": rows(1_000_000, 86_400.0)}), {}, {})
    made = lanes(many)
    assert len(made["x"]) <= POINTS + 1
    assert len(json.dumps(made, separators=(",", ":"))) < 400_000
    assert sum(v or 0 for v in line(made, "rate", "arrivals")) * made["step"] == pytest.approx(1_000_000, rel=1e-3)


@pytest.mark.parametrize("history", [History(), History(rows={"load": rows(0)})], ids=["nothing", "no rows"])
def test_nothing_recorded_is_an_empty_timeline(history, tmp_path):
    assert lanes(Stored(tmp_path, history, {}, {}))["x"] == []


def test_rows_with_impossible_times_are_left_out(tmp_path):
    some = rows(100)
    some["done"][3], some["intended"][4], some["sent"][5] = np.inf, np.nan, np.nan
    stored = Stored(tmp_path, History(rows={"load": some}), {}, {})
    assert json.dumps(lanes(stored), allow_nan=False)
    assert lanes(replace(stored, history=History(rows={"load": some[:1]})))["x"]


@pytest.mark.parametrize(("outcome", "shown"), [(Outcome.UNSENT, True), (Outcome.CONNECT_FAILED, False)])
def test_only_what_the_generator_could_not_send_counts_against_it(outcome, shown, tmp_path):
    some = rows(100)
    some["outcome"][50], some["sent"][50] = outcome, np.nan
    made = lanes(Stored(tmp_path, History(rows={"load": some}), {}, {}))
    generator = next(c for c in made["charts"] if c["id"] == "generator")
    assert ("unsent, /s" in [one["name"] for one in generator["series"]]) is shown
