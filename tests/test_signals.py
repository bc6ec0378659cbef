"""What is stored of a signal comes back whole, or is refused with the file that is damaged."""

import json

import numpy as np
import pytest

from harness import signals
from harness.errors import EvidenceError
from harness.signals import LINE, LINK, SPAN, Signal

ABOUT = {"files": ["signals/spans.otlp"], "counts": {"spans": 2}, "spans": ["POST /predict"], "problem": ""}


def stored(run, **about):
    """Two spans with a link; about: what their file says besides."""
    signals.write(run, "span", Signal(np.zeros(2, SPAN), ABOUT, np.zeros(1, LINK)))
    path = run / "signals/span.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | about))
    return run


def test_it_comes_back(tmp_path):
    found = signals.read(stored(tmp_path))["span"]
    assert (len(found.rows), len(found.links), found.about["spans"]) == (2, 1, ["POST /predict"])


def test_one_that_an_older_harness_stored_is_read(tmp_path):
    path = stored(tmp_path) / "signals/span.json"
    path.write_text(json.dumps(ABOUT))
    assert len(signals.read(tmp_path)["span"].rows) == 2


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"version": 9}, "span.json: is of version 9; this harness reads version 1"),
        ({"counts": None}, "span.json: does not hold what the harness writes there: counts is of another form"),
        ({"files": "signals"}, "files is of another form"),
        ({"verified": {"a": 1}}, "verified is of another form"),
        ({"spans": []}, "span.json: does not name all names that its rows are about"),
        ({"rows": 3}, "span.rows: has 2 rows, and 3 were written"),
        ({"links": 4}, "links.rows: has 1 row, and 4 were written"),
    ],
)
def test_what_is_damaged_is_refused_with_its_file(tmp_path, about, why):
    with pytest.raises(EvidenceError, match=why):
        signals.read(stored(tmp_path, **about))


def test_links_that_are_gone_are_missed(tmp_path):
    (stored(tmp_path) / "signals/links.rows").unlink()
    with pytest.raises(EvidenceError, match=r"links.rows: is missing"):
        signals.read(tmp_path)


def test_lines_of_a_file_that_is_not_named_are_refused(tmp_path):
    rows = np.zeros(1, LINE)
    rows["file"] = 3
    signals.write(tmp_path, "log", Signal(rows, {"files": ["a.log"]}))
    with pytest.raises(EvidenceError, match=r"log.json: does not name all files"):
        signals.read(tmp_path)
