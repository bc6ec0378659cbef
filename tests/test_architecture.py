"""docs/architecture.md has a line for every file of the harness, and none for a file that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_lists_every_file_and_no_other():
    page = (ROOT / "docs/architecture.md").read_text()
    listed = re.findall(r"^\| `([\w/]+\.py)` \|", page, re.MULTILINE)
    there = [str(p.relative_to(ROOT / "harness")) for p in (ROOT / "harness").rglob("*.py")]
    wanted = {name for name in there if (ROOT / "harness" / name).stat().st_size and "__main__" not in name}
    assert len(listed) == len(set(listed)) and set(listed) == wanted - {"__init__.py"}


def test_every_path_that_the_page_names_exists():
    page = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`((?:harness|tests|docs|experiments)/[\w/.-]+|(?:\w+/)+\w+\.py)`", page))
    missing = {n for n in named if not (ROOT / n).exists() and not (ROOT / "harness" / n).exists()}
    assert named and missing == {"harness/checks/NAME.py", "harness/faults/NAME.py"}  # which the reader writes
