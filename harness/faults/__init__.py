"""Faults: one a file, and this table of them."""

from harness.faults.fault import Fault
from harness.faults.kill import Kill
from harness.faults.pause import Pause
from harness.faults.sham import Sham
from harness.faults.surge import Surge

FAULTS: dict[str, type[Fault]] = {f.kind: f for f in (Kill, Pause, Sham, Surge)}

__all__ = ["FAULTS", "Fault", "Kill", "Pause", "Sham", "Surge"]
