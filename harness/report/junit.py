"""junit.xml: the verdict for CI servers. FAIL is a <failure>, INCONCLUSIVE an <error>: neither counts as passed."""

from __future__ import annotations

import re
from typing import TextIO
from xml.etree import ElementTree as ET

from harness.report.summary import Summary, printable, utc
from harness.verdict import Verdict

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KIND = {Verdict.FAIL: "failure", Verdict.INCONCLUSIVE: "error"}


def write(summary: Summary, out: TextIO) -> None:
    """Write one test suite with a test case for each result, causes first, named by check and subject."""
    lacking = summary.not_applicable
    total = {
        "tests": str(len(summary.results) + len(lacking)),
        "failures": str(len(summary.of(Verdict.FAIL))),
        "errors": str(len(summary.of(Verdict.INCONCLUSIVE))),
        "skipped": str(len(lacking)),
        "time": f"{summary.ended - summary.started:.3f}",
    }
    root = ET.Element("testsuites", {"name": "harness gate", **total})
    suite = ET.SubElement(
        root, "testsuite", {"name": _xml(summary.service), **total, "timestamp": utc(summary.started)}
    )
    if not summary.results:  # consumers read an empty suite as success; nothing judged is not a success
        for element in (root, suite):
            element.attrib |= {"tests": str(1 + len(lacking)), "errors": "1"}
        nothing = ET.SubElement(suite, "testcase", {"classname": "gate", "name": "anything judged", "time": "0"})
        ET.SubElement(nothing, "error", {"type": "INCONCLUSIVE", "message": "nothing was judged"})
    for result in summary.ordered:
        about = {"classname": _xml(result.check), "name": _xml(result.subject), "time": "0"}
        case = ET.SubElement(suite, "testcase", about)
        if result.verdict is Verdict.PASS:
            ET.SubElement(case, "system-out").text = _xml(result.reason)
            continue
        kind = {"type": result.status or result.verdict.name, "message": _xml(result.reason)}
        said = [result.reason, result.remedy and f"next: {result.remedy}", result.place and f"at {result.place}"]
        ET.SubElement(case, _KIND[result.verdict], kind).text = "\n".join(_xml(s) for s in said if s)
    for each in lacking:
        about = {"classname": "not applicable", "name": _xml(each.experiment), "time": "0"}
        ET.SubElement(
            ET.SubElement(suite, "testcase", about),
            "skipped",
            {"message": _xml(f"this host lacks {each.reason}; {each.remedy}")},
        )
    if played := [name for name, one in summary.alerts.items() if one.get("simulated")]:
        ET.SubElement(suite, "system-out").text = _xml(f"simulated: {', '.join(played)}")
    if summary.remarks:
        ET.SubElement(suite, "system-out").text = "\n".join(f"remark: {_xml(remark)}" for remark in summary.remarks)
    ET.indent(root)
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    out.write(ET.tostring(root, encoding="unicode") + "\n")


def _xml(text: str) -> str:
    """Text that XML 1.0 can hold, on one line."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", printable(text))
