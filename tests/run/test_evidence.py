"""A stored run is judged as it was recorded or not at all, whatever becomes of its files, wherever it was cut off."""

import gzip
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from stored_run import write

from harness.cli.main import main
from harness.history import ROW
from harness.plan.stored import VERSION
from harness.stack.ledger import Ledger, heal

READ = (
    "events.jsonl", "probes.jsonl", "notifications.jsonl", "samples.jsonl.gz", "requests-load.rows", "replays.json",
    "journals/sham.json", "plan.yaml", "seal.json",
)  # fmt: skip
PRESENT = f"version: {VERSION}".encode()  # in plan.yaml


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By what they are: green, red, and the same without a seal; not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    made = {"green": {}, "red": {"wrong": True}}
    made |= {f"{name}, unsealed": {**how, "sealed": False} for name, how in made.items()}
    made |= {"cut off": {"ended": False}, "red, cut off": {"ended": False, "wrong": True}}
    return {name: write(folder / name, **how) for name, how in made.items()}


@pytest.fixture
def run(runs, tmp_path):
    """Gives a copy of a run that may be changed."""

    def copied(name="red") -> Path:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return Path(shutil.copytree(runs[name], tmp_path / "run"))

    return copied


@pytest.fixture
def check(capfd):
    """Judges a run; gives the exit code and what was said, which is never a traceback."""

    def judged(folder):
        code = main(["check", str(folder)])
        said = "".join(capfd.readouterr())
        assert "Traceback" not in said and "itself broke" not in said and code != 70, said
        return code, said

    return judged


def edit(path, change):
    path.write_bytes(change(path.read_bytes()))


def packed(change):
    """The same change to what is in a gzip file."""
    return lambda data: gzip.compress(change(gzip.decompress(data)))


def line(number, text):
    """Replace a line, counted from 1."""

    def change(data):
        lines = data.split(b"\n")
        lines[number - 1] = text
        return b"\n".join(lines)

    return change


@pytest.mark.parametrize(("name", "code"), [("green", 0), ("red", 1)])
def test_a_sealed_run_is_judged_as_often_as_one_likes_with_the_same_reports(run, check, name, code):
    folder = run(name)
    assert check(folder)[0] == code
    first = {report: (folder / report).read_bytes() for report in ("results.json", "junit.xml", "report.html")}
    (folder / "notes.txt").write_text("looked at by me")
    (folder / "summary.md").write_text("a report of a later harness")
    Ledger(folder).add("pause", "sham", {}, {}, (), 1.0)
    assert heal(folder)[0], "what it left is healed later"
    assert check(folder)[0] == code
    assert first == {report: (folder / report).read_bytes() for report in first}


@pytest.mark.parametrize("name", ["green, unsealed", "red, unsealed"])
def test_a_run_of_an_older_harness_is_judged_with_a_remark(run, check, name):
    code, said = check(run(name))
    assert code == ("red" in name) and "is not sealed, so it is not known whether it was edited since" in said


DAMAGE = {  # in an unsealed run, so that only its content can show it: file, change, what is said
    "a line that is not JSON": ("probes.jsonl", line(5, b"{"), "probes.jsonl:5: is not JSON"),
    "one flipped bit in the brackets": ("probes.jsonl", line(17, b"Z1,2]"), "probes.jsonl:17: is not JSON"),
    "a line that is empty": ("probes.jsonl", line(5, b""), "probes.jsonl:5: is not JSON"),
    "no UTF-8": ("probes.jsonl", line(5, b'[1,"\xff"]'), "probes.jsonl:5: is not UTF-8"),
    "another encoding": ("events.jsonl", lambda d: d.decode().encode("utf-16"), "events.jsonl:1: is not UTF-8"),
    "a digit too many for a number": ("probes.jsonl", line(5, b"[" + b"9" * 5000), "probes.jsonl:5: is not JSON"),
    "nested without end": ("probes.jsonl", line(5, b"[" * 100000), "probes.jsonl:5: is not JSON"),
    "too few values": ("probes.jsonl", line(5, b'[1.0,"liveness"]'), "probes.jsonl:5: is no ProbeAnswer"),
    "too many values": ("events.jsonl", line(2, b'[1,"a","b","ok",null,{},1]'), "events.jsonl:2: is no Event"),
    "an object for a list": ("events.jsonl", line(2, b'{"at":1}'), "events.jsonl:2: is no Event"),
    "a text for a number": (
        "probes.jsonl", line(5, b'["1","liveness",true,200,0.1,"",""]'), 'its at is "1"',
    ),
    "a number for a truth": ("probes.jsonl", line(5, b'[1,"liveness",1,200,0.1,"",""]'), "probes.jsonl:5: is no"),
    "a truth for a number": ("probes.jsonl", line(5, b'[1,"liveness",true,true,0.1,"",""]'), "probes.jsonl:5: is no"),
    "a decision that there is not": (
        "probes.jsonl", line(5, b'[1,"readiness",true,200,0.1,"","unreadx"]'), 'its decision is "unreadx"',
    ),
    "an outcome that there is not": ("events.jsonl", line(3, b'[1,"a","b","fine"]'), 'events.jsonl:3: is no Event'),
    "a time that has no date": ("events.jsonl", line(3, b'[1e300,"a","b"]'), "events.jsonl:3: is no Event: its at is"),
    "no time": ("events.jsonl", line(3, b'[NaN,"a","b"]'), "events.jsonl:3: is no Event: its at is NaN"),
    "alerts that are a text": (
        "notifications.jsonl", line(1, b'[1,"r","webhook","firing","Watchdog",[],""]'), "notifications.jsonl:1: is no",
    ),
    "a status that there is not": (
        "notifications.jsonl", line(1, b'[1,"r","webhook","fireng",["Watchdog"],[],""]'), 'its status is "fireng"',
    ),
    "a last line cut short": ("probes.jsonl", lambda d: d[:-3], "is cut short"),
    "a last line without its end": ("probes.jsonl", lambda d: d[:-1], "probes.jsonl:25: is cut short"),
    "a gzip file cut by a byte": ("samples.jsonl.gz", lambda d: d[:-1], "samples.jsonl.gz: is cut short after line 2"),
    "a gzip file cut to nothing": ("samples.jsonl.gz", lambda d: b"", "samples.jsonl.gz: is empty"),
    "a gzip file with a wrong checksum": (
        "samples.jsonl.gz", lambda d: d[:-6] + bytes([d[-6] ^ 1]) + d[-5:], "cannot be read after line 2: CRC check",
    ),
    "a gzip file that is none": ("samples.jsonl.gz", lambda d: b"x" + d, "Not a gzipped file"),
    "a gzip file with something after it": ("samples.jsonl.gz", lambda d: d + b"x", "samples.jsonl.gz: cannot be read"),
    "a sample that is a text": (
        "samples.jsonl.gz", packed(line(2, b'[{"__name__":"up"},[1],["1"]]')), "samples.jsonl.gz:2: is no Series",
    ),
    "a row cut short": ("requests-load.rows", lambda d: d[:-1], "requests-load.rows: is cut short after row 2699"),
    "a byte too many": ("requests-load.rows", lambda d: d + b"x", "requests-load.rows: is cut short after row 2700"),
    "an outcome of no row": (
        "requests-load.rows", lambda d: d[: ROW.itemsize + 8] + b"\xff" + d[ROW.itemsize + 9 :], "row 2 is none that",
    ),
    "replays that are not JSON": ("replays.json", lambda d: d[:-3], "replays.json: is not JSON"),
    "replays that are a list": ("replays.json", lambda d: b"[]", "replays.json: does not hold what the harness writes"),
    "a replay without its values": (
        "replays.json", lambda d: b'{"sham": {"ServiceDown": [1, 2]}}', "replays.json: sham: ServiceDown: is no Replay",
    ),
    "a journal that is not JSON": ("journals/sham.json", lambda d: d[:-3], "journals/sham.json: is not JSON"),
    "a journal that is a list": ("journals/sham.json", lambda d: b"[]", "journals/sham.json: does not hold what"),
    "a plan that is not YAML": ("plan.yaml", lambda d: d + b"\n{", "plan.yaml:"),
    "a plan that is no mapping": ("plan.yaml", lambda d: b"[]", "plan.yaml:1: is not a stored plan"),
    "a plan of another version": ("plan.yaml", lambda d: d.replace(PRESENT, b"version: 9"), "is of version 9"),
    "a plan with a check of no kind": ("plan.yaml", lambda d: d.replace(b"check: quiet", b"check: quite"), "checks[1]"),
    "a plan without a part": ("plan.yaml", lambda d: d.replace(b"experiments:", b"experiment:"), "what no run writes"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "change", "says"), DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["red, unsealed", "red"])
def test_damage_is_exit_3_in_one_line_that_names_the_file_and_its_line(run, check, name, file, change, says):
    folder = run(name)
    edit(folder / file, change)
    code, said = check(folder)
    assert code == 3 and len(said.splitlines()) == 1, said
    assert says in said if name != "red" or file != "plan.yaml" else "edited since it was sealed: plan.yaml" in said
    stored = json.loads((folder / "results.json").read_text())
    assert (stored["verdict"], stored["exit_code"], len(stored["results"])) == ("INCONCLUSIVE", 3, 1)
    assert 'errors="1"' in (folder / "junit.xml").read_text()


@pytest.mark.parametrize("file", READ[:-1])
def test_a_file_that_is_missing_is_exit_3_and_named(run, check, file):
    for name in ("red", "red, unsealed"):
        folder = run(name)
        (folder / file).unlink()
        code, said = check(folder)
        if (name, file) == ("red, unsealed", "events.jsonl"):
            assert code == 3 and "the run did not end: its stack was not up yet" in said, said
        elif (name, file) == ("red, unsealed", "journals/sham.json"):
            assert code == 3 and "Chaos Toolkit left no journal" in said, "a child that was killed leaves none"
        else:
            assert code == 3 and file in said and ("missing" in said or "removed" in said or "no such" in said), said


@pytest.mark.parametrize("what", ["folder", "fifo", "device"])
def test_what_is_no_file_is_not_waited_for(run, check, what):
    for name in ("red", "red, unsealed"):
        for file in ("probes.jsonl", "requests-load.rows", "replays.json", "samples.jsonl.gz"):
            folder = run(name)
            (folder / file).unlink()
            if what == "folder":
                (folder / file).mkdir()
            elif what == "fifo":
                os.mkfifo(folder / file)
            else:
                (folder / file).symlink_to("/dev/zero")
            code, said = check(folder)
            assert code == 3 and file in said, said


def test_one_edit_that_leaves_it_readable_names_the_file(run, check):
    edits = {
        "probes.jsonl": lambda d: d.replace(b"unready", b"ready"),
        "events.jsonl": lambda d: d.replace(b'"lag_p99_ms":1.0', b'"lag_p99_ms":0.9'),
        "requests-load.rows": lambda d: d[ROW.itemsize :],
        "plan.yaml": lambda d: d.replace(b"target: 0.01", b"target: 0.02"),
        "notifications.jsonl": lambda d: b"",
        "logs/server.log": lambda d: d + b"line\n",
        "environment.json": lambda d: b"{} ",
        "types.json": lambda d: b"[]",
        "samples.jsonl.gz": packed(lambda d: d.replace(b"Watchdog", b"Watchcat")),
        "replays.json": lambda d: b"{}",
        "journals/sham.json": lambda d: d.replace(b"completed", b"compIeted"),
    }
    for file, change in edits.items():
        folder = run("red")
        edit(folder / file, change)
        code, said = check(folder)
        assert code == 3 and f"edited since it was sealed: {file}" in said and len(said.splitlines()) == 1, said


def test_several_changes_are_all_named(run, check):
    folder = run()
    edit(folder / "probes.jsonl", lambda d: d.replace(b"unready", b"ready"))
    edit(folder / "plan.yaml", lambda d: d + b"# \n")
    (folder / "types.json").unlink()
    shutil.copy(folder / "requests-load.rows", folder / "requests-surge.rows")
    (folder / "journals/other.json").write_text("{}")
    code, said = check(folder)
    assert code == 3
    assert (
        "edited since it was sealed: plan.yaml, probes.jsonl" in said
        and "removed since it was sealed: types.json" in said
    )
    assert "added since it was sealed: requests-surge.rows, journals/other.json" in said


SEALS = {
    "missing": (None, "seal.json: is missing: the run was cut off before it was sealed"),
    "cut": (lambda d: d[:-5], "seal.json: is not JSON"),
    "empty": (lambda d: b"", "seal.json: is not JSON"),
    "a list": (lambda d: b"[]", "seal.json: does not hold what the harness writes there"),
    "no files": (lambda d: b'{"version": 1}', "seal.json: is damaged or edited"),
    "another digest": (lambda d: d.replace(b'"types.json": "4', b'"types.json": "5'), "is damaged or edited"),
    "a line more": (lambda d: d + b"\n", "seal.json: is damaged or edited"),
    "a file left out": (lambda d: d.replace(b'"probes.jsonl"', b'"probes.json"'), "seal.json: is damaged or edited"),
    "a newer version": (lambda d: d.replace(b'"version": 1', b'"version": 2'), "is of version 2"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says"), SEALS.values(), ids=SEALS)
def test_a_seal_that_is_missing_or_damaged_is_exit_3(run, check, change, says):
    folder = run("green")
    edit(folder / "seal.json", change) if change else (folder / "seal.json").unlink()
    code, said = check(folder)
    assert code == 3 and says in said and len(said.splitlines()) == 1, said


@pytest.mark.parametrize("name", ["red", "red, unsealed"])
@pytest.mark.parametrize("file", READ)
def test_whatever_becomes_of_a_file_no_failed_run_passes_and_nothing_breaks(run, check, name, file):
    """Bits flipped, cut off, emptied, pieces repeated, exchanged or overwritten, by a seed."""
    chance, folder = random.Random(file), run(name)
    if not (folder / file).exists():
        return
    good = (folder / file).read_bytes()

    def somewhere():
        return chance.randrange(len(good))

    def spoiled():
        data, at, until = bytearray(good), *sorted((somewhere(), somewhere()))
        match chance.randrange(6):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at:]
            case 2:
                del data[at : at + chance.randrange(1, 200)]
            case 3:
                data[at:at] = good[at:until][:500]
            case 4:
                data[at : at + 20] = chance.randbytes(20)
            case 5:
                data[at:at] = chance.choice([b"\n", b"null", b"[]", b"{}", b"\0", b"-", b'"', b"9" * 30, b"NaN", b"e9"])
        return bytes(data)

    for _ in range(15):
        (folder / file).write_bytes(data := spoiled())
        code, said = check(folder)
        if data == good or name != "red":
            assert code in (1, 3, 0), said  # without a seal a figure that became another cannot be told
        else:
            assert code == 3 and len(said.splitlines()) == 1, said


NO_RUNS = {
    "nothing": lambda path: None,
    "a file": lambda path: path.write_text("x"),
    "an empty folder": lambda path: path.mkdir(),
    "a folder of something else": lambda path: (path.mkdir(), (path / "gate.yaml").write_text("x")),
    "the folder of runs": lambda path: write(path / "20261128T131534Z-0000"),
}


@pytest.mark.parametrize("make", NO_RUNS.values(), ids=NO_RUNS)
def test_what_is_no_run_is_exit_2(tmp_path, check, make):
    make(tmp_path / "there")
    code, said = check(tmp_path / "there")
    assert code == 2 and "not a run's folder; `ls runs/` shows the stored runs" in said
    assert not (tmp_path / "there/results.json").exists()


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000])
def test_a_name_that_no_folder_can_have_is_exit_2(tmp_path, check, name):
    code, said = check(tmp_path / name)
    assert code == 2 and "not a run's folder" in said


@pytest.mark.parametrize("file", ["results.json", "junit.xml", "report.html"])
def test_a_report_is_written_beside_what_has_its_name_and_not_through_it(run, check, file):
    """A link to evidence, which would be overwritten, or a named pipe, which nobody reads."""
    for make in (lambda path: path.symlink_to("plan.yaml"), os.mkfifo):
        folder = run("green")
        (folder / file).unlink(missing_ok=True)
        make(folder / file)
        for _ in range(2):
            assert check(folder)[0] == 0
        assert (folder / file).is_file() and not (folder / file).is_symlink()
        assert not list(folder.glob("*.new"))


def test_a_run_that_was_cut_off_has_no_verdict_and_says_how_far_it_came(run, check):
    """(h19) Whatever was found until then is told, and is no verdict; of the phase that was cut off nothing is."""
    for name in ("cut off", "red, cut off"):
        folder = run(name)
        code, said = check(folder)
        assert code == 3 and said.startswith("INCONCLUSIVE"), said
        assert "the run did not end: it was over with sham; its last event is of 08:00:45 UTC" in said
        assert (
            "  FAIL" not in said and "  PASS" not in said and "what was seen until then: 0 % of 1,170 requests" in said
        )
        assert " ".join(said.splitlines()[2].split()).startswith("? the run the run did not end"), "its cause"
        stored = json.loads((folder / "results.json").read_text())
        assert stored["exit_code"] == 3 and {r["verdict"] for r in stored["results"]} == {"INCONCLUSIVE"}
        assert 'failures="0"' in (folder / "junit.xml").read_text()


def test_of_the_phase_in_which_it_was_cut_off_nothing_is_said(run, check):
    folder = run("red, cut off")
    edit(folder / "events.jsonl", lambda d: b"\n".join(one for one in d.split(b"\n") if b'"ledger"' not in one))
    code, said = check(folder)
    assert code == 3 and "the run did not end: it was in sham" in said and "took it out of traffic" not in said
    assert "until then: 0 % of 1,170 requests failed" in said, "the steady load was over"


def test_where_a_run_was_cut_off_its_last_lines_may_be_torn_and_nothing_else(run, check):
    """At any byte of what was written last; the steps after it are then missing."""
    chance = random.Random(3)
    for file in READ[:5]:
        for _ in range(4):
            folder = run("red, cut off")
            size = (folder / file).stat().st_size
            edit(folder / file, lambda d, size=size: d[: chance.randrange(size // 2, size)])
            (folder / "replays.json").unlink()
            code, said = check(folder)
            assert code == 3 and "the run did not end" in said, said
    folder = run("red, cut off")
    edit(folder / "probes.jsonl", line(3, b"{"))
    code, said = check(folder)
    assert code == 3 and "probes.jsonl:3: is not JSON" in said


def test_a_run_killed_before_anything_was_written_did_not_end(tmp_path, run, check):
    folder = run("cut off")
    kept = {"plan.yaml", "environment.json"}
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    code, said = check(folder)
    assert code == 3 and "the run did not end: its stack was not up yet" in said, said
    (folder / "plan.yaml").unlink()
    assert check(folder)[0] == 3


def test_what_begins_after_the_end_makes_it_unended_again(run, check):
    """Another experiment against the same stack, killed."""
    folder = run("green, unsealed")
    with open(folder / "events.jsonl", "a") as events:
        events.write('[1800000047.0,"run","phase","ok",null,{"phase":"sham","edge":"begin"}]\n')
    code, said = check(folder)
    assert code == 3 and "the run did not end: it was in sham" in said, said


def test_a_report_that_cannot_be_written_is_no_crash(run, check):
    folder = run("green")
    (folder / "results.json").mkdir()
    code, said = check(folder)
    assert code == 3 and "results.json: the report could not be written: Is a directory" in said
