"""Puts defects into a small copy of the project, and runs its gate; edits a stored run, and judges it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import edits
from defect import Defect, Gate, Seed
from measure import Outcome
from small_project import ROOT, Project

from harness.errors import EvidenceError
from harness.report.json import RESULT
from harness.run.evidence import judge
from harness.run.seal import seal
from harness.verdict import Verdict, worst

HERE = Path(__file__).parent
PACKAGES = ("model_server", "harness")  # copied only where one is patched: the project's folder comes first on the path
STARTED_BY = "{python} -m model_server --port"
# A defect must be found on a machine that is busy with something else, too: there a late generator is no excuse here.
BUSY = {"starved": "9s", "neighbours": 1, "repeats": 0, "patience": "0s"}

# The gate whose record is edited: good, and with every rule, so that it stands for the project's own.
GOOD_RUN = Gate(
    experiments=("server-crash", "overload"),
    checks=("slos", "contracts", "quiet", {"answers": {"right_at_least": "95%"}}),
    every_rule=True,
)


def planned(folder: Path, gate: Gate, seeds: Iterable[Seed] = (), **generator) -> Project:
    """The project with the plan of a gate, and with defects."""
    project = Project(folder)
    apply(project, seeds)
    if not gate.every_rule:
        project.without_slow_rules()  # which writes files anew, so after the patches
    project.plan(gate.experiments, gate.checks, f"{gate.for_s:g}", gate.scenario, **generator)
    project.edit("gate.yaml", ["load", "arrivals"], gate.arrivals)
    return project


def apply(project: Project, seeds: Iterable[Seed]) -> None:
    """Put defects in. Raises AssertionError where a file has no such text, or has it twice."""
    seeds = list(seeds)
    for package in PACKAGES:
        if any(patch.file.startswith(f"{package}/") for seed in seeds for patch in seed.patch):
            shutil.copytree(ROOT / package, project.folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for patch in (patch for seed in seeds for patch in seed.patch):
        if patch.copy_of:
            shutil.copy(project.folder / patch.copy_of, project.folder / patch.file)
        replace(project.folder / patch.file, patch.find, patch.replace)
    for setting in (setting for seed in seeds for setting in seed.set):  # writes the file anew, so last
        project.edit(setting.file, list(setting.path), setting.value)
    if servers := [seed.server for seed in seeds if seed.server]:
        seeded = f"{sys.executable} {HERE}/seeded_server.py {','.join(servers)} --port"
        project.replace("service/service.yaml", STARTED_BY, seeded)


def replace(file: Path, find: str, by: str) -> None:
    file.write_text(replaced(file.read_text(), find, by, str(file)))


def replaced(text: str, find: str, by: str, name: str) -> str:
    """A text in which something is replaced that is there once. Raises AssertionError."""
    assert text.count(find) == 1, f"{name} has {text.count(find)} times {find!r}"
    return text.replace(find, by)


def source(file: str) -> Path:
    """Where the repository has what is this file in the small project."""
    return ROOT / ("model_server" + file.removeprefix("service") if file.startswith("service/") else file)


def run(folder: Path, gate: Gate, defects: Sequence[Defect], *args: str) -> tuple[Project, Outcome]:
    """A gate with these defects, in a folder that must not be there."""
    project = planned(folder, gate, [seed for defect in defects for seed in defect.seeds], **BUSY)
    if any(defect.ends_the_gate for defect in defects):
        project.edit("service/service.yaml", ["start", "ready_within"], "25s")  # what never comes is not waited for
    return project, gated(project, *args)


def gated(project: Project, *args: str, timeout_s: float = 390) -> Outcome:
    """The outcome of the gate of a project."""
    path = os.pathsep.join(map(str, (project.folder, HERE, HERE.parent / "gate", ROOT)))
    done = project.harness("gate", *args, timeout_s=timeout_s, PYTHONPATH=path)
    judged = done.returncode in (0, 1, 3)
    return Outcome(done.returncode, done.stdout + done.stderr, list(project.results().values()) if judged else ())


def edited(good: Path, edit: str, folder: Path) -> Outcome:
    """The outcome of judging a stored run in which something was edited. Its copy is in a folder that must not be
    there; files that are not edited are the same ones."""
    shutil.copytree(good, folder, copy_function=os.link)
    change, record = edits.EDITS[edit], edits.Record(folder)
    edits.machine_of_its_own(record)
    _seal_again(folder)
    change.apply(record)
    if change.sealed_again:
        _seal_again(folder)
    try:
        results = judge(folder).results
    except EvidenceError as error:
        said = {"check": "evidence", "subject": "the record", "verdict": "INCONCLUSIVE", "reason": str(error)}
        return Outcome(Verdict.INCONCLUSIVE.exit_code, str(error), [said])
    told = [{name: getattr(r, name) for name in RESULT} | {"verdict": r.verdict.name} for r in results]
    return Outcome(worst(results).exit_code, "", told)


def _seal_again(run: Path) -> None:
    (run / "seal.json").unlink()
    seal(run)
