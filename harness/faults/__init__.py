"""Faults: one a file, one a line of this table. The Chaos Toolkit actions are made from it."""

from pkgutil import resolve_name

from harness.faults.fault import Fault

FAULTS: dict[str, type[Fault]] = {
    "http": resolve_name("harness.faults.http:Http"),
    "inside": resolve_name("harness.faults.inside:Inside"),
    "kill": resolve_name("harness.faults.kill:Kill"),
    "network": resolve_name("harness.faults.network:Network"),
    "pause": resolve_name("harness.faults.pause:Pause"),
    "receiver_failing": resolve_name("harness.faults.receiver_failing:ReceiverFailing"),
    "rules_broken": resolve_name("harness.faults.rules_broken:RulesBroken"),
    "sham": resolve_name("harness.faults.sham:Sham"),
    "stop": resolve_name("harness.faults.stop:Stop"),
    "surge": resolve_name("harness.faults.surge:Surge"),
    "targets_lost": resolve_name("harness.faults.targets_lost:TargetsLost"),
}
