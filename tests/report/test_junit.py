import io
from xml.etree import ElementTree as ET

import pytest
from told import EMPTY, GREEN, HOSTILE, RED, REMARKED, UNCLEAR

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
