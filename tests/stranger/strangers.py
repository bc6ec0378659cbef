"""A stranger's checkout: for a fault and for a check one file, one line of the table and one table of tests each."""

import shutil
from pathlib import Path

STRANGER = Path(__file__).parent
ROOT = STRANGER.parents[1]


def strangers_checkout(folder: Path) -> Path:
    """Copy the harness into a folder and add the fault `grow` and the check `throughput` to it."""
    for name in ("harness", "tests/checks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(STRANGER / "grow.py", folder / "harness/faults")
    shutil.copy(STRANGER / "throughput.py", folder / "harness/checks")
    shutil.copy(STRANGER / "throughput_cases.py", folder / "tests/checks/test_throughput.py")
    faults, checks = folder / "harness/faults/__init__.py", folder / "harness/checks/__init__.py"
    head, brace, rest = faults.read_text().rpartition("}")
    faults.write_text(f'{head}    "grow": resolve_name("harness.faults.grow:Grow"),\n{brace}{rest}')
    before = "from harness.checks.watchdog"
    text = checks.read_text().replace(before, f"from harness.checks.throughput import Throughput\n{before}")
    checks.write_text(text.replace("        Latency,\n", "        Latency,\n        Throughput,\n", 1))
    return folder
