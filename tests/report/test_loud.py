"""Warnings and errors of logs, found by phase in logs of any size."""

import json

import pytest

from harness.history import Window
from harness.report import loud as module
from harness.report.loud import LINES_AT_MOST, loud

AT = 1_795_464_663.0  # 2026-11-23T20:11:03Z
WINDOWS = {"steady": Window(AT, AT + 10), "crash": Window(AT + 8, AT + 20)}


def line(second: int, level: str = "ERROR") -> str:
    return json.dumps(
        {"timestamp": f"2026-11-23T20:11:{second:02}Z", "level": level, "message": "it broke", "n": second}
    )


@pytest.fixture
def log(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "server.log"


@pytest.mark.parametrize("at_once", [7, 100, 8 << 20])
def test_each_line_is_found_whatever_is_read_at_once(log, at_once, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    quiet = line(5, "INFO").replace("broke", "had no error")
    log.write_text("\n".join([line(4), quiet, line(12, "WARNING"), "no time ERROR", line(30), line(9)]))
    lines, counts = loud(log.parents[1], WINDOWS)
    assert counts == {"steady": 3, "crash": 1}
    assert [one.split()[1] for one in lines["steady"]] == [f"2026-11-23T20:11:{n:02}Z" for n in (4, 9, 12)]


def test_of_many_lines_some_are_shown_and_all_are_counted(log):
    log.write_text("\n".join(line(4) for _ in range(1000)))
    lines, counts = loud(log.parents[1], WINDOWS)
    assert (len(lines["steady"]), counts["steady"]) == (LINES_AT_MOST, 1000)


@pytest.mark.parametrize("said", [b"\xff\xfe ERROR", b"[" * 5000, b"2026-99-99T99:99:99Z ERROR", b""])
def test_a_strange_log_hides_no_other(log, said):
    log.write_bytes(said)
    log.with_name("z.log").write_text(line(4))
    log.with_name("a.log").mkdir()
    lines, counts = loud(log.parents[1], WINDOWS)
    assert counts["steady"] == 1 and lines["steady"][0].startswith("z.log: ")


def test_colours_and_control_characters_are_not_shown(log):
    log.write_text("\x1b[31m[2026-11-23 20:11:04+00:00 ERROR]\x1b[0m gone\x07\n")
    assert loud(log.parents[1], WINDOWS)[0]["steady"] == ["server.log: [2026-11-23 20:11:04+00:00 ERROR] gone\ufffd"]
