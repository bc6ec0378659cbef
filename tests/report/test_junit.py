import io
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from told import EMPTY, GREEN, HOSTILE, LACKING, PLAYED, RED, REMARKED, UNCLEAR

from harness.report import junit


def written(summary) -> ET.Element:
    out = io.StringIO()
    junit.write(summary, out)
    return ET.fromstring(out.getvalue().encode())


@pytest.mark.parametrize(
    ("summary", "tests", "failures", "errors"),
    [(RED, 4, 1, 1), (GREEN, 2, 0, 0), (UNCLEAR, 2, 0, 1), (HOSTILE, 3, 1, 1), (EMPTY, 1, 0, 1)],
    ids=["red", "green", "unclear", "hostile", "nothing judged is an error"],
)
def test_a_consumer_that_counts_elements_and_one_that_reads_totals_agree(summary, tests, failures, errors):
    root = written(summary)
    counted = tuple(len(list(root.iter(tag))) for tag in ("testcase", "failure", "error"))
    assert counted == (tests, failures, errors)
    for element in (root, root.find("testsuite")):
        assert tuple(int(element.get(k)) for k in ("tests", "failures", "errors")) == counted


def test_remarks_are_output_of_the_suite_and_count_as_nothing():
    suite = written(REMARKED).find("testsuite")
    assert suite.find("system-out").text.splitlines()[1] == "remark: sham: Odd fired, and in none of 8 earlier runs"
    assert suite.attrib == written(GREEN).find("testsuite").attrib


def test_what_a_stand_in_played_is_output_of_the_suite():
    assert [out.text for out in written(PLAYED).find("testsuite").findall("system-out")] == ["simulated: GpuLost"]


def test_an_experiment_that_could_not_take_place_is_skipped_and_not_passed():
    suite = written(LACKING).find("testsuite")
    assert (suite.get("tests"), suite.get("skipped"), len(list(suite.iter("testcase")))) == ("3", "1", 3)
    (case,) = [case for case in suite.iter("testcase") if case.find("skipped") is not None]
    assert case.get("name") == "cpu-throttled"
    assert case.find("skipped").get("message").endswith("cgroup_cpu (no cgroup may be made); run it as root")
    nothing = written(replace(LACKING, results=())).find("testsuite")  # nothing judged is no success either
    assert (nothing.get("tests"), nothing.get("errors"), nothing.get("skipped")) == ("2", "1", "1")


def test_a_failure_says_why_what_to_do_and_where():
    failure = next(written(RED).iter("failure"))
    assert failure.get("type") == "SILENT"
    assert failure.get("message").startswith("the production rule never fired in 22 min")
    assert "next: compare the rule's expression" in failure.text and "service.yaml:41" in failure.text


def test_every_case_has_a_name_of_its_own():
    cases = [(c.get("classname"), c.get("name")) for c in written(RED).iter("testcase")]
    assert len(set(cases)) == len(cases) == 4


def test_hostile_text_arrives_as_text():
    message = next(written(HOSTILE).iter("failure")).get("message")
    assert '<a href="x">&amp; ]]>' in message and "日本" in message and "\x1b" not in message
