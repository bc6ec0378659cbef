import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from told import EMPTY, GREEN, HOSTILE, LACKING, LATENCY, PLAYED, RED, REMARKED, SILENT, THROTTLED, UNCLEAR

from harness.report import junit, text
from harness.verdict import Verdict


def written(summary, **how) -> str:
    out = io.StringIO()
    text.write(summary, out, **how)
    return out.getvalue()


@pytest.mark.parametrize("name", ["red", "green", "remarked", "unclear", "empty"])
def test_the_report_reads_as_its_golden_file(name):
    summary = {"red": RED, "green": GREEN, "remarked": REMARKED, "unclear": UNCLEAR, "empty": EMPTY}[name]
    assert written(summary) == Path(__file__).with_name(f"{name}.txt").read_text()


def test_what_a_stand_in_played_is_counted_apart():
    assert "alerts proven 2 of 3 (critical 1/1, high 1/2), 1 of them simulated" in written(PLAYED)
    assert "simulated" not in written(GREEN)


def test_an_experiment_that_could_not_take_place_has_a_line_with_what_lacks_and_how_to_get_it():
    report = " ".join(written(LACKING).split())
    said = "cpu-throttled: this host lacks cgroup_cpu (no cgroup may be made); run it as root; not proven: SlowAnswers"
    assert f"NOT-APPLICABLE {said}" in report and "NOT-APPLICABLE" not in written(GREEN)
    assert "not proven" not in written(replace(LACKING, not_applicable=(THROTTLED._replace(alerts=()),)))


def test_the_worst_comes_first_and_every_result_has_its_line():
    marks = re.findall(r"^  (FAIL|\?|PASS) ", written(RED), re.M)
    assert marks == ["FAIL", "?", "PASS", "PASS"]


def test_a_cause_stands_before_what_follows_from_it():
    made = [
        replace(LATENCY, check=check, subject=f"x: {check}", verdict=verdict, remedy="mend it")
        for verdict in (Verdict.INCONCLUSIVE, Verdict.FAIL)
        for check in ("alert_fires", "clients", "injected", "answers", "recorded", "clocks")
    ]
    order = ["injected", "recorded", "clocks", "alert_fires", "clients", "answers"]
    summary = replace(RED, results=tuple(made))
    assert re.findall(r"^  (?:FAIL|\?)  *x: (\w+)", written(summary), re.M) == 2 * order
    suite = io.StringIO()
    junit.write(summary, suite)
    assert re.findall(r'name="x: (\w+)"', suite.getvalue())[:6] == ["injected", "recorded", "clocks"] * 2


@pytest.mark.parametrize("summary", [RED, GREEN, EMPTY, HOSTILE])
def test_no_line_of_the_body_is_wider_than_the_terminal(summary):
    body = [line for line in written(summary).splitlines() if not re.match("  (run|judge|again) ", line)]
    assert max(map(len, body)) <= text.WIDTH


def test_what_a_service_said_cannot_steer_the_terminal():
    report = written(HOSTILE)
    assert all(c.isprintable() or c == "\n" for c in report)
    assert len(re.findall(r"^  (FAIL|\?|PASS) ", report, re.M)) == len(Verdict)


def test_colour_only_if_asked_for():
    assert "\x1b" not in written(RED)
    painted = written(RED, color=True)
    assert painted.startswith("\x1b[1;31mFAIL\x1b[0m") and "\x1b[1;33m?\x1b[0m" in painted
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == written(RED)


@pytest.mark.parametrize(
    ("results", "command"),
    [
        ([SILENT], "harness gate --only overload"),
        ([SILENT, replace(SILENT, subject="sham: probes")], "harness gate --only sham --only overload"),
        ([SILENT, replace(LATENCY, verdict=Verdict.FAIL)], "harness gate"),
        ([LATENCY], "harness gate"),
    ],
    ids=["one experiment failed", "two experiments failed", "the steady load failed too", "nothing failed"],
)
def test_the_command_that_repeats_is_the_shortest_that_would(results, command):
    assert f"  again   {command}\n" in written(replace(RED, results=tuple(results)))
