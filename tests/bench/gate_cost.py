"""What the gate costs: time to a ready stack, its whole length, and the harness's own processor and memory.

    python tests/bench/gate_cost.py [TIMES]

Own processes: the command itself, its watchdog, its receivers and the Chaos Toolkit children; not the generator,
Prometheus, Alertmanager or the service. Run from the repository's folder on a quiet machine.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
OWN = ("harness.cli", "harness.stack.watchdog", "harness.stack.sinks", "harness.chaos.runner", "bin/harness")
OTHER = {
    "locust": "generator",
    "prometheus.yaml": "Prometheus",
    "alertmanager.yaml": "Alertmanager",
    "model_server": "service",
}


def sample(pid: int) -> dict[int, tuple[str, float, float]]:
    """pid -> (what it is, processor seconds so far, resident MB) of a command and all below it."""
    found, parents = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            what = next((name for part, name in OTHER.items() if part in line), None)
            what = what or ("harness" if any(part in line for part in OWN) else "other")
            cpu = (int(fields[11]) + int(fields[12])) / TICKS
            found[int(entry.name)] = (what, cpu, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6)

    def below(child: int) -> bool:
        while child in parents and child != pid:
            child = parents[child]
        return child == pid

    return {child: facts for child, facts in found.items() if below(child)}


def processor() -> tuple[int, int]:
    """Ticks of all processors since boot, and those the host took away."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks), ticks[7]


def once() -> dict[str, float]:
    """One `harness gate`: seconds, shares of one core and MB."""
    began, began_cpu = time.monotonic(), processor()
    argv = [sys.executable, "-m", "harness.cli", "gate"]
    gate = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cpu: dict[int, tuple[str, float]] = {}
    peak: dict[str, float] = {}
    while gate.poll() is None:
        now = sample(gate.pid)
        for pid, (what, seconds, _) in now.items():
            cpu[pid] = (what, seconds)
        for name in {what for what, _, _ in now.values()}:
            peak[name] = max(peak.get(name, 0), sum(mb for what, _, mb in now.values() if what == name))
        time.sleep(0.5)
    length = time.monotonic() - began
    run = max(p for p in Path("runs").iterdir() if p.name != "up")
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    (cpu_all, cpu_stolen), (end_all, end_stolen) = began_cpu, processor()
    figures = {
        "exit code": gate.returncode,
        "processor taken by the host, %": 100 * (end_stolen - cpu_stolen) / (end_all - cpu_all),
        "stack ready, s": next(e[4] for e in events if e[1:3] == ["stack", "ready"]),
        "whole gate, s": length,
    }
    for name in ("harness", "generator", "Prometheus", "Alertmanager", "service"):
        figures[f"{name}: % of one core"] = 100 * sum(s for what, s in cpu.values() if what == name) / length
        figures[f"{name}: peak MB"] = peak.get(name, 0)
    return figures


def main(times: int) -> None:
    runs = []
    for i in range(times):
        runs.append(once())
        print(f"run {i + 1}: " + ", ".join(f"{k} {v:.1f}" for k, v in list(runs[-1].items())[:4]), flush=True)
    print(f"| figure | median of {times} | least | most |\n|---|---|---|---|")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"| {name} | {statistics.median(values):.1f} | {min(values):.1f} | {max(values):.1f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
