"""The history of runs: one file, whoever writes it, and whatever it is found to be."""

import json
import multiprocessing
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from stored_run import CHECKS, T, write

from harness.checks import BaselineFigures
from harness.checks.view import StartExpectation
from harness.cli.main import main
from harness.errors import HistoryError, PlanError, UsageError
from harness.history import History, PastRun
from harness.plan.plan import load
from harness.plan.stored import VERSION, dump, stored
from harness.run import runs
from harness.run.comparable import digest, machine
from harness.run.seal import seal
from harness.verdict import Verdict

ROOT = Path(__file__).parents[2]
PLAN, MACHINE = "0123456789ab", "Some Processor, 2 cores, 8 GiB, no GPU"


def entry(n, verdict="PASS", plan=PLAN, machine=MACHINE, p50=4.0):
    kept = PastRun(f"run-{n:03}", 1000.0 + n, {"steady": {"latency p50": p50, "pace": 0.3}}, {}, {"up": ["job"]})
    return runs.Entry(kept, verdict, plan, machine, "svc", "abc1234")


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".harness/history.sqlite"


def ids(path, **how):
    return [run.id for run in runs.baseline(path, how.get("plan", PLAN), how.get("machine", MACHINE), 20)]


def test_the_last_passing_runs_of_the_plan_on_the_kind_of_machine_are_the_baseline(path):
    assert runs.listed(path) == [] == ids(path) and not path.exists()
    others = [entry(1, "FAIL"), entry(2, "INCONCLUSIVE"), entry(3, plan="other"), entry(4, machine="other")]
    for one in [*others, *(entry(n) for n in range(5, 30))]:
        assert runs.add(path, one)
    assert ids(path) == [f"run-{n:03}" for n in range(10, 30)]
    assert ids(path, plan="other") == ["run-003"] and ids(path, machine="other") == ["run-004"]
    assert runs.listed(path)[4] == entry(5)
    assert not runs.add(path, entry(5, p50=9.0)), "a run is added once"
    assert runs.listed(path)[4].run.figures["steady"]["latency p50"] == 4.0


def test_an_accepted_run_begins_the_baseline_anew_and_one_that_is_red_is_no_part_of_it(path):
    for n in range(10):
        runs.add(path, entry(n, "FAIL" if n == 6 else "PASS"))
    runs.add(path, entry(3, plan="other")._replace(run=entry(20).run))
    assert runs.accept(path, "run-004").accepted
    assert ids(path) == ["run-004", "run-005", "run-007", "run-008", "run-009"]
    runs.accept(path, "run-006")
    assert ids(path) == ["run-007", "run-008", "run-009"]
    assert ids(path, plan="other") == ["run-020"], "another plan has its own"
    with pytest.raises(UsageError, match="no run nowhere"):
        runs.accept(path, "nowhere")


def _add(path, first):
    for n in range(first, first + 20):
        runs.add(path, entry(n))


def test_processes_that_write_at_once_lose_nothing(path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add, args=(path, first)) for first in (0, 100)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(60)
        assert one.exitcode == 0
    assert len(runs.listed(path)) == 40


def damaged(path, what):
    if what == "newer":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 9")
    elif what == "another's":
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE theirs (x)")
    elif what == "no database":
        path.write_text("not a database, but some text that is long enough to be one" * 100)
    elif what == "overwritten":
        content = bytearray(path.read_bytes())
        content[4096 : 4096 + 3000] = bytes(3000)
        path.write_bytes(content)
    elif what == "a row of another form":
        with sqlite3.connect(path) as db:
            db.execute("UPDATE runs SET kept = '{}'")
    else:
        path.unlink()
        os.mkfifo(path) if what == "a pipe" else path.mkdir()


WRONG = {
    "newer": "is of version 9, and this harness reads version 1; use the harness that wrote it, or remove the file",
    "another's": "is the database of another program; name another file by `history:`",
    "no database": "is damaged, or no history of runs: file is not a database; remove the file",
    "overwritten": "is damaged",
    "a row of another form": "run run-001: is damaged: its row",
    "a pipe": "is a named pipe",
    "a folder": "is a folder",
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_is_not_as_this_harness_writes_it_is_refused_and_left_alone(path, what):
    runs.add(path, entry(1))
    damaged(path, what)
    before = path.read_bytes() if path.is_file() else None
    uses = (runs.listed, lambda p: ids(p), lambda p: runs.add(p, entry(2)) and runs.listed(p))
    for use in uses:
        with pytest.raises(HistoryError) as refused:
            use(path)
        assert WRONG[what] in str(refused.value) and str(path) in str(refused.value)
    if before is not None and what != "a row of another form":
        assert path.read_bytes() == before


def test_one_that_is_locked_says_so_and_is_waited_for(path):
    runs.add(path, entry(1))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(HistoryError, match=r"another process has had it locked for 0\.1 s"):
        runs.add(path, entry(2), busy_s=0.1)
    holder.execute("COMMIT")
    assert runs.add(path, entry(2)) and len(runs.listed(path)) == 2
    holder.close()


@pytest.fixture(scope="module")
def plan():
    return load(ROOT / "gate.yaml")


def test_a_plan_is_refused_whose_history_is_none(plan, tmp_path):
    there = replace(plan, workdir=tmp_path)
    runs.look(there)
    (tmp_path / ".harness").mkdir()
    (tmp_path / ".harness/history.sqlite").write_text("not a database" * 100)
    with pytest.raises(PlanError, match=r"gate\.yaml:1: history: .*history\.sqlite: is damaged") as refused:
        runs.look(there)
    assert refused.value.exit_code == 2


def test_plans_are_alike_by_what_they_do(plan, tmp_path):
    same = digest(plan)
    assert same == digest(plan) == digest(replace(plan, checks=(), rules=(), rule_facts=()))
    gate = plan.gate
    assert digest(replace(plan, gate=gate.model_copy(update={"time_scale": 30}))) != same
    assert digest(replace(plan, gate=gate.model_copy(update={"settle": 3.0}))) == same
    longer = gate.load.model_copy(update={"for_s": 60.0})
    assert digest(replace(plan, gate=gate.model_copy(update={"load": longer}))) != same
    assert digest(replace(plan, experiments=plan.experiments[1:])) != same
    crash = plan.experiments[1]
    text = crash.path.read_text()
    contract, method = tmp_path / "server-crash.yaml", tmp_path / "other.yaml"
    contract.write_text(text.replace("resolves_within: 2m", "resolves_within: 3m"))
    method.write_text(text.replace("server", "cache"))
    assert contract.read_text() != text
    for path, like in ((contract, True), (method, False)):
        experiments = [replace(e, path=path) if e is crash else e for e in plan.experiments]
        assert (digest(replace(plan, experiments=tuple(experiments))) == same) is like
    scenario = tmp_path / "s.py"
    scenario.write_text("x")
    assert digest(replace(plan, scenario=scenario)) != same
    start = StartExpectation(environment={"PYTHONPATH": "inside"})
    started = replace(crash, contract=crash.contract.model_copy(update={"start": start}))
    elsewhere = replace(started, environment={"PYTHONPATH": "/anywhere/inside"})
    alone = {digest(replace(plan, experiments=(one,))) for one in (started, elsewhere)}
    assert len(alone) == 1 and digest(replace(plan, experiments=(crash,))) not in alone


def test_the_kind_of_machine_is_a_few_words():
    assert machine() == machine() and "core" in machine() and "GiB" in machine()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("gate.yaml").write_text("service: svc/service.yaml\n")
    return tmp_path


def a_run(name, plan=PLAN, baseline=None, checks=CHECKS, earlier_s=0.0, **how):
    folder = write(Path("runs") / name, sealed=False, **how)
    (folder / "environment.json").write_text(json.dumps({"comparable": {"plan": plan, "machine": MACHINE}}))
    entries = {"version": VERSION, "experiments": ["sham"], "rules": [], "checks": [stored(c) for c in checks]}
    (folder / "plan.yaml").write_text(dump(entries))
    if baseline is not None:
        (folder / "baseline.json").write_text(baseline)
    events = (folder / "events.jsonl").read_text().replace('"ended","ok",46,{}', '"ended","ok",46,{"sealed":true}')
    begun = f'[{T},"run","started"'
    assert begun in events
    (folder / "events.jsonl").write_text(events.replace(begun, f'[{T - earlier_s},"run","started"'))
    seal(folder)
    return folder


def test_a_stored_run_is_added_once_listed_and_accepted_by_commands(project, capsys):
    assert main(["history"]) == 0 and "no run is recorded in .harness/history.sqlite" in capsys.readouterr().out
    for n in range(6):
        assert main(["history", "add", str(a_run(f"run-{n}", wrong=n == 3, earlier_s=9 - n))]) == 0
    assert main(["history", "add", "runs/run-0"]) == 0
    assert "run-0 was there already: PASS" in capsys.readouterr().out
    assert main(["history"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("* run-") == 5 and "  run-3                  FAIL" in listed and f"plan {PLAN}" in listed
    assert main(["history", "accept", "runs/run-3"]) == 0
    assert "begins after it, for it ended FAIL" in capsys.readouterr().out
    assert main(["history"]) == 0
    assert capsys.readouterr().out.count("* run-") == 2
    assert main(["history", "accept", "run-9"]) == 2


def test_judging_a_stored_run_adds_nothing_and_goes_by_what_is_sealed_with_it(project, capsys):
    five = [[f"run-{n}", n, {"steady": {"latency p50": 50.0 + n, "errors": 0.0}}, {}, {}] for n in range(5)]
    baseline = json.dumps({"version": 1, "problem": "", "runs": five})
    folder = a_run("slow", baseline=baseline, checks=[*CHECKS, BaselineFigures("steady")])
    for _ in range(2):
        assert main(["check", str(folder)]) == 1
        assert "latency p50 100 ms, expected 52 ms" in capsys.readouterr().out
    assert not Path(".harness").exists()
    (folder / "baseline.json").write_text(baseline.replace("50.0", "99.0"))
    assert main(["check", str(folder)]) == 3 and "baseline.json" in capsys.readouterr().err
    without = a_run("without", checks=[*CHECKS, BaselineFigures("steady")])
    assert main(["check", str(without)]) == 0 and "it looked for none" in capsys.readouterr().out
    (without / "baseline.json").write_text(baseline)
    assert main(["check", str(without)]) == 3 and "added since it was sealed: baseline" in capsys.readouterr().err
    for wrong in ("[]", '{"version": 2, "runs": []}', '{"version": 1, "runs": [[1]]}', "{"):
        run = a_run(f"wrong-{len(wrong)}", baseline=wrong)
        assert main(["check", str(run)]) == 3 and "baseline.json" in capsys.readouterr().err


def test_a_run_tells_why_it_could_not_be_compared(project, plan, capsys):
    folder = a_run("one")
    there = replace(plan, workdir=project)
    runs.store_baseline(there, folder)
    assert History.read(folder).baseline.runs == ()
    Path(".harness").mkdir()
    Path(".harness/history.sqlite").write_text("not a database" * 100)
    runs.store_baseline(there, folder)
    known = History.read(folder).baseline
    assert known.runs == () and "is damaged, or no history of runs" in known.problem


def test_what_stands_against_adding_a_run_is_a_remark_and_how_to_add_it_later(project, capsys):
    from harness.cli.history import remember

    folder, path = a_run("one"), Path(".harness/history.sqlite")
    path.parent.mkdir()
    path.write_text("not a database" * 100)
    remember(path, folder, Verdict.PASS)
    assert "to add it later: harness history add runs/one" in capsys.readouterr().err
    path.unlink()
    remember(path, folder, Verdict.PASS)
    assert [(e.run.id, e.verdict, e.plan) for e in runs.listed(path)] == [("one", "PASS", PLAN)]
    environment = folder / "environment.json"
    environment.write_text("{}")
    remember(path, folder, Verdict.PASS)
    assert "does not say of which plan it is" in capsys.readouterr().err


def test_two_runs_are_compared_by_their_rows_or_by_what_is_kept_of_them(project, capsys):
    one, two, other = a_run("one"), a_run("two"), a_run("three", plan="other")
    assert main(["compare", str(one), "two"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("PASS  two against one") and "steady: latency p50" in said.out
    assert "remark: only 0 earlier passing runs" in said.err
    assert main(["compare", str(one), str(other)]) == 3 and "different plans" in capsys.readouterr().err
    for n in range(12):
        runs.add(Path(".harness/history.sqlite"), entry(n, p50=4.0 + n % 3 / 100))
    runs.add(Path(".harness/history.sqlite"), entry(20, "FAIL", p50=5.0))
    assert main(["compare", "run-001", "run-002"]) == 0
    assert main(["compare", "run-001", "run-020"]) == 1
    assert "  worse  steady: latency p50" in capsys.readouterr().out
    assert main(["compare", "run-020", "run-001"]) == 0 and "  better steady" in capsys.readouterr().out
    assert main(["compare", "run-001", "nowhere"]) == 2 and "no run nowhere" in capsys.readouterr().err
    with open(two / "probes.jsonl", "a") as file:
        file.write("x\n")
    assert main(["compare", str(one), str(two)]) == 3 and "edited since it was sealed" in capsys.readouterr().err
