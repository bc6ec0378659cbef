"""How fast the service is: beside its peers, beside its own limit, and what watching it costs.

    python tests/bench/serving.py [ROUNDS] [PART ...]        parts: throughput latency probes overload start large

The server has one core and the client the other. Everything is measured in rounds, each server in turn, so that a
machine whose host takes processors away does so to all of them; all rounds count. `/s` is by the clock; `/cpu-s` is per
second of processor that the server itself got, which neighbours and hosts disturb less. A ratio is made within a round.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "model_server")]
from collector import Collector  # noqa: E402
from servers import CLIENT_CORE, HERE, ROOT, RUNNING, SERVER_CORE, Server, bentoml, litserve, ours, peers  # noqa: E402

from harness.history import Outcome, read_rows  # noqa: E402
from model_server.settings import WEIGHTS  # noqa: E402

CONNECTIONS = 64
FOR_S = 3
AS_MEANT = ["--auth", "off"]  # the peers look at no keys either; all that is on by default stays on
UNWATCHED = [*AS_MEANT, "--metrics", "off", "--log-level", "OFF", "--audit", "off"]  # the database is no watching
BARE = [*UNWATCHED, "--database", "off"]
Rounds = dict[str, list[float]]


def asked(server: Server, for_s: float = FOR_S, connections: int = CONNECTIONS) -> dict[str, float]:
    """Ask as fast as it answers, over many connections: wrk's figures, and per processor second."""
    with server.awake():
        used = server.cpu_s
        argv = [
            "wrk",
            "--timeout",
            "10s",
            "-t1",
            f"-c{connections}",
            f"-d{for_s}s",
            "-s",
            HERE / "bodies.lua",
            server.url(),
        ]
        said = _client([*argv, "--", server.bodies, server.content_type])
        used = server.cpu_s - used
    figures = json.loads(said.splitlines()[-1])
    if figures["not_2xx"] or figures["broken"]:
        print(f"  {server.name}: {figures['not_2xx']} answers not 2xx, {figures['broken']} broken", flush=True)
    good = figures["requests"] - figures["not_2xx"]
    return {"/s": good / figures["seconds"], "/cpu-s": good / used, **figures}


def scheduled(server: Server, per_s: float, for_s: float, scratch: Path, while_it_runs: Callable = lambda: None):
    """Ask on a schedule, whatever it answers: the rows of harness.history."""
    rows = scratch / "rows"
    rows.unlink(missing_ok=True)
    environment = {"BODIES": str(server.bodies), "CONTENT_TYPE": server.content_type, "PYTHONPATH": str(ROOT)}
    with server.awake():
        argv = [sys.executable, "-m", "locust", "-f", HERE / "open_loop.py", "-H", server.url(""), "--headless"]
        argv += ["--only-summary", "--exit-code-on-error", "0", "-u", "1", "--for", str(for_s)]
        argv += ["--arrivals", f"constant:{per_s:.0f}/s"]
        run = threading.Thread(target=_client, args=([*argv, "--rows", rows], environment))
        run.start()
        while run.is_alive():
            while_it_runs()
            run.join(0.02)
    return read_rows(rows)


def limit(for_s: float = FOR_S, weights: Path = WEIGHTS) -> float:
    """Images per processor second of decode and forward in a bare loop on the server's core, at the best batch."""
    argv = ["taskset", "-c", SERVER_CORE, sys.executable, HERE / "bare_loop.py", str(for_s), weights]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return float(subprocess.run(argv, env=environment, check=True, capture_output=True, text=True).stdout)


def throughput(rounds: int, scratch: Path, collector: Collector) -> None:
    """Ours beside the peers, beside the limit, and beside ourselves with nothing watched and with all traced."""
    traced = ["--otlp-endpoint", collector.url]
    servers = [
        ours(scratch, *AS_MEANT, *traced),
        litserve(scratch),
        bentoml(scratch),
        ours(scratch, *UNWATCHED, name="ours, unwatched"),
        ours(scratch, *BARE, name="ours, bare"),
        ours(scratch, *AS_MEANT, *traced, "--trace-ratio", "1", name="ours, all traced"),
    ]
    answers = {(server.answer["class"], round(server.answer["probability"], 4)) for server in servers}
    assert len(answers) == 1, f"the servers disagree about the first image: {answers}"
    wall, cpu = defaultdict(list), defaultdict(list)
    try:
        for server in servers:
            asked(server, 1)  # so that none is cold
        for _ in range(rounds):
            for server in servers:
                figures = asked(server)
                wall[server.name].append(figures["/s"])
                cpu[server.name].append(figures["/cpu-s"])
                wall[f"{server.name}: p99 ms"].append(figures["p99_ms"])
                print(f"  {server.name}: {figures['/s']:.0f}/s, {figures['/cpu-s']:.0f}/cpu-s", flush=True)
            cpu["limit"].append(limit())
        spans = len(collector.spans)
        resident = {server.name: server.resident_mb for server in servers}
    finally:
        for server in servers:
            server.stop()
    for name, values in wall.items():
        show(name + ("" if ":" in name else ", /s"), values)
    for name, values in cpu.items():
        show(f"{name}, /cpu-s", values)
    print(f"spans that the collector took: {spans}; resident MB: { ({k: round(v) for k, v in resident.items()}) }")
    assert spans, "nothing was traced, so this was not the fully watched server"
    for kind, figures in (("/s", wall), ("/cpu-s", cpu)):
        for peer, target in (("LitServe", 2.5), ("BentoML", 3.5)):
            show(f"ours / {peer}, {kind} (target >= {target})", ratios(figures, "ours", peer))
        show(f"watched / unwatched, {kind} (target >= 0.85)", ratios(figures, "ours", "ours, unwatched"))
        show(f"watched / bare: neither watched nor kept, {kind}", ratios(figures, "ours", "ours, bare"))
        show(f"all traced / unwatched, {kind}", ratios(figures, "ours, all traced", "ours, unwatched"))
    show("ours / limit, /cpu-s", ratios(cpu, "ours", "limit"))
    show("resident MB (target <= 600)", [resident["ours"]])


def latency(rounds: int, scratch: Path, collector: Collector) -> None:
    """p99 at the arrival rate at which the better peer saturates."""
    servers = [ours(scratch, *AS_MEANT, "--otlp-endpoint", collector.url), litserve(scratch), bentoml(scratch)]
    p99, rates = defaultdict(list), []
    try:
        for _ in range(rounds):
            capacity = {server.name: asked(server)["/s"] for server in servers[1:]}
            rates.append(max(capacity.values()))
            for server in servers:
                rows = scheduled(server, rates[-1], 5, scratch)
                took = sorted(1000 * (rows["done"] - rows["intended"]))
                p99[server.name].append(took[int(0.99 * len(took))])
                failed = sum(rows["outcome"] != Outcome.OK)
                print(
                    f"  {rates[-1]:.0f}/s {server.name}: p99 {p99[server.name][-1]:.0f} ms, {failed} failed", flush=True
                )
    finally:
        for server in servers:
            server.stop()
    show("rate of the better peer's saturation, /s", rates)
    for name, values in p99.items():
        show(f"{name}: p99 ms at that rate", values)
    better = [min(lit, bento) for lit, bento in zip(p99["LitServe"], p99["BentoML"], strict=True)]
    show("ours / better peer, p99 (target < 0.5)", [o / b for o, b in zip(p99["ours"], better, strict=True)])


def probes(rounds: int, scratch: Path, collector: Collector) -> None:
    """/metrics and the probes while the server is saturated."""
    server = ours(scratch, *AS_MEANT, "--otlp-endpoint", collector.url)
    took: Rounds = defaultdict(list)

    def ask() -> None:
        for path in ("/metrics", "/health/live", "/health/ready", "/health/startup"):
            began = time.perf_counter()
            with contextlib.suppress(urllib.error.HTTPError):  # not ready, because saturated: an answer
                urllib.request.urlopen(server.url(path), timeout=10).read()
            took[path].append(1000 * (time.perf_counter() - began))

    try:
        capacity = asked(server)["/s"]
        for _ in range(rounds):
            scheduled(server, 1.5 * capacity, 5, scratch, ask)
    finally:
        server.stop()
    for path, values in took.items():
        values.sort()
        p99 = values[int(0.99 * len(values))]
        figures = f"{p99:.1f} | {values[0]:.1f} | {values[-1]:.1f}"
        print(f"| {path}, p99 ms of {len(values)} while saturated (target < 50) | {figures} |", flush=True)


def overload(rounds: int, scratch: Path, collector: Collector) -> None:
    """Three times as much as it can do: what is still answered in time, how the rest is refused, memory."""
    server = ours(scratch, *AS_MEANT, "--otlp-endpoint", collector.url)
    goodput, shed_ms, late_ms, memory = [], [], [], []
    try:
        for _ in range(rounds):
            capacity = asked(server)["/s"]
            memory.append(server.resident_mb)
            for_s = 6
            rows = scheduled(server, 3 * capacity, for_s, scratch)
            good = rows[(rows["status"] == 200) & (rows["done"] - rows["intended"] <= 0.5)]
            shed = rows[rows["status"] == 503]
            goodput.append(len(good) / for_s / capacity)
            took = 1000 * (shed["done"] - shed["intended"])
            shed_ms.append(float(np.median(took)))
            late_ms.append(float(np.quantile(took, 0.99)))
            others = len(rows) - len(shed) - sum(rows["status"] == 200)
            print(f"  {3 * capacity:.0f}/s: {len(good)} good, {len(shed)} shed, {others} other", flush=True)
        memory.append(server.resident_mb)
    finally:
        server.stop()
    show("goodput within 500 ms at 3 x capacity / capacity (target >= 0.5)", goodput)
    show("time to a 503, median ms (target <= 50)", shed_ms)
    show("time to a 503, p99 ms", late_ms)
    show("resident MB over the rounds (flat)", memory)


def large(rounds: int, scratch: Path, collector: Collector) -> None:
    """The network of the guide, DenseNet-121 at 224 x 224, with weights nobody trained: limit, watching, overload."""
    weights, for_s, asking = scratch / "densenet.safetensors", 8, 3
    make = "import sys, pathlib; from model_server import train; from model_server.inference import densenet; "
    make += "train.write(densenet.DenseNet121(), pathlib.Path(sys.argv[1]), '0.1-random')"
    subprocess.run([sys.executable, "-c", make, weights], cwd=ROOT, check=True)
    # A queue of what it answers in about 0.4 s: with the default's 128 whoever is admitted at last waits for 10 s.
    flags = ["--weights", str(weights), "--max-batch", "2", "--max-queue", str(asking)]
    traced = ["--otlp-endpoint", collector.url]
    servers = [
        ours(scratch, *flags, *AS_MEANT, *traced),
        ours(scratch, *flags, *UNWATCHED, name="ours, unwatched"),
        ours(scratch, *flags, *AS_MEANT, *traced, "--trace-ratio", "1", name="ours, all traced"),
    ]
    cpu, goodput = defaultdict(list), []
    try:
        for server in servers:
            asked(server, 2, asking)
        for _ in range(rounds):
            for server in servers:
                figures = asked(server, for_s, asking)
                cpu[server.name].append(figures["/cpu-s"])
                if server is servers[0]:
                    rows = scheduled(server, max(2, 3 * figures["/s"]), for_s, scratch)
                    good = rows[(rows["status"] == 200) & (rows["done"] - rows["intended"] <= 0.5)]
                    goodput.append(len(good) / for_s / figures["/s"])
                    with server.awake():
                        while (
                            b"\ninference_queue_depth 0.0\n"
                            not in urllib.request.urlopen(server.url("/metrics")).read()
                        ):
                            time.sleep(0.1)  # else its leftovers are the next one's 503s
            cpu["limit"].append(limit(for_s, weights))
    finally:
        for server in servers:
            server.stop()
    for name, values in cpu.items():
        show(f"{name}, /cpu-s", values)
    show("ours / limit, /cpu-s", ratios(cpu, "ours", "limit"))
    show("watched / unwatched, /cpu-s", ratios(cpu, "ours", "ours, unwatched"))
    show("all traced / unwatched, /cpu-s", ratios(cpu, "ours, all traced", "ours, unwatched"))
    show("goodput within 500 ms at 3 x capacity / capacity", goodput)


def start(rounds: int, scratch: Path, collector: Collector) -> None:
    """From the start of the process to its first answer; what of it is not the runtime's import."""
    whole, after = [], []
    for _ in range(rounds):
        began = time.monotonic()
        server = ours(scratch, *AS_MEANT, "--otlp-endpoint", collector.url)
        with server.awake():
            whole.append(time.monotonic() - began)
            said = json.load(urllib.request.urlopen(server.url("/health/startup"), timeout=10))
        after.append(said["startup_time"] - said["components"]["runtime"]["seconds"])
        server.stop()
    show("start to first answer, s (target <= 3)", whole)
    show("of it not the runtime's import, s", after)


def ratios(figures: Rounds, one: str, other: str) -> list[float]:
    return [a / b for a, b in zip(figures[one], figures[other], strict=True)]


def show(name: str, values: Sequence[float]) -> None:
    print(f"| {name} | {statistics.median(values):.4g} | {min(values):.4g} | {max(values):.4g} |", flush=True)


def _client(argv: Sequence[str | Path], environment: dict[str, str] | None = None) -> str:
    argv = ["taskset", "-c", CLIENT_CORE, *map(str, argv)]
    done = subprocess.run(argv, env=os.environ | (environment or {}), capture_output=True, text=True)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    return done.stdout


def _processor() -> tuple[int, int]:
    """Ticks of all processors since boot, and those that the host took away."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks), ticks[7]


PARTS = {part.__name__: part for part in (throughput, latency, probes, overload, start, large)}


def main(rounds: int, parts: Sequence[str]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so through every `finally`: no server is left
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    peers()
    collector = Collector()
    for part in parts or PARTS:
        with tempfile.TemporaryDirectory() as scratch:
            ticks, stolen = _processor()
            print(f"\n{part}: {PARTS[part].__doc__}\n| figure | median of {rounds} | least | most |\n|---|---|---|---|")
            try:
                PARTS[part](rounds, Path(scratch), collector)
            finally:
                for server in [*RUNNING]:
                    server.stop()
            now_ticks, now_stolen = _processor()
            print(f"processor taken by the host meanwhile: {100 * (now_stolen - stolen) / (now_ticks - ticks):.0f} %")
    collector.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2:])
