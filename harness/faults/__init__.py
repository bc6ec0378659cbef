"""Faults: one a file, one a line of this table. The Chaos Toolkit actions are made from it."""

from pkgutil import resolve_name

from harness.faults.fault import Fault

FAULTS: dict[str, type[Fault]] = {
    "gpu": resolve_name("harness.faults.gpu:Gpu"),
    "inside": resolve_name("harness.faults.inside:Inside"),
    "kill": resolve_name("harness.faults.kill:Kill"),
    "pause": resolve_name("harness.faults.pause:Pause"),
    "sham": resolve_name("harness.faults.sham:Sham"),
    "stop": resolve_name("harness.faults.stop:Stop"),
    "surge": resolve_name("harness.faults.surge:Surge"),
}
