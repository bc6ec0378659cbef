"""Whether what is reported is what happened: percentiles beside the exact answer, ours and plain Locust's.

    python tests/bench/truth.py [ROUNDS]

The server's delays are known: fixed; one request in ten slow; two seconds in which it does nothing. At 100 requests a
second, evenly spaced, the exact percentiles follow from that alone. Ours must be within 1 % or 1 ms. Plain Locust is
given as many clients as it needs for that rate (constant_throughput), and its own statistics are read.

The server is the measure, so it has a core of its own, and the generators have the other. As root all have real-time
priority, which stands in for a machine with nothing else on it, and no processor sleeps meanwhile
(`/dev/cpu_dma_latency`, as cyclictest does it): one that does wakes on some virtual machines 10 ms late, and then the
delays are not the known ones. `as served` is what the server saw itself do, from reading a request to having answered
it: what differs there from the exact answer was no generator's. Ours reports two latencies: from the intended moment,
in which its own lag counts as the wait that clients would have had, and from the sending. On a free connection they
differ by nothing else. Medians of the rounds, with the least and the most.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np

from harness.history import Outcome, read_rows

HERE = Path(__file__).parent
PERCENTILES = (50, 95, 99, 99.9)
RATE, SECONDS = 100, 20
STALL_AT_S, STALL_S = 8.0, 2.0
FAST_S, SLOW_S = 0.020, 0.250
ROUNDS = 3
WAYS = ("fixed", "one in ten slow", "a stall of 2 s")
OURS = f"""
from harness.load.arrivals import constant
from harness.load.locust import OpenModelUser, Request

class Asks(OpenModelUser):
    arrivals = constant({RATE})
    fast, slow = Request("GET", "/fast", name="/"), Request("GET", "/slow", name="/")
    way = "WAY"

    def request(self, k):
        return self.slow if self.way == "one in ten slow" and k % 10 == 9 else self.fast
"""
PLAIN = """
from itertools import count
from locust import FastHttpUser, constant_throughput, task

asked = count()

class Asks(FastHttpUser):
    wait_time = constant_throughput(10)
    way = "WAY"

    @task
    def ask(self):
        slow = self.way == "one in ten slow" and next(asked) % 10 == 9
        self.client.get("/slow" if slow else "/fast", name="/")
"""


def exact_ms(way: str) -> list[float]:
    """Nearest rank over every arrival of the schedule."""
    at = np.arange(RATE * SECONDS) / RATE
    took = np.full(len(at), FAST_S)
    if way == WAYS[1]:
        took[9::10] = SLOW_S
    if way == WAYS[2]:
        stalled = (at >= STALL_AT_S) & (at < STALL_AT_S + STALL_S)
        took[stalled] += STALL_AT_S + STALL_S - at[stalled]
    return nearest_rank(1000 * took)


def nearest_rank(values: np.ndarray) -> list[float]:
    """The percentiles of some values."""
    ordered = np.sort(values)
    return [float(ordered[int(np.ceil(p / 100 * len(ordered) - 1e-9)) - 1]) for p in PERCENTILES]


def real_time() -> None:
    """Be asked before all else on this core, where that is allowed."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def serve(way: str) -> None:
    """Answer every head that ends after its delay, to a tenth of a millisecond; print the port, and at the end how long
    each answer took, in ms."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    real_time()
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    epoll, clients, due, order, first = select.epoll(), {}, [], count(), None
    took_ms: list[float] = []

    def end(*_args: object) -> None:
        print(json.dumps(took_ms), flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    epoll.register(listener, select.EPOLLIN)
    while True:
        wait_s = max(0.0, due[0][0] - time.monotonic()) if due else 1.0
        select.select([epoll.fileno()], [], [], wait_s)
        at = time.monotonic()
        for fd, _ in epoll.poll(0):
            if fd == listener.fileno():
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[client.fileno()] = client
                epoll.register(client, select.EPOLLIN)
                continue
            data = clients[fd].recv(1 << 16)
            if not data:
                epoll.unregister(fd)
                clients.pop(fd).close()
                continue
            first = at if first is None else first
            stall_ends = first + STALL_AT_S + STALL_S
            stalled_s = stall_ends - at if way == WAYS[2] and 0 < stall_ends - at <= STALL_S else 0.0
            delay_s = SLOW_S if data.startswith(b"GET /slow") else FAST_S
            heapq.heappush(due, (at + stalled_s + delay_s, next(order), fd, at))
        while due and due[0][0] <= time.monotonic():
            _, _, fd, since = heapq.heappop(due)
            if (client := clients.get(fd)) is not None:
                client.sendall(answer)
                took_ms.append(1000 * (time.monotonic() - since))


def reported_ms(kind: str, way: str, url: str, folder: Path) -> dict[str, tuple[list[float], int, str]]:
    """What a generator reports in each of its ways, of how many requests, and what it says of itself."""
    file = folder / f"{kind}.py"
    file.write_text((OURS if kind == "ours" else PLAIN).replace("WAY", way))
    argv = [sys.executable, "-m", "locust", "-f", str(file), "-H", url, "--headless", "--only-summary", "--json"]
    if kind == "ours":
        argv += ["-u", "1", "--rows", str(folder / "rows"), "--events", str(folder / "events"), "--for", str(SECONDS)]
    else:
        argv += ["-u", "10", "-r", "10", "-t", f"{SECONDS}s"]
    core = str(max(os.sched_getaffinity(0)))
    done = subprocess.run(
        ["taskset", "-c", core, *argv], preexec_fn=real_time, capture_output=True, text=True, check=True
    )
    if kind == "ours":
        rows = read_rows(folder / "rows")
        account = json.loads((folder / "events").read_text().splitlines()[-1])[5]
        assert len(rows) == account["planned"] and np.all(rows["outcome"] == Outcome.OK)
        told = {}
        for name, since, says in (
            ("ours", "intended", f"lag p99 {account['lag_p99_ms']:.2f} ms, max {account['lag_max_ms']:.2f}"),
            ("ours, from the sending", "sent", ""),
        ):
            told[name] = nearest_rank(1000 * (rows["done"] - rows[since])), len(rows), says
        return told
    (entry,) = json.loads(done.stdout)
    buckets = sorted((int(ms), n) for ms, n in entry["response_times"].items())
    total, at = entry["num_requests"], []
    for p in PERCENTILES:
        seen = np.cumsum([n for _, n in buckets])
        at.append(float(buckets[int(np.searchsorted(seen, np.ceil(p / 100 * total - 1e-9)))][0]))
    return {"locust": (at, total, "")}


@contextlib.contextmanager
def awake() -> Iterator[bool]:
    """Let no processor sleep; whether that could be had."""
    with contextlib.ExitStack() as held:
        try:
            wish = held.enter_context(open("/dev/cpu_dma_latency", "wb", buffering=0))
            wish.write(bytes(4))  # at most 0 us to wake, for as long as it is open
        except OSError:
            yield False
        else:
            yield True


def one(kind: str, way: str) -> dict[str, tuple[list[float], int, str]]:
    """What a generator reports of a server of its own, and what that says."""
    server = subprocess.Popen([sys.executable, __file__, "serve", way], stdout=subprocess.PIPE, text=True)
    try:
        with tempfile.TemporaryDirectory() as name:
            told = reported_ms(kind, way, f"http://127.0.0.1:{int(server.stdout.readline())}", Path(name))
        server.terminate()
        took_ms = json.loads(server.stdout.readline())
        return {f"as served to {kind}": (nearest_rank(np.array(took_ms)), len(took_ms), ""), **told}
    finally:
        server.kill()
        server.wait()


def beside(told: list[float], true: list[float]) -> str:
    """Whether what is told is true."""
    off = [abs(a - e) for a, e in zip(told, true, strict=True)]
    right = all(o <= max(1.0, 0.01 * e) for o, e in zip(off, true, strict=True))
    return "within 1 % or 1 ms" if right else f"off by up to {max(off):,.1f} ms"


def main(rounds: int) -> None:
    os.environ["PYTHONPATH"] = str(HERE.parents[1])
    with awake() as could:
        print(f"processors kept awake: {'yes' if could else 'no'}; {rounds} rounds")
        print(f"{'':<18}{'':<24}{'requests':>9}" + "".join(f"{f'p{p:g}':>24}" for p in PERCENTILES) + "   ms")
        for way in WAYS:
            exact = exact_ms(way)
            print(f"{way:<18}{'exact':<24}{RATE * SECONDS:>9,}" + "".join(f"{v:24.1f}" for v in exact), flush=True)
            for kind in ("ours", "locust"):
                seen, served = [one(kind, way) for _ in range(rounds)], exact
                for name in seen[0]:
                    told = [each[name] for each in seen]
                    columns = [sorted(column) for column in zip(*(at for at, _, _ in told), strict=True)]
                    middle = [statistics.median(column) for column in columns]
                    if name.startswith("as served"):
                        served = middle
                    verdict = f"{beside(middle, exact)}; of what was served {beside(middle, served)}"
                    cells = [f"{m:.1f} ({c[0]:.1f}-{c[-1]:.1f})" for m, c in zip(middle, columns, strict=True)]
                    requests = f"{min(n for _, n, _ in told):,}"
                    says = "; ".join(said for _, _, said in told if said)
                    print(f"{'':<18}{name:<24}{requests:>9}" + "".join(f"{c:>24}" for c in cells), end="")
                    print(f"   {verdict}  {says}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)
