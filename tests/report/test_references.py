"""Each kind of reference is found again in a run's folder and said as lines that no terminal is tricked by."""

import json
import math

import numpy as np
import pytest

from harness.eventlog import Event
from harness.history import ROW, History, Notification, Outcome, ProbeAnswer, Series
from harness.report.references import LONGEST, SERIES_AT_MOST, References
from harness.verdict import Reference

ID = "f7519b43bb3161220000000000651000"
HOSTILE = "\x1b[2J\n\u202egone\x00"
T0 = 1_795_464_663.0


def rows():
    made = np.zeros(3, ROW)
    made["seq"], made["intended"] = [0, 1, 2], T0 + np.arange(3)
    made["sent"], made["first_byte"], made["done"] = made["intended"] + 0.002, made["intended"] + 0.3, T0 + 1.5
    made["status"], made["expected"], made["predicted"], made["probability"] = 200, 1, 0, 0.25
    made["request_id"] = [b"other", ID.encode(), b""]
    made["outcome"][2], made["status"][2], made["sent"][2] = Outcome.CONNECT_FAILED, 0, np.nan
    return made


RECORD = History(
    events=[
        Event(T0 - 5, "run", "phase", detail={"phase": "steady", "edge": "begin"}),
        Event(T0 + 1, "fault", "kill", "fail", 0.25, detail={"edge": "start", "id": "f1", "problem": HOSTILE}),
        Event(T0 + 30, "run", "phase", detail={"phase": "steady", "edge": "end"}),
    ],
    rows={"load": rows()},
    probes=[
        ProbeAnswer(T0 + n, "readiness", n < 2, 200 if n < 2 else 503, 0.01, "" if n < 2 else HOSTILE, decision)
        for n, decision in enumerate(["", "", "", "unready"])
    ],
    notifications=[
        Notification(T0 + 2, "pager", "webhook", "firing", ("Down",), ("no key",), HOSTILE, ({"alertname": "Down"},))
    ],
    series=[
        Series({"__name__": "up", "job": "svc"}, [T0 + n / 4 for n in range(40)], [1.0] * 20 + [0.0] * 20),
        *(Series({"__name__": "ALERTS", "alertname": f"A{n}"}, [T0], [1.0]) for n in range(SERIES_AT_MOST + 2)),
    ],
)


@pytest.fixture
def said(tmp_path):
    (tmp_path / "logs").mkdir()
    line = {"timestamp": "10:00", "level": "INFO", "message": "done", "request_id": ID, "context": {"class": HOSTILE}}
    (tmp_path / "logs" / "server.log").write_text(f"no JSON {HOSTILE}\n{json.dumps(line)}\n")
    (tmp_path / "logs" / "empty.log").touch()
    known = {("audit", ID): ["an audit record"], ("span", ID): [f"a span {HOSTILE}"]}
    references = References(tmp_path, RECORD, lambda kind, key: known.get((kind, key), []))

    def lines(*reference):
        found = references.lines(Reference(*reference))
        assert found and all(c.isprintable() for line in found for c in line)
        assert all(len(line) <= LONGEST + 2 for line in found)
        return found

    return lines


def test_a_row_is_said_with_what_the_service_has_of_its_request(said):
    first, *more = said("row", ID, T0 + 1, T0 + 1.5)
    assert first.startswith(
        "row load 1, steady +6.000 s, step 0, ok, status 200, took 500 ms, sent 2 ms late, first byte"
    )
    assert "class 0 of expected 1 (wrong), probability 0.25" in first and first.endswith(f"id {ID}")
    assert more == [
        "  logs/server.log: 10:00 INFO done class=\N{REPLACEMENT CHARACTER}[2J \N{REPLACEMENT CHARACTER}gone"
        "\N{REPLACEMENT CHARACTER}",
        "  audit: an audit record",
        "  span: a span \N{REPLACEMENT CHARACTER}[2J \N{REPLACEMENT CHARACTER}gone\N{REPLACEMENT CHARACTER}",
    ]


def test_a_row_without_an_id_is_found_by_its_moment(said):
    (line,) = said("row", "", T0 + 2, T0 + 1.5)
    assert "connect failed" in line and "never sent" in line and line.endswith("id none")


def test_samples_are_said_where_the_value_changes(said):
    (line,) = said("sample", 'up{job="svc"}', T0, T0 + 9.75)
    assert line.startswith('sample up{job="svc"}: 40 samples, from steady +5.000 s on: +0.000 s: 1, ')
    assert "+5.000 s: 0" in line and line.endswith("+9.750 s: 0")
    (line,) = said("sample", "up{}", T0 + 0.25, T0 + 2)
    assert line.endswith("8 samples, 1 from steady +5.250 s to steady +7.000 s")
    (line,) = said("sample", "up{}", T0 + 5, T0 + 5)
    assert ": 5 samples, " in line, "around a moment"
    *some, more = said("sample", "ALERTS")
    assert len(some) == SERIES_AT_MOST and more == "  and 2 more series of ALERTS"


@pytest.mark.parametrize("key", ["nothing", 'up{job="x"}', "up{", HOSTILE])
def test_samples_that_are_not_there_are_said_to_be_missing(said, key):
    (line,) = said("sample", key, T0, T0 + 1)
    assert "none is stored" in line or "not stored in this run" in line


def test_a_notification_an_event_and_probe_answers(said):
    first, *more = said("notification", "pager", T0 + 2)
    assert first == "notification to pager by webhook, steady +7.000 s: firing: Down"
    assert more[:2] == ["  problem: no key", '  {alertname="Down"}']
    (line,) = said("event", "fault kill", T0 + 1, T0 + 1)
    assert line.startswith("event fault kill fail, steady +6.000 s, took 250 ms: edge start, id f1, problem ")
    found = said("probe", "server readiness", T0 + 1, T0 + 3)
    assert [line.partition(",")[0] for line in found] == ["probe readiness of server"] * 3
    assert found[0].endswith("status 200 after 10 ms") and found[2].endswith("so it was unready")


@pytest.mark.parametrize("kind", ["row", "log", "audit", "record", "span", "notification", "event", "probe"])
def test_what_is_not_there_is_said_to_be_missing(said, kind):
    (line,) = said(kind, f"no such {HOSTILE}", T0 + 500)
    assert "not stored in this run" in line and line.startswith(kind)
    assert "UTC" in line, "outside of any phase"
    (line,) = said(kind, "none", math.nan)
    assert line == f"{kind} none: not stored in this run"


def test_log_lines_audit_records_and_spans_by_their_own_references(said):
    assert said("log", ID)[0].startswith("logs/server.log: 10:00 INFO done")
    assert said("audit", ID) == [f"audit {ID}: an audit record"]
