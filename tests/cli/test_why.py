"""`harness why`: what a failing result rests on, found in the run's folder; and what it says where it cannot."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "run"))
import stored_run

from harness.cli.main import main


def why(capsys, *words):
    code = main(["why", *map(str, words)])
    return code, *capsys.readouterr()


@pytest.fixture
def red(tmp_path, capsys):
    """A judged run in which readiness took the service out of traffic, and in which nothing is sealed."""
    run = stored_run.write(tmp_path / "red", wrong=True, sealed=False)
    assert main(["check", str(run)]) == 1
    report = capsys.readouterr().out
    assert f"why: harness why {run} 1" in report and f"harness why {run} 2" not in report
    return run


def test_all_that_failed_is_shown_with_its_records(red, capsys):
    code, out, _ = why(capsys, red)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "1 FAIL probes sham: probes" and "never expected" in lines[1] + lines[2]
    assert any(
        "- probe readiness of server, sham +" in line and "so it was unready" in " ".join(lines) for line in lines
    )
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", ["1", "probes", "sham: probes", "probes sham: probes", "PROBES SHAM"])
def test_a_result_is_named_by_its_number_or_by_its_name_or_a_part_of_that(red, capsys, name):
    code, out, _ = why(capsys, red, *name.split())
    assert code == 0 and out.startswith("1 FAIL probes sham: probes")


def test_a_result_that_passed_may_be_asked_for_too(red, capsys):
    code, out, _ = why(capsys, red, "errors")
    assert code == 0 and out.startswith("PASS error_ratio steady: errors") and "no single record is behind it" in out


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("2", "there is no result 2: the failing results are 1 to 1"),
        ("0", "there is no result 0"),
        (40 * "9", "there is no result"),
        ("probs", "no result is called probs; there is probes"),
        ("\x1b[2J", "no result is called \N{REPLACEMENT CHARACTER}[2J; there is"),
    ],
)
def test_an_unknown_result_is_refused_with_the_nearest_names(red, capsys, name, says):
    code, _, complaint = why(capsys, red, name)
    assert code == 2 and says in complaint


def test_a_run_that_was_not_judged_or_by_an_older_version_says_how_to_judge_it(red, capsys):
    results = red / "results.json"
    stored = json.loads(results.read_text())
    for result in stored["results"]:
        del result["evidence"]
    results.write_text(json.dumps(stored | {"schema": 2}))
    code, out, _ = why(capsys, red)
    assert code == 0 and f"what it rests on is not stored yet: `harness check {red}` makes it" in " ".join(out.split())
    results.unlink()
    code, _, complaint = why(capsys, red)
    assert code == 2 and f"is not judged yet; `harness check {red}` does it" in complaint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("{}", "is of version None"),
        ('{"schema": 99}', "is of version 99; this harness reads versions 1 to"),
        ('{"schema": 3}', "does not hold what the harness writes there"),
        ('{"schema": 3, "results": [1]}', "does not hold what the harness writes there"),
        ('{"schema": 3, "results": [{"verdict": "FAIL", "evidence": [{"kind": "x"}]}]}', "does not hold"),
        ('{"schema": 3, "results": [{"verdict": "FAIL", "subject": 1}]}', "does not hold"),
    ],
)
def test_damaged_results_are_said_to_be_so(red, capsys, text, says):
    (red / "results.json").write_text(text)
    code, _, complaint = why(capsys, red)
    assert code == 3 and says in complaint


def test_evidence_that_was_changed_since_is_not_shown(tmp_path, capsys):
    run = stored_run.write(tmp_path / "green")
    assert main(["check", str(run)]) == 0
    capsys.readouterr()
    assert why(capsys, run)[:2] == (0, "every result passed\n")
    with open(run / "logs/server.log", "a") as log:
        log.write("one more line\n")
    code, _, complaint = why(capsys, run)
    assert code == 3 and "edited since it was sealed: logs/server.log" in complaint


def test_a_run_that_was_cut_off_is_shown_as_far_as_it_came(tmp_path, capsys):
    run = stored_run.write(tmp_path / "cut", wrong=True, ended=False, sealed=False)
    assert main(["check", str(run)]) == 3
    capsys.readouterr()
    code, out, _ = why(capsys, run)
    assert code == 0 and "the run did not end" in out and "probe readiness of server, sham" in out


def test_hostile_texts_do_not_steer_the_terminal(red, capsys):
    stored = json.loads((red / "results.json").read_text())
    for result in stored["results"]:
        for key in ("subject", "reason", "remedy", "place"):
            result[key] = "\x1b[2J\u202e<&>\n" + key
        result["evidence"].append({"kind": "row", "key": "\x1b[2J", "at": None, "until": 1e300})
        result["evidence"].append({"kind": "sample", "key": "up{\x00", "at": 1e17, "until": None})
    (red / "results.json").write_text(json.dumps(stored))
    code, out, complaint = why(capsys, red)
    assert all(c.isprintable() or c == "\n" for c in out + complaint) and code in (0, 3)
