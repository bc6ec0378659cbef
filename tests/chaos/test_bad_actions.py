"""An action that raises, does nothing, injects late or cannot be undone is no experiment: the reason is said, and what
may be undone is."""

import json
import sys
import time
from dataclasses import dataclass
from typing import ClassVar

import pytest
from chaoslib.experiment import run_experiment

from harness.chaos import actions, runner
from harness.chaos.actions import EXPERIMENT
from harness.checks import Injected
from harness.errors import FaultError
from harness.eventlog import append
from harness.faults import FAULTS, Fault
from harness.faults import inject as injecting
from harness.history import History
from harness.stack.stack import ENV
from harness.stack.undo import Undo
from harness.verdict import Verdict


@dataclass(frozen=True)
class Bad(Fault):
    """Goes wrong as it is told to."""

    how: str
    kind: ClassVar[str] = "bad"

    def target(self, stack):
        if self.how == "has no target":
            raise FaultError("bad: nothing to break")
        if self.how == "crashes":
            raise ZeroDivisionError("an error of its own")
        return {"path": str(stack.run.resolve() / "broken"), "at": time.monotonic()}

    def undo(self, facts):
        gone = {"path": facts["path"], "copy": facts["path"] + ".gone", "sha256": "0", "mode": 384, "owner": [0, 0]}
        return (
            [Undo("restore_file", gone)]
            if self.how == "cannot be undone"
            else [Undo("remove", {"path": facts["path"]})]
        )

    def start(self, stack, facts):
        if self.how == "raises":
            raise FaultError("bad: half way through")
        if self.how != "does nothing":
            open(facts["path"], "w").close()

    def witness(self, stack, facts):
        if self.how == "injects late" and time.monotonic() - facts["at"] < 0.5:
            return None
        if self.how == "cannot be looked at":
            raise OSError("nobody answers")
        return "it is broken" if (stack.run / "broken").exists() else None


EXPECTED = {  # how: (verdict, what is said, what is left open)
    "works": (Verdict.PASS, "1 fault witnessed, 0 left behind", []),
    "has no target": (Verdict.INCONCLUSIVE, "FaultError: bad: nothing to break)", []),
    "crashes": (Verdict.INCONCLUSIVE, "ZeroDivisionError: an error of its own", []),
    "raises": (Verdict.INCONCLUSIVE, "bad could not be started: bad: half way through", []),
    "does nothing": (Verdict.INCONCLUSIVE, "no witness saw bad take effect: not seen within 0.2 s", []),
    "injects late": (Verdict.INCONCLUSIVE, "no witness saw bad take effect: not seen within 0.2 s", []),
    "cannot be looked at": (Verdict.INCONCLUSIVE, "not seen within 0.2 s: OSError: nobody answers", []),
    "cannot be undone": (Verdict.FAIL, "1 fault left behind (bound 0): bad", ["bad"]),
    "is undone by nobody": (Verdict.FAIL, "1 fault left behind (bound 0): bad; no rollback ran", ["bad"]),
}


@pytest.mark.parametrize(
    ("how", "verdict", "says", "left"), [(how, *rest) for how, rest in EXPECTED.items()], ids=EXPECTED
)
def test_what_is_no_fault_says_why(how, verdict, says, left, stack, monkeypatch):
    module = type(sys)("harness.faults.bad")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FAULTS, "bad", Bad)
    monkeypatch.setattr(injecting.inject, "__defaults__", (0.2,))
    monkeypatch.setenv(ENV, str(stack.run))
    monkeypatch.setenv(EXPERIMENT, "e")
    ours = {"type": "python", "module": actions.__name__}
    well = {"type": "probe", "name": "well", "tolerance": 0, "provider": {"type": "process", "path": "true"}}
    heal = {"type": "action", "name": "heal", "provider": {**ours, "func": "heal"}}
    act = {"type": "action", "name": "bad", "provider": {**ours, "func": "bad", "arguments": {"how": how}}}
    rollbacks = [] if how == "is undone by nobody" else [heal]
    content = {"title": "t", "description": "d", "method": [act], "rollbacks": rollbacks}
    content["steady-state-hypothesis"] = {"title": "well", "probes": [well]}
    append(stack.run, "run", "phase", phase="e", edge="begin")
    journal = run_experiment(content, settings=runner.SETTINGS)
    found = [entry.kind for entry in stack.ledger.open()]
    append(stack.run, "run", "ledger", experiment="e", left=found)
    append(stack.run, "run", "phase", phase="e", edge="end")
    (stack.run / "journals").mkdir(exist_ok=True)
    (stack.run / "journals/e.json").write_text(json.dumps(journal, default=str))
    result = Injected("e").judge(History.read(stack.run))
    assert (result.verdict, says in result.reason) == (verdict, True), result.reason
    assert found == left and (how in ("works", "does nothing") or result.remedy)
    assert (stack.run / "broken").exists() == bool(left)
