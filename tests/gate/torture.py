"""Kills parts of a gate at random moments, over all faults, and sees that nothing is left: `make torture`.

    python tests/gate/torture.py [TIMES] [--only EXPERIMENT] [--store FILE] [--again N ...]

Each time one or two of the harness, the child of Chaos Toolkit, the watchdog and the generator of a small project are
killed by SIGKILL, either within the first 15 s or up to 4 s after the fault began. Where the watchdog was killed with
the harness, `harness heal` is what must put all back. Then nothing may be left: processes, control groups, mounts,
loop devices, changed files, open ports; the run's folder must be readable; and no verdict may be given that rests on
what was killed.

Each result is a line of .harness/torture.jsonl as it comes. What is there is not done again, so that a longer series
is many short ones; ends with 1 if anything was wrong in any of them. Time N is the same every time (`--again N`).
As root all of it takes place in namespaces of its own, so that what is left is seen whoever it belongs to.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from small_project import ROOT, Project

from harness.errors import HarnessError
from harness.faults import FAULTS
from harness.faults.needs import missing
from harness.history import History
from harness.stack.ledger import PRIVATE, Ledger
from harness.stack.volume import mounts

STORE = ROOT / ".harness" / "torture.jsonl"
WITHIN_S, AFTER_FAULT_S = 15.0, 4.0
FAULT_WITHIN_S, GATE_WITHIN_S, CLEAN_WITHIN_S = 180.0, 300.0, 15.0
INSIDE = "HARNESS_TORTURE_INSIDE"
HARNESS, CHAOS, WATCHDOG, GENERATOR = "harness", "chaos child", "watchdog", "generator"
VICTIMS = (  # mostly the harness with another: what is left of the others it puts back itself
    *((HARNESS,), (HARNESS, WATCHDOG), (HARNESS, CHAOS), (HARNESS, GENERATOR)) * 4,
    (CHAOS,), (GENERATOR,), (WATCHDOG,), (CHAOS, GENERATOR), (CHAOS, WATCHDOG), (WATCHDOG, GENERATOR),
)  # fmt: skip
COMMANDS = {CHAOS: "harness.chaos.runner", WATCHDOG: "harness.stack.watchdog", GENERATOR: "locust"}
# Faults that no experiment of the pack has; each with the environment that the service needs for it.
MORE = {
    "clock-ahead": ("clock", {"by_s": 3600}, {"PYTHONPATH": "inside"}),
    "slow-disk": ("slow_disk", {"kib_per_s": 64}, {}),
}
WITHOUT = {
    "certificate": "needs a service behind TLS; undone as `file` is",
    "scale": "needs a service in Kubernetes",
}


class Draw(NamedTuple):
    """What is done the n-th time."""

    n: int
    experiment: str
    victims: tuple[str, ...]
    since_fault: bool  # the moment counts from the fault's begin, and not from the gate's
    after_s: float


def draw(n: int, experiments: Sequence[str]) -> Draw:
    """Each experiment in its turn; whom and when by chance, the same for the same n."""
    chance = random.Random(n)
    victims = chance.choice(VICTIMS)
    since_fault = HARNESS not in victims or chance.random() < 0.8  # before, the other parts are seldom there yet
    after_s = chance.uniform(0, AFTER_FAULT_S if since_fault else WITHIN_S)
    return Draw(n, experiments[n % len(experiments)], victims, since_fault, round(after_s, 2))


def experiments() -> dict[str, tuple[str, ...]]:
    """The experiments that this host can do, with the faults of each, in an order that has all faults soon."""
    found = {}
    for path in sorted((ROOT / "experiments").glob("*.yaml")):
        activities = yaml.safe_load(path.read_text())["method"]
        providers = [a["provider"] for a in activities if a["provider"].get("module") == "harness.chaos.actions"]
        kinds = tuple(dict.fromkeys(p["func"] for p in providers if p["func"] in FAULTS))
        if kinds and not any(missing(FAULTS[kind].needs) for kind in kinds):
            found[path.stem] = kinds
    found |= {name: (kind,) for name, (kind, _, _) in MORE.items() if not missing(FAULTS[kind].needs)}
    first: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    for name, kinds in found.items():
        if not seen.issuperset(kinds):
            first[name] = kinds
            seen.update(kinds)
    return first | found


def added(folder: Path) -> None:
    """Experiments for the faults that the pack has none for."""
    for name, (kind, arguments, environment) in MORE.items():
        content = yaml.safe_load((ROOT / "experiments" / "sham.yaml").read_text())
        content["method"] = [
            {
                "type": "action",
                "name": f"begin {kind}",
                "provider": {
                    "type": "python", "module": "harness.chaos.actions", "func": kind, "arguments": arguments,
                },
                "pauses": {"after": 8},
            }
        ]  # fmt: skip
        [contract] = content["extensions"]
        if environment:
            home = str(folder / "experiments")
            contract["expect"]["start"] = {"environment": {k: f"{home}/{v}" for k, v in environment.items()}}
        (folder / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(content))


def processes(folder: Path) -> dict[int, str]:
    """What runs for a gate in this folder, or in our own namespace whatever it runs for: command lines by process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            state = (entry / "stat").read_text().rpartition(") ")[2][0]
            mine = str(folder) in line or str(folder).encode() in (entry / "environ").read_bytes()
        except OSError:
            continue
        if state != "Z" and (INSIDE in os.environ or mine):
            found[int(entry.name)] = f"{line}{' (stopped)' * (state == 'T')}"
    return found


def kill(gate: subprocess.Popen, folder: Path, victims: Sequence[str]) -> list[str]:
    """Kill them at once; gives those that were there."""
    there = {HARNESS: [gate.pid] if gate.poll() is None else []}
    for pid, line in processes(folder).items():
        for victim, command in COMMANDS.items():
            if command in line:
                there.setdefault(victim, []).append(pid)
    killed = [victim for victim in victims if there.get(victim)]
    for victim in killed:
        for pid in there[victim]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    return killed


def runs_of(folder: Path) -> list[Path]:
    return [p for p in (folder / "runs").glob("*") if p.name != "up"] if (folder / "runs").exists() else []


def begun(folder: Path) -> bool:
    """Whether a fault was written to the ledger."""
    return any((run / "ledger.jsonl").exists() for run in runs_of(folder))


def remains(folder: Path, files: dict[str, str]) -> Iterator[str]:
    """What a gate has left behind."""
    if left := processes(folder):
        yield f"processes: {sorted(line[:120] for line in left.values())}"
    if at := [m.place for m in mounts() if str(folder) in m.place]:
        yield f"mounts: {at}"
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if str(folder) in backing.read_text():
                yield f"loop device: {backing.parent.parent.name}"
        except OSError:
            continue
    if INSIDE in os.environ and (ports := listening()):
        yield f"open ports: {ports}"
    for run in runs_of(folder):
        ledger = (run / "ledger.jsonl").read_text() if (run / "ledger.jsonl").exists() else ""
        groups = {*re.findall(r'"(/sys/fs/cgroup/[^"]*/harness-[^"]*)"', ledger)}
        if groups := [group for group in groups if os.path.exists(group)]:
            yield f"control groups: {groups}"
        if entries := Ledger(run).open():
            yield f"faults still on: {[entry.kind for entry in entries]}"
        yield from (f"left in the run: {name}" for name in (PRIVATE, "owner.json") if (run / name).exists())
    now = digests(folder)
    if changed := sorted(name for name in files.keys() | now.keys() if files.get(name) != now.get(name)):
        yield f"changed files: {changed[:5]}"
    if scratch := [p.name for p in (folder / "tmp").iterdir()]:
        yield f"temporary files: {scratch[:5]}"


def digests(folder: Path) -> dict[str, str]:
    """The project's own files, and those of the service itself."""
    beside = {folder / "runs", folder / "tmp", folder / ".harness"}
    own = [p for p in folder.rglob("*") if p.is_file() and not beside & {*p.parents} and p.name != "out"]
    service = [p for p in (ROOT / "model_server").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in (*own, *service)}


def listening() -> list[int]:
    """The TCP ports that something listens at."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return sorted({int(words[1].rpartition(":")[2], 16) for words in lines if words[3:4] == ["0A"]})


def torture(draw: Draw, folder: Path) -> dict[str, Any]:
    """One gate, killed; gives what is to be stored of it."""
    project = Project(folder)
    added(folder)
    project.plan([draw.experiment], checks=["contracts"], for_s=1, repeats=0, patience="0s", starved="9s")
    (folder / "tmp").mkdir()
    files = digests(folder)
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop(INSIDE, None)
    command = [sys.executable, "-m", "harness.cli"]
    with open(folder / "out", "w") as out:
        gate = subprocess.Popen([*command, "gate"], cwd=folder, env=environment, stdout=out, stderr=out)
    began = time.monotonic()
    if draw.since_fault:
        while not begun(folder) and gate.poll() is None and time.monotonic() - began < FAULT_WITHIN_S:
            time.sleep(0.02)
    time.sleep(draw.after_s)
    reached = begun(folder)
    ran = gate.poll() is None
    told_all = any((run / "journals" / f"{draw.experiment}.json").exists() for run in runs_of(folder))
    killed = kill(gate, folder, draw.victims)
    at = time.monotonic()
    problems = []
    try:
        gate.wait(5 if HARNESS in killed else GATE_WITHIN_S)
    except subprocess.TimeoutExpired:
        problems.append(f"the gate did not end within {GATE_WITHIN_S:g} s after {killed} was killed")
        gate.kill()
        gate.wait()
    ended = time.monotonic()
    said = (folder / "out").read_text()[-600:]
    healed = ""
    if HARNESS in killed and WATCHDOG in killed:
        time.sleep(0.5)
        done = subprocess.run(
            [*command, "heal"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
        )
        healed = done.stdout.strip()
        if done.returncode != 0:
            problems.append(f"heal ended with {done.returncode}: {done.stderr[-300:]}")
    while (left := [*remains(folder, files)]) and time.monotonic() - ended < CLEAN_WITHIN_S:
        reap()
        time.sleep(0.1)
    clean_s = time.monotonic() - ended
    problems += left
    for pid in processes(folder) if INSIDE in os.environ else ():
        os.kill(pid, signal.SIGKILL)  # so that the next time begins with nothing
    codes = []
    for run in runs_of(folder):
        try:
            History.read(run)
        except HarnessError as error:
            problems.append(f"unreadable: {error}")
        judged = subprocess.run(
            [*command, "check", str(run)], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        codes.append(judged.returncode)
        if judged.returncode not in allowed(killed, ran, told_all):
            problems.append(f"check ended with {judged.returncode}: {(judged.stdout + judged.stderr)[-400:]}")
    if HARNESS not in killed and gate.returncode not in (70, *allowed(killed, ran, told_all)):
        problems.append(f"the gate ended with {gate.returncode}: {said}")
    if "Traceback" in said or "the harness itself broke" in said:
        problems.append(f"the gate said: {said}")
    return {
        **draw._asdict(),
        "at": time.strftime("%F %T"),
        "killed": killed,
        "reached": reached,
        "gate": gate.returncode,
        "check": codes,
        "took_s": round(at - began, 1),
        "clean_s": round(clean_s, 2),
        "healed": healed.splitlines(),
        "problems": problems,
    }


def allowed(killed: Sequence[str], ran: bool, told_all: bool) -> tuple[int, ...]:
    """How a run may be judged: by a verdict only where all was there that it rests on."""
    if not ran or not killed or (set(killed) <= {WATCHDOG, CHAOS} and (told_all or CHAOS not in killed)):
        return 0, 1, 3
    return (3,)


def reap() -> None:
    """Collect the orphans that have ended; we are the first process of our namespace."""
    if INSIDE in os.environ:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def stored(store: Path) -> dict[int, dict[str, Any]]:
    """The results so far, by number; the last of each."""
    found = {}
    for line in store.read_text().splitlines() if store.exists() else ():
        try:
            result = json.loads(line)
        except ValueError:
            continue  # cut short when it was interrupted
        found[result["n"]] = result
    return found


def in_namespaces() -> int | None:
    """All of this again in mount, network and process namespaces of its own; None where that cannot be."""
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if INSIDE in os.environ or os.geteuid() != 0 or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        return None
    again = 'ip link set lo up && exec "$@"'
    argv = [*unshare, "sh", "-c", again, "sh", sys.executable, *sys.argv]
    return subprocess.run(argv, env={**os.environ, INSIDE: "1"}).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=int, nargs="?", default=30, help="so many results are stored in the end")
    parser.add_argument("--store", type=Path, default=STORE)
    parser.add_argument("--only", help="only this experiment")
    parser.add_argument("--again", type=int, nargs="+", metavar="N", help="do these times, whatever is stored of them")
    args = parser.parse_args()
    if (code := in_namespaces()) is not None:
        return code
    pool = experiments()
    names = [args.only] if args.only else list(pool)
    args.store.parent.mkdir(parents=True, exist_ok=True)
    done = stored(args.store)
    for n in args.again or [n for n in range(args.times) if n not in done]:
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            found = torture(draw(n, names), Path(folder).resolve())
        with args.store.open("a") as out:
            out.write(json.dumps({**found, "faults": pool[found["experiment"]]}) + "\n")
        when = f"{found['after_s']:.1f} s after {'its fault' if found['since_fault'] else 'the start'}"
        verdict = "; ".join(found["problems"]) or "ok"
        print(
            f"{n:3d}  {found['experiment']:22s} {'+'.join(found['killed']) or 'nothing':20s} {when:25s} "
            f"clean after {found['clean_s']:.1f} s  {verdict}",
            flush=True,
        )
    return summary(stored(args.store))


def summary(results: dict[int, dict[str, Any]]) -> int:
    """All that is stored, in two lines."""
    bad = {n: result for n, result in results.items() if result["problems"]}
    reached = Counter(kind for result in results.values() if result["reached"] for kind in result["faults"])
    none = sorted(set(FAULTS) - set(reached))
    slowest = max((r["clean_s"] for r in results.values()), default=0.0)
    print(
        f"{len(results) - len(bad)} of {len(results)} clean; slowest {slowest:.1f} s; not clean: {sorted(bad) or '-'}"
    )
    print(f"faults that had begun: {len(reached)} of {len(FAULTS)} kinds; not yet: {', '.join(none) or 'none'}")
    for kind, why in WITHOUT.items():
        print(f"{kind}: {why}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
