"""How fast the load engine is, beside others: generator on the first core, the same minimal server on the second.

    python tests/bench/load_engine.py [--rounds 5] [--seconds 5] [--k6 PATH]

Closed loop: 64 clients, each asking again as soon as it is answered; the engine writes its rows. The generators take
turns, so that what the machine does meanwhile meets all alike. Open loop: 5,000 requests a second. Figures are medians,
with the least and the most; `stolen` is what the host took away, of /proc/stat.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.history import Outcome, read_rows

HERE = Path(__file__).parent
CLIENTS = 64
ENGINE = """
from harness.load.arrivals import constant
from harness.load.locust import OpenModelUser, Request

class Asks(OpenModelUser):
    arrivals = constant(5000)
    warm = 64
    one = Request("GET", "/")

    def request(self, k):
        return self.one
"""
LOCUST = """
from locust import {kind}, task

class Asks({kind}):
    @task
    def ask(self):
        self.client.get("/")
"""
K6 = """
import http from "k6/http";
export const options = {
  discardResponseBodies: true,
  scenarios: { asks: SCENARIO },
};
export default function () { http.get("URL/"); }
"""


def run(argv: list[str], folder: Path) -> tuple[str, float, float]:
    """Standard output, CPU seconds and wall seconds of a generator on the first core."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(["taskset", "-c", "0", *argv], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{argv[:4]}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, cpu_s, time.monotonic() - began


def engine(url: str, folder: Path, *more: str) -> dict:
    """One run of ours; its account and rows."""
    (folder / "engine.py").write_text(ENGINE)
    for name in ("rows", "events"):
        (folder / name).unlink(missing_ok=True)
    files = ["--rows", "rows", "--events", "events", "--headless", "-u", "1", "--only-summary"]
    run([sys.executable, "-m", "locust", "-f", "engine.py", "-H", url, *files, *more], folder)
    account = json.loads((folder / "events").read_text().splitlines()[-1])[5]
    rows = read_rows(folder / "rows")
    assert len(rows) == account["planned"] == account["locust_requests"]
    return account | {"all": rows, "ok": int(np.count_nonzero(rows["outcome"] == Outcome.OK))}


def ours(url: str, folder: Path, seconds: float) -> tuple[float, float]:
    account = engine(url, folder, "--clients", str(CLIENTS), "--for", str(seconds))
    return account["ok"] / account["duration_s"], account["ok"] / account["cpu_s"]


def locusts(kind: str) -> Callable[[str, Path, float], tuple[float, float]]:
    def ask(url: str, folder: Path, seconds: float) -> tuple[float, float]:
        (folder / "plain.py").write_text(LOCUST.format(kind=kind))
        argv = ["-f", "plain.py", "-H", url, "--headless", "-u", str(CLIENTS), "-r", str(CLIENTS), "--json"]
        out, cpu_s, _ = run([sys.executable, "-m", "locust", *argv, "-t", f"{seconds:.0f}s", "--only-summary"], folder)
        (entry,) = json.loads(out)
        took_s = entry["last_request_timestamp"] - entry["start_time"]
        return entry["num_requests"] / took_s, entry["num_requests"] / cpu_s

    return ask


def k6(path: str) -> Callable[[str, Path, float], tuple[float, float]]:
    def ask(url: str, folder: Path, seconds: float) -> tuple[float, float]:
        out, cpu_s, _ = _k6(
            path, url, folder, {"executor": "constant-vus", "vus": CLIENTS, "duration": f"{seconds:g}s"}
        )
        found = re.search(r"http_reqs\.*: (\d+)\s+([\d.]+)/s", out)
        return float(found[2]), int(found[1]) / cpu_s

    return ask


def _k6(path: str, url: str, folder: Path, scenario: dict) -> tuple[str, float, float]:
    (folder / "k6.js").write_text(K6.replace("SCENARIO", json.dumps(scenario)).replace("URL", url))
    return run([path, "run", "--quiet", "--no-usage-report", "k6.js"], folder)


def stolen() -> np.ndarray:
    with open("/proc/stat") as file:
        ticks = [int(n) for n in file.readline().split()[1:9]]
    return np.array([ticks[7], sum(ticks)])


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):>9,.0f}  ({min(values):,.0f} to {max(values):,.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--open-seconds", type=float, default=30)
    parser.add_argument("--only", nargs="*", help="ours, k6, FastHttpUser, HttpUser, open")
    parser.add_argument("--k6", default=shutil.which("k6"), help="the k6 binary")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = str(HERE.parents[1])
    generators = {"ours": ours, "FastHttpUser": locusts("FastHttpUser"), "HttpUser": locusts("HttpUser")}
    if args.k6:
        generators["k6"] = k6(args.k6)
    if args.only:
        generators = {name: g for name, g in generators.items() if name in args.only}
    argv = ["taskset", "-c", "1", sys.executable, str(HERE / "minimal_server.py")]
    server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{int(server.stdout.readline())}"
    before = stolen()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            figures: dict[str, list[tuple[float, float]]] = {name: [] for name in generators}
            for _ in range(args.rounds):
                for name, generator in generators.items():
                    figures[name].append(generator(url, folder, args.seconds))
            print(f"closed loop, {CLIENTS} clients, {args.rounds} x {args.seconds:g} s")
            for name, rounds in figures.items():
                rates, per_cpu_s = zip(*rounds, strict=True)
                print(f"  {name:<14}{spread(rates)} requests/s   {spread(per_cpu_s)} per CPU second")
            if not args.only or "open" in args.only:
                open_loop(url, folder, args)
    finally:
        server.kill()
        server.wait()
    taken, all_ticks = stolen() - before
    print(f"stolen by the host: {100 * taken / all_ticks:.0f} % of the processors; load {os.getloadavg()[0]:.1f}")


def open_loop(url: str, folder: Path, args: argparse.Namespace) -> None:
    account = engine(url, folder, "--for", str(args.open_seconds))
    rows = account["all"]
    sent = rows[~np.isnan(rows["sent"])]
    lag_ms = 1000 * np.sort(sent["sent"] - sent["intended"])
    at = [float(lag_ms[int(np.ceil(q * len(lag_ms))) - 1]) for q in (0.5, 0.99, 0.999)]
    print(
        f"open loop, 5,000/s for {args.open_seconds:g} s: {len(rows):,} due, {account['unsent']} unsent, "
        f"lag p50 / p99 / p99.9 / max {at[0]:.2f} / {at[1]:.2f} / {at[2]:.2f} / {lag_ms[-1]:.1f} ms, "
        f"{100 * account['cpu_s'] / account['duration_s']:.0f} % of the core, {len(account['stalls'])} stalls"
    )
    if args.k6:
        for rate in (5000, 10_000):
            scenario = {
                "executor": "constant-arrival-rate", "rate": rate, "timeUnit": "1s",
                "duration": f"{args.open_seconds:g}s", "preAllocatedVUs": 500, "maxVUs": 1000,
            }  # fmt: skip
            out, cpu_s, wall_s = _k6(args.k6, url, folder, scenario)
            dropped = re.search(r"dropped_iterations\.*: (\d+)", out)
            print(
                f"  k6 at {rate:,}/s: {dropped[1] if dropped else 0} dropped, {100 * cpu_s / wall_s:.0f} % of the core"
            )


if __name__ == "__main__":
    main()
