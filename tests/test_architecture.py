"""docs/architecture.md has a line for every file of the harness, which is how the file itself begins."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
HARNESS = ROOT / "harness"
PAGE = (ROOT / "docs/architecture.md").read_text()


def first_sentence(file: Path) -> str:
    begin = " ".join((ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")[0].split())
    return re.sub(r"(?<=[^.])\.( [A-Z].*)?$", "", begin)


def test_the_page_lists_every_file_as_it_describes_itself():
    listed = dict(re.findall(r"^\| `([\w/]+\.py)` \| (.*) \|$", PAGE, re.MULTILINE))
    files = [file for file in HARNESS.rglob("*.py") if file.stat().st_size and file.name != "__main__.py"]
    wanted = {str(file.relative_to(HARNESS)): first_sentence(file) for file in files if file.parent != HARNESS}
    wanted |= {file.name: first_sentence(file) for file in files if file.parent == HARNESS and file.name[0] != "_"}
    assert listed == wanted


def test_every_path_that_the_page_names_exists():
    named = set(re.findall(r"`((?:harness|tests|docs|experiments)/[\w/.-]+|(?:\w+/)+\w+\.py)`", PAGE))
    missing = {name for name in named if not (ROOT / name).exists() and not (HARNESS / name).exists()}
    assert named and missing == {"harness/checks/NAME.py", "harness/faults/NAME.py"}  # which the reader writes
