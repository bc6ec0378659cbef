"""Ends harnesses that are attached to a container at random moments, and sees that it is left as it was.

    python tests/gate/torture_attached.py [TIMES] [FILE]

Each harness is a process of its own that attaches, with a watchdog, and goes on breaking and healing the container. A
line of FILE, JSON, for each: what was open in its ledger when it was killed, and what was left 15 s later at most.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/stack")]

from containers import Podman, lacking  # noqa: E402

from harness.errors import HarnessError  # noqa: E402
from harness.faults.cpu_limit import CpuLimit  # noqa: E402
from harness.faults.inject import end_all, inject  # noqa: E402
from harness.faults.kill import Kill  # noqa: E402
from harness.faults.pause import Pause  # noqa: E402
from harness.faults.stop import Stop  # noqa: E402
from harness.stack import ledger, watchdog  # noqa: E402
from harness.stack.attached import AttachedService, arguments  # noqa: E402
from harness.stack.by_container import Container  # noqa: E402
from harness.stack.process import free_ports, started_ticks  # noqa: E402
from harness.stack.spec import ControlSpec, Instance, Probe  # noqa: E402
from harness.stack.stack import Stack  # noqa: E402

WITHIN_S = 15.0
PROBES = {
    "liveness": Probe(path="/live", periodSeconds=1, failureThreshold=1),
    "readiness": Probe(path="/ready", periodSeconds=1, failureThreshold=1),
}


def break_and_heal(run: Path, engine: str, port: int, restarted_by: str) -> None:
    """What a harness does, until it is killed."""
    (run / "owner.json").write_text(json.dumps({"pid": os.getpid(), "started": started_ticks(os.getpid())}))
    guard = watchdog.start(run)
    spec = ControlSpec(container="shop", engine=engine, **({"restarted_by": restarted_by} if restarted_by else {}))
    instance = Instance(url=f"http://127.0.0.1:{port}", control=spec)
    service = AttachedService({"server": instance}, PROBES, run, lambda *a, **b: None, lambda *a: None, run, 1.0)
    service.start()
    asked = {"server": f"http://127.0.0.1:{port}/ready"}
    stack = Stack(run, "shop", "", "", "", 60.0, grace_s=1.0, controls={"server": arguments(spec)}, asked=asked)
    while guard.alive():
        try:
            inject(random.choice([Pause(), Kill(), Stop(), CpuLimit(0.1)]), stack, "torture", 60, 0.2)
            time.sleep(random.uniform(0, 1))
            end_all(stack, by="heal")
        except HarnessError as error:  # as where the container is being restarted just then
            print(error, file=sys.stderr, flush=True)


def left(podman: Podman) -> str:
    """What is not as it was; empty where all is."""
    if (state := podman.state("shop")) != "running":
        return f"it is {state}"
    control = Container(podman.url, "shop")
    limits = control.limits(control.found())["limits"]
    return "" if limits["quota_us"] == 0 else f"it is limited: {limits}"


def once(podman: Podman, port: int, folder: Path) -> dict[str, object]:
    run, restarted_by = Path(tempfile.mkdtemp(dir=folder)), random.choice(["", "harness"])
    argv = [sys.executable, __file__, "--harness", str(run), podman.url, str(port), restarted_by]
    harness = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    time.sleep(random.uniform(1.0, 6.0))
    ended = harness.poll()  # by itself, so that nothing is seen by it
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    began, opened = time.monotonic(), [entry.kind for entry in ledger.Ledger(run).open()]
    while wrong := left(podman) or "its ledger is open" * bool(ledger.Ledger(run).open()):
        if time.monotonic() - began > WITHIN_S:
            break
        time.sleep(0.1)
    wrong = wrong or ("the harness ended by itself" if ended is not None else "")
    return {"restarted_by": restarted_by, "open": opened, "after_s": round(time.monotonic() - began, 1), "left": wrong}


def main(times: int, kept: Path) -> int:
    if why := lacking():
        print(why, file=sys.stderr)
        return 2
    failed = 0
    with tempfile.TemporaryDirectory() as folder, open(kept, "a") as out:
        podman, port = Podman(Path(folder)), free_ports(1)[0]
        try:
            podman.shop("shop", port)
            for i in range(times):
                found = once(podman, port, Path(folder))
                failed += bool(found["left"])
                print(json.dumps({"n": i + 1, **found}), file=out, flush=True)
                if found["left"]:
                    podman.run("rm", "-f", "-t", "0", "shop")
                    podman.shop("shop", port)
        finally:
            podman.close()
    print(f"{failed} of {times} kills left something; see {kept}")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--harness"]:
        break_and_heal(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
    else:
        sys.exit(main(int((sys.argv[1:] or ["200"])[0]), Path((sys.argv[2:] or ["torture-attached.jsonl"])[0])))
