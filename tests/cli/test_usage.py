"""What cannot be carried out ends with 2, or with 70 where the machine refuses, in one sentence and at once."""

import errno
import os
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.run.folder import open_run

STEADY = str(Path(__file__).parents[2] / "scenarios/steady.py")
WRONG = {
    "": "arguments are required: COMMAND",
    "nonsense": "invalid choice: 'nonsense'",
    "gate": "gate.yaml: no such file; go to where it lies, or name it by --gate",
    "gate --gate .": ".: is a folder; name a regular file",
    "gate --gate pipe": "pipe: is a named pipe; name a regular file",
    "gate --gate loop": "loop: cannot be read: Too many levels of symbolic links",
    "gate --only": "argument --only: expected one argument",
    "gate --push-to nonsense": "must be a URL, like http://",
    "up --gate /dev/zero": "/dev/zero: is a device",
    "up --port 0": "argument --port: must be a port from 1 to 65535, got '0'",
    "up --port 99999999999": "argument --port: must be a port",
    "up --port x": "argument --port: must be a port",
    "check": "arguments are required: run",
    "why": "arguments are required: run",
    "why nowhere": "nowhere: not a run's folder",
    "why pipe": "pipe: not a run's folder",
    "load": "arguments are required: scenario",
    "load nowhere.py": "no scenario nowhere.py; the bundled ones: none here",
    f"load {300 * 'x'}": "cannot be read: File name too long",
    "load pipe": "scenario pipe: is a named pipe",
    f"load {STEADY}": "no stack is running here",
    f"load {STEADY} --for 0s": "--for must be above 0",
    f"load {STEADY} --for 99999999999h": "--for must be at most 100 years",
    f"load {STEADY} --processes 0": "--processes must be from 1 to 256, got 0",
    f"load {STEADY} --processes {30 * '9'}": "--processes must be from 1 to 256",
    f"load {STEADY} --corpus {300 * 'x'}": "--corpus: there is no x",
    f"capacity {STEADY} --from {400 * '9'}/s": "--from must be a rate above 0",
    "capacity pipe": "scenario pipe: is a named pipe",
    "chaos .": "experiment .: is a folder",
    "heal --runs nowhere": "--runs: there is no folder nowhere",
    "heal --runs pipe": "--runs: there is no folder pipe",
    "push": "arguments are required: WHAT",
    "push build --took 5s --service x --to nonsense": "must be a URL",
    "push build --took 5s --service x --to http://[": "must be a URL",
    "push build --took 5 --service x --to http://a": "--took must be a duration with its unit",
}


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_PUSH_TO", raising=False)
    os.mkfifo("pipe")
    os.symlink("loop", "loop")


@pytest.mark.parametrize(("words", "says"), WRONG.items(), ids=[words[:60] or "nothing" for words in WRONG])
def test_wrong_usage_ends_with_2(words, says, capsys):
    try:
        code = main(words.split())
    except SystemExit as end:  # of argparse
        code = end.code
    said = capsys.readouterr().err
    assert (code, "Traceback" in said) == (2, False) and says in said, said
    assert not Path("runs").exists()


@pytest.mark.parametrize("there", ["a file", "a loop", "in a file"])
def test_where_no_folder_for_a_run_can_be_made(there):
    runs = Path({"a file": "runs", "a loop": "loop", "in a file": "runs/inner"}[there])
    Path("runs").touch()
    with pytest.raises(UsageError, match=f"no folder for a run can be made in {runs}: "):
        open_run(None, None, runs)


@pytest.mark.parametrize(
    ("code", "says"), [(errno.ENOSPC, "runs/x: No space left"), (errno.EACCES, "runs/x: Permission"), (errno.EBADF, "")]
)
def test_what_the_machine_refuses_is_one_sentence_and_all_else_a_report(code, says, capsys, monkeypatch):
    def refuse(runs):
        raise OSError(code, os.strerror(code), "runs/x")

    monkeypatch.setattr("harness.stack.up.heal", refuse)
    assert main(["heal"]) == 70
    said = capsys.readouterr().err
    assert (says in said and "Traceback" not in said) if says else "Traceback" in said
