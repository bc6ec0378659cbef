"""Who adds a check writes one file and one line of the table, and a table for its test; nothing else is touched."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from strangers import strangers_checkout

ROOT = Path(__file__).parents[2]
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
    """The stranger's checkout, and the bundled plan that names the check."""
    for name in ("model_server/monitoring", "model_server/weights", "experiments", "scenarios", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("gate.yaml", "model_server/service.yaml", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    gate = tmp_path / "gate.yaml"
    gate.write_text(gate.read_text().replace("- quiet ", "- throughput: {at_least: 90}\n- quiet ", 1))
    return strangers_checkout(tmp_path)


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
