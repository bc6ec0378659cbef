"""What it costs to merge and judge ten million rows: exact percentiles of each second and step.

    python tests/bench/rows.py [--rows 10000000] [--files 4]

Bounds: 5 s and 1 GB. Each of three rounds is a process of its own; the files lie in the page cache, as after a run.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.history import ROW, rows_in
from harness.report.timeline import timeline


def write(folder: Path, rows: int, files: int) -> None:
    """An hour of requests of three steps over several generators; one in a hundred failed."""
    chance = np.random.default_rng(1)
    for i in range(files):
        n = rows // files
        made = np.zeros(n, ROW)
        made["seq"] = np.arange(n) * files + i
        made["step"] = chance.integers(0, 3, n)
        made["outcome"] = chance.random(n) < 0.01
        made["intended"] = 1.8e9 + np.sort(chance.random(n)) * 3600
        made["sent"] = made["intended"] + chance.exponential(0.0003, n)
        made["done"] = made["sent"] + chance.lognormal(-4, 0.6, n)
        made.tofile(folder / f"requests-{i}.rows")


def judge(folder: Path) -> None:
    began, cpu = time.monotonic(), time.process_time()
    moments = timeline(rows_in(sorted(folder.glob("requests-*.rows"))))
    took_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(took_s, cpu_s, peak_mb, int(moments["requests"].sum()), len(moments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.judge:
        judge(args.judge)
        return
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), args.rows, args.files)
        rounds = []
        for _ in range(3):
            argv = [sys.executable, __file__, "--judge", name]
            rounds.append([float(v) for v in subprocess.check_output(argv, text=True).split()])
    took_s, cpu_s, peak_mb, counted, moments = (statistics.median(column) for column in zip(*rounds, strict=True))
    slowest, largest = max(r[0] for r in rounds), max(r[2] for r in rounds)
    print(
        f"{counted:,.0f} rows of {args.files} files, {moments:,.0f} moments: {took_s:.1f} s (slowest {slowest:.1f}), "
        f"{cpu_s:.1f} CPU seconds, peak {peak_mb:.0f} MB (largest {largest:.0f})"
    )


if __name__ == "__main__":
    main()
