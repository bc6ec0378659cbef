"""Who adds a check writes one file and one line of the table, and a table for its test; nothing else is touched."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = '''
"""Throughput: how much the service gets done."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from harness.checks.check import Check
from harness.checks.evidence import phase, sent
from harness.checks.parameters import Parameters, Phase
from harness.checks.view import STEADY
from harness.history import History
from harness.verdict import Result, Verdict


@dataclass(frozen=True)
class Throughput(Check):
    """So many requests a second are answered."""

    phase: str
    at_least_per_s: float
    generator: str = "load"
    kind: ClassVar[str] = "throughput"

    class Parameters(Parameters):
        at_least_per_s: float = Field(alias="at_least", gt=0)
        phase: Phase = STEADY

    @property
    def subject(self) -> str:
        return f"{self.phase}: throughput"

    def judge(self, history: History) -> Result:
        window = phase(history, self.phase)
        rate = len(sent(history, window, self.generator)) / window.length
        verdict = Verdict.PASS if rate >= self.at_least_per_s else Verdict.FAIL
        reason = f"{rate:.3g}/s, bound {self.at_least_per_s:g}/s"
        remedy = "" if verdict is Verdict.PASS else "give it more processor"
        return self.result(verdict, reason, measured=rate, bound=self.at_least_per_s, unit="per s", remedy=remedy)
'''
TEST = """
from handmade import FAIL, INCONCLUSIVE, PASS, expect, history, phase, rows, table
from harness.checks import CHECKS

BUSY = CHECKS["throughput"]("steady", 50)
CASES = [
    ("enough", BUSY, history(phase("steady", 0, 30), rows={"load": rows(1800)}), PASS, "60/s, bound 50/s"),
    ("too little", BUSY, history(phase("steady", 0, 60), rows={"load": rows(1800)}), FAIL, "30/s, bound 50/s"),
    ("nothing", BUSY, history(phase("steady", 0, 30)), INCONCLUSIVE, "no request of 'load'"),
]


@table(CASES)
def test_throughput(check, record, verdict, says):
    expect(check, record, verdict, says)
"""
PLANNED = """
from pathlib import Path
from harness.plan import plan, stored

made = plan.load(Path("gate.yaml"))
(mine,) = [check for check in made.checks if check.kind == "throughput"]
Path("plan.yaml").write_text(stored.dump(made.resolved()))
assert mine in stored.stored_checks(Path())[0] and mine.at_least_per_s == 90, mine
"""


@pytest.fixture
def copy(tmp_path):
    """The harness with the stranger's file, line and test table, and the bundled plan that names the check."""
    for name in ("harness", "tests/checks", "model_server/monitoring", "experiments", "scenarios"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", str(ROOT / name), str(tmp_path / name)], check=True)
    for name in ("gate.yaml", "model_server/service.yaml", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "harness/checks/throughput.py").write_text(FILE.lstrip())
    (tmp_path / "tests/checks/test_throughput.py").write_text(TEST)
    table = tmp_path / "harness/checks/__init__.py"
    line = "from harness.checks.throughput import Throughput\nfrom harness.checks.watchdog"
    text = (
        table.read_text()
        .replace("from harness.checks.watchdog", line)
        .replace("        Latency,\n", "        Latency,\n        Throughput,\n")
    )
    table.write_text(text)
    gate = tmp_path / "gate.yaml"
    gate.write_text(gate.read_text().replace("- quiet ", "- throughput: {at_least: 90}\n- quiet ", 1))
    return tmp_path


def test_a_check_takes_one_file_one_line_and_one_test_table(copy):
    def run(*argv):
        done = subprocess.run(
            [sys.executable, *argv],
            cwd=copy,
            env={"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    run("-c", PLANNED)
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/checks/test_throughput.py", "tests/checks/test_table.py")
