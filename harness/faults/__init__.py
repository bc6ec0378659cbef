"""Faults: one a file, one a line of this table. The Chaos Toolkit actions are made from it."""

from pkgutil import resolve_name

from harness.faults.fault import Fault

FAULTS: dict[str, type[Fault]] = {
    "certificate": resolve_name("harness.faults.certificate:Certificate"),
    "inside": resolve_name("harness.faults.inside:Inside"),
    "kill": resolve_name("harness.faults.kill:Kill"),
    "pause": resolve_name("harness.faults.pause:Pause"),
    "rollout": resolve_name("harness.faults.rollout:Rollout"),
    "sham": resolve_name("harness.faults.sham:Sham"),
    "spoil": resolve_name("harness.faults.spoil:Spoil"),
    "stop": resolve_name("harness.faults.stop:Stop"),
    "surge": resolve_name("harness.faults.surge:Surge"),
}
