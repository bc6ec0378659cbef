"""Faults: one a file, one a line of this table. The Chaos Toolkit actions are made from it."""

from pkgutil import resolve_name

from harness.faults.fault import Fault

FAULTS: dict[str, type[Fault]] = {
    "clock": resolve_name("harness.faults.clock:Clock"),
    "database": resolve_name("harness.faults.database:Database"),
    "disk_full": resolve_name("harness.faults.disk_full:DiskFull"),
    "file": resolve_name("harness.faults.file:File"),
    "inside": resolve_name("harness.faults.inside:Inside"),
    "kill": resolve_name("harness.faults.kill:Kill"),
    "pause": resolve_name("harness.faults.pause:Pause"),
    "read_only": resolve_name("harness.faults.read_only:ReadOnly"),
    "sham": resolve_name("harness.faults.sham:Sham"),
    "stop": resolve_name("harness.faults.stop:Stop"),
    "surge": resolve_name("harness.faults.surge:Surge"),
}
