"""A gate ended by a signal, after a while, and what was left of it then."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from small_project import Project, leftovers

from harness.eventlog import events_of
from harness.history import History
from harness.stack.ledger import Ledger

HEALED_WITHIN_S = 5.0


def interrupt(folder: Path, after_s: float, signum: int, under_load: bool = False) -> dict:
    """Run a gate that crashes and hangs its server, signal it after a while, or that long after its load has begun, and
    say what was left of it when."""
    project = Project(folder)
    project.plan(["server-hang", "server-crash"], checks=["contracts"], for_s=4)
    with open(folder / "out", "w") as out:
        gate = subprocess.Popen([sys.executable, "-m", "harness.cli", "gate"], cwd=folder, stdout=out, stderr=out)
        while under_load and gate.poll() is None and not load_began(folder):
            time.sleep(0.05)
        time.sleep(after_s)
        ran = gate.poll() is None
        gate.send_signal(signum)
        signalled = time.monotonic()
        gate.wait(60)
        ended_s = time.monotonic() - signalled
    while leftovers(folder) and time.monotonic() - signalled < 30:
        time.sleep(0.05)
    clean_s = time.monotonic() - signalled
    runs = [p for p in (folder / "runs").glob("*") if p.name != "up"] if (folder / "runs").exists() else []
    while any((run / "owner.json").exists() for run in runs) and time.monotonic() - signalled < 30:
        time.sleep(0.05)  # the watchdog's last act
    problems = []
    if left := leftovers(folder):
        problems.append(f"left running: {left}")
    if clean_s - (ended_s if signum != signal.SIGKILL else 0) > HEALED_WITHIN_S:
        problems.append(f"healed after {clean_s:.1f} s")
    if ran and signum != signal.SIGKILL and gate.returncode != 130:
        problems.append(f"exit code {gate.returncode}: {(folder / 'out').read_text()[-500:]}")
    phase = "before the run"
    for run in runs:
        if entries := Ledger(run).open():
            problems.append(f"faults still on: {[e.kind for e in entries]}")
        history = History.read(run)
        phase = next((f"{e.source} {e.name} {e.detail.get('phase', '')}" for e in reversed(history.events)), "start")
        judged = subprocess.run(
            [sys.executable, "-m", "harness.cli", "check", str(run)], cwd=folder, capture_output=True, text=True
        )
        if judged.returncode not in ((3,) if ran else (0, 1, 3)):
            problems.append(f"check ended with {judged.returncode}: {judged.stderr[-300:]}")
    return {"ended_s": ended_s, "clean_s": clean_s, "last": phase, "problems": problems, "ran": ran}


def load_began(folder: Path) -> bool:
    events = [e for file in folder.glob("runs/*/events.jsonl") for e in events_of(file.parent)]
    return any((e.source, e.name) == ("load", "started") for e in events)
