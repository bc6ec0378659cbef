from handmade import FAIL, INCONCLUSIVE, PASS, expect, history, phase, table

from harness.checks import Command
from harness.eventlog import Event
from harness.history import History

AUDIT = Command(("python", "audit.py"))
SECRET = Command(("audit", "--token", "S3CRET"))


def ran(exit_code=None, *output, argv=("python", "audit.py"), **more):
    detail = {"argv": list(argv), "exit_code": exit_code, "output": list(output), "log": "logs/command-1.log"}
    return history(Event(50, "run", "command", took=1.25, detail=detail | more))


CASES = [
    ("0 is a pass", AUDIT, ran(0, "all well"), PASS, "exit code 0 after 1.2 s, bound 0: all well"),
    ("3 is inconclusive", AUDIT, ran(3, "too few", "rows"), INCONCLUSIVE, "exit code 3 after 1.2 s, bound 0: rows"),
    ("anything else is a failure", AUDIT, ran(1), FAIL, "exit code 1"),
    ("also a signal", AUDIT, ran(-9, "oh"), FAIL, "exit code -9"),
    ("it was not over in time", AUDIT, ran(error="was not over after 60 s"), INCONCLUSIVE, "not over after 60 s"),
    ("it could not be started", AUDIT, ran(error="could not be started: no"), INCONCLUSIVE, "could not be started"),
    ("it was not run", AUDIT, history(), INCONCLUSIVE, "no outcome of the command is stored"),
    (
        "it was run for an experiment before this one",
        AUDIT,
        History(events=[*ran(0).events, *phase("x", 60, 90)]),
        INCONCLUSIVE,
        "no outcome",
    ),
    ("its secret is not stored", SECRET, ran(0, argv=("audit", "--token", "<secret>")), PASS, "exit code 0"),
    ("two are shown alike", AUDIT, history(*ran(0).events, *ran(1).events), INCONCLUSIVE, "2 commands that are shown"),
    ("two alike ended alike", AUDIT, history(*ran(1).events, *ran(1).events), FAIL, "exit code 1"),
    ("another was", AUDIT, ran(0, argv=("true",)), INCONCLUSIVE, "no outcome"),
]


def test_a_secret_argument_is_neither_stored_nor_shown():
    kept = SECRET.to_store()
    assert "S3CRET" not in f"{kept} {SECRET.subject}" and kept.to_store() == kept and kept.subject == SECRET.subject


@table(CASES)
def test_command(check, record, verdict, says):
    expect(check, record, verdict, says)
