"""The power of the gate: of the defects in this folder, how many it sees, and for the right reason; of good gates, how
many are green: `make power`.

    python tests/defects/power.py [--times GOOD_GATES] [--only PATTERN] [--jobs GATES] [--record RUN] [--again]

Each result is stored as it comes, in .harness/power/results.jsonl, under the digests of its file and of all that the
gate is made of; what is there is not measured again, so a measure that was interrupted goes on where it stopped. The
table is put into docs/power.md. Exit code 1 where something is missed, a good gate is not green, or something is seen
that docs/power.md says is not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "gate"))
from defect import BadDefects, Defect, read_all
from groups import Group, groups
from measure import Finding, Outcome, finding, share, unexplained
from seeds import GOOD_RUN, edited, gated, planned, run
from small_project import HERE as GATE
from small_project import ROOT

HERE = Path(__file__).parent
STORE = ROOT / ".harness" / "power"
PAGE = ROOT / "docs" / "power.md"
BEGIN, END = "<!-- figures: make power -->", "<!-- end of figures -->"
MADE_OF = ("harness", "model_server", "experiments", "scenarios", "gate.yaml", "tests/gate/small_project.py")
TRIES = 3  # for a good run to edit; on a busy machine one may be inconclusive


class Store:
    """The results so far, of this version of the gate."""

    def __init__(self, folder: Path, version: str):
        self._path, self.version, self.folder = folder / "results.jsonl", version, folder
        folder.mkdir(parents=True, exist_ok=True)
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self.results: dict[str, dict[str, Any]] = {}
        for line in lines:
            try:
                result = json.loads(line)
            except ValueError:
                continue  # cut short when it was interrupted
            if result["version"] == version:
                self.results[result["key"]] = result

    def put(self, key: str, **result: Any) -> None:
        self.results[key] = {"key": key, "version": self.version, "at": time.strftime("%F %T"), **result}
        with self._path.open("a") as out:
            out.write(json.dumps(self.results[key]) + "\n")

    def of(self, defect: Defect) -> dict[str, Any] | None:
        return self.results.get(key_of(defect))

    def good(self) -> list[dict[str, Any]]:
        return [result for key, result in self.results.items() if key.startswith("good/")]


def key_of(defect: Defect) -> str:
    """Its name, and the digest of what its file holds and of what seeds it; of several at once of all their files."""
    parts = [defect.path, *(defect.path.with_name(f"{name}.yaml") for name in defect.together)]
    parts += [HERE / "edits.py"] if any(seed.record for seed in defect.seeds) else []
    parts += [HERE / "seeded_server.py"] if any(seed.server for seed in defect.seeds) else []
    return f"{defect.name}/{hashlib.sha256(b''.join(path.read_bytes() for path in parts)).hexdigest()[:16]}"


def version_of(root: Path = ROOT) -> str:
    """The digest of all that the gate and the service are made of."""
    digest = hashlib.sha256()
    for part in MADE_OF:
        for file in sorted([root / part, *(root / part).rglob("*")]):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def commit() -> str:
    """The commit, with a + where files were changed since."""
    said = [
        subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        for args in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    return said[0] + ("+" if said[1] else "")


def note(
    store: Store, defect: Defect, found: Finding, outcome: Outcome, others: Sequence[Defect] = (), again: bool = False
) -> list[str]:
    """Store what became of a defect, and give it as lines."""
    store.put(
        key_of(defect), defect=defect.name, area=defect.area, unseen=defect.unseen, commit=commit(), again=again,
        exit_code=outcome.exit_code, beside=[other.name for other in others], **found._asdict(),
    )  # fmt: skip
    if defect.unseen:
        lines = [f"    {'SEEN AFTER ALL' if found.seen else 'NOT SEEN, as said'}  {defect.name}"]
    else:
        lines = [f"    {'right' if found.right else 'SEEN' if found.seen else 'MISSED'}  {defect.name}"]
    instead = [] if found.right else [*found.missing, *(f"instead: {said}" for said in found.instead)]
    return [*lines, *(f"        {line}" for line in instead)]


def measure_groups(store: Store, due: Sequence[Group], jobs: int) -> None:
    """Run their gates, so many at a time. A defect that is not named beside others, in its gate or on the machine, is
    measured again with nothing beside it; that result counts, and is marked."""
    with ThreadPoolExecutor(jobs) as pool:
        missed = list(chain.from_iterable(pool.map(lambda group: measure_group(store, group, jobs > 1), due)))
    for defect in missed:
        measure_group(store, Group(defect.gate, (defect,)), again=True)


def measure_group(store: Store, group: Group, crowded: bool = False, again: bool = False) -> list[Defect]:
    """Run one gate, and store what became of each of its defects. Gives those whose result is not stored, since
    something beside them, in the gate or on a crowded machine, may be why they were not named."""
    said = [f"gate with {', '.join(d.name for d in group.defects)}"]
    began = time.monotonic()
    (home := store.folder / "projects").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=home, prefix=f"{time.strftime('%Y%m%dT%H%M%S')}-{group.defects[0].name}-"))
    try:
        _, outcome = run(folder, group.gate, group.defects)
    except subprocess.TimeoutExpired as late:
        outcome = Outcome(-1, f"not over after {late.timeout:.0f} s")
    missed = []
    for defect in group.defects:
        others = [other for other in group.defects if other is not defect]
        found = finding(defect, outcome, () if defect.unseen else others)  # with the unseen nothing else is seeded
        if as_it_should_be(defect, found) or not (others or crowded):
            said += note(store, defect, found, outcome, others, again)
        else:
            missed.append(defect)
            said += [f"    not named beside others, so again: {defect.name}", *(f"        {m}" for m in found.missing)]
    if len(group.defects) > 1:
        said += [f"    beside these: {line[:160]}" for line in unexplained(group.defects, outcome)]
    said += [f"    {time.monotonic() - began:.0f} s"]
    if not missed and all(as_it_should_be(defect, finding(defect, outcome)) for defect in group.defects):
        shutil.rmtree(folder)
    else:
        (folder / "gate.out").write_text(outcome.said)
        said += [f"    see {folder}"]
    print(*said, sep="\n", flush=True)
    return missed


def as_it_should_be(defect: Defect, found: Finding) -> bool:
    return not found.seen if defect.unseen else found.right


def good_run(store: Store) -> Path:
    """A stored run of a good gate on the small project, made where there is none of this version. Raises RuntimeError
    where no gate of a few is green."""
    home = store.folder / "record" / store.version
    for tried in range(TRIES):
        for found in sorted(home.glob("*/runs/*/results.json")):
            if json.loads(found.read_text())["verdict"] == "PASS":
                return found.parent
        print(f"a good gate, whose record is edited ({tried + 1} of {TRIES} tries at most)", flush=True)
        (folder := home / str(time.time_ns())).mkdir(parents=True)
        gated(planned(folder, GOOD_RUN))
    raise RuntimeError(f"no gate of {TRIES} was green; see {home}")


def measure_records(store: Store, defects: Sequence[Defect], good: Path) -> None:
    with tempfile.TemporaryDirectory(dir=store.folder) as folder:
        for defect in defects:
            outcome = edited(good, defect.record, Path(folder) / defect.name)
            print(*note(store, defect, finding(defect, outcome), outcome), sep="\n", flush=True)


def measure_good(store: Store, times: int) -> None:
    """Run the project's own gate until so many are stored; the folders of their runs are kept, as pairs of runs with
    nothing between them."""
    home = store.folder / "good" / store.version
    if not home.exists():
        for part in ("experiments", "scenarios", "model_server", "docs"):
            shutil.copytree(ROOT / part, home / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "gate.yaml", home)
    for n in range(len(store.good()), times):
        began = time.monotonic()
        argv = [sys.executable, "-m", "harness.cli", "gate"]
        env = os.environ | {"PYTHONPATH": f"{GATE}{os.pathsep}{ROOT}"}
        done = subprocess.run(argv, cwd=home, env=env, capture_output=True, text=True)
        runs = (
            sorted(path for path in (home / "runs").iterdir() if path.name != "up")
            if done.returncode in (0, 1, 3)
            else []
        )
        results = json.loads((runs[-1] / "results.json").read_text())["results"] if runs else []
        red = [f"{r['verdict']} {r['check']}, {r['subject']}: {r['reason']}" for r in results if r["verdict"] != "PASS"]
        red = red or ([] if done.returncode == 0 else [done.stderr[-400:]])
        took_s = round(time.monotonic() - began, 1)
        store.put(f"good/{n}", run=str(runs[-1]) if runs else "", exit_code=done.returncode, red=red, took_s=took_s,
                  commit=commit())  # fmt: skip
        print(
            f"good gate {n + 1} of {times}: exit code {done.returncode}, {took_s:.0f} s", *red, sep="\n    ", flush=True
        )


def figures(store: Store, defects: Sequence[Defect], unseen: Sequence[Defect]) -> list[str]:
    """The table, and what was missed, as lines of Markdown."""
    ready = [defect for defect in defects if not defect.awaits]
    found = [result for defect in ready if (result := store.of(defect))]
    good = store.good()
    green = sum(g["exit_code"] == 0 for g in good)
    lines = [
        f"{time.strftime('%F')}, commit {commit()}. Intervals are of 95 %, exact (Clopper and Pearson).",
        "",
        "| figure | measured |",
        "|---|---|",
        f"| sensitivity: seeded defects that turned a gate red | {share(sum(f['seen'] for f in found), len(found))} |",
        f"| for the right reason: named by the result that is about it | "
        f"{share(sum(f['right'] for f in found), len(found))} |",
        f"| specificity: good gates that were green | {share(green, len(good))} |",
        f"| good gates that were red | {share(sum(g['exit_code'] == 1 for g in good), len(good))} |",
        "",
    ]
    areas = sorted({d.area for d in ready})
    lines += ["| area | defects | seen | for the right reason |", "|---|---|---|---|"]
    for area in areas:
        mine = [f for f in found if f["area"] == area]
        lines.append(f"| {area} | {len(mine)} | {sum(f['seen'] for f in mine)} | {sum(f['right'] for f in mine)} |")
    waiting = [d.name for d in defects if d.awaits]
    lines += ["", f"Not measured yet: {len(ready) - len(found)} of {len(ready)}."] if len(found) < len(ready) else []
    lines += ["", f"Left out, for their checks are not there yet: {len(waiting)}."] if waiting else []
    again = [f"`{f['defect']}`" for f in found if f["again"]]
    lines += ["", f"Measured again alone, not being named beside others: {', '.join(again)}."] if again else []
    missed = [f for f in found if not f["right"]]
    lines += ["", "What was not seen, or not for the right reason:", ""] if missed else []
    for f in missed:
        instead = "; ".join(f["instead"]) or "nothing was red"
        lines.append(f"- `{f['defect']}`: {'; '.join(f['missing'])}. Instead: {instead}")
    after_all = [d.name for d in unseen if (result := store.of(d)) and result["seen"]]
    lines += ["", f"Seen after all, and no longer to be listed below: {', '.join(after_all)}."] if after_all else []
    for g in good:
        lines += [f"- a good gate: {line}" for line in g["red"]]
    return [re.sub(r"\s+", " ", line.replace(str(ROOT) + "/", "")) for line in lines]


def put_into_page(lines: Iterable[str], page: Path = PAGE) -> None:
    """Put the figures between their marks."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, f"{page} has no marks for the figures"
    page.write_text("\n".join([before + BEGIN, "", *lines, "", END + after]))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measures the power of the gate.")
    parser.add_argument("--times", type=int, help="good gates (20; none with --only)")
    parser.add_argument("--only", type=re.compile, help="only defects whose name holds this pattern")
    parser.add_argument("--jobs", type=int, default=2, help="gates with defects at a time (2); good gates run alone")
    parser.add_argument("--record", type=Path, help="the run of a good gate that is edited, instead of one of its own")
    parser.add_argument("--again", action="store_true", help="also those that are measured already")
    args = parser.parse_args(argv)
    try:
        seen, unseen = read_all()
    except BadDefects as bad:
        print(bad, file=sys.stderr)
        return 2
    store = Store(STORE, version_of())
    asked = [d for d in (*seen, *unseen) if not d.awaits and (args.only is None or args.only.search(d.name))]
    due = [d for d in asked if args.again or store.of(d) is None]
    print(f"{len(due)} of {len(asked)} defects to be measured; what is known lies in {STORE}", flush=True)
    if records := [d for d in due if d.record]:
        measure_records(store, records, args.record or good_run(store))
    measure_groups(store, groups(due), args.jobs)
    measure_good(store, args.times if args.times is not None else 20 if args.only is None else 0)
    lines = figures(store, seen, unseen)
    put_into_page(lines)
    print(*lines, sep="\n")
    measured = [result for d in asked if (result := store.of(d))]
    bad = [r for r in measured if (r["seen"] if r["unseen"] else not r["right"])]
    return 1 if bad or any(g["exit_code"] for g in store.good()) else 0


if __name__ == "__main__":
    sys.exit(main())
