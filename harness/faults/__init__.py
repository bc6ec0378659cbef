"""Faults: one a file, one a line of this table. The Chaos Toolkit actions are made from it."""

from pkgutil import resolve_name

from harness.faults.fault import Fault

FAULTS: dict[str, type[Fault]] = {
    "certificate": resolve_name("harness.faults.certificate:Certificate"),
    "clock": resolve_name("harness.faults.clock:Clock"),
    "cpu_limit": resolve_name("harness.faults.cpu_limit:CpuLimit"),
    "crash_at_start": resolve_name("harness.faults.crash_at_start:CrashAtStart"),
    "database": resolve_name("harness.faults.database:Database"),
    "descriptor_limit": resolve_name("harness.faults.descriptor_limit:DescriptorLimit"),
    "disk_full": resolve_name("harness.faults.disk_full:DiskFull"),
    "file": resolve_name("harness.faults.file:File"),
    "gpu": resolve_name("harness.faults.gpu:Gpu"),
    "http": resolve_name("harness.faults.http:Http"),
    "inside": resolve_name("harness.faults.inside:Inside"),
    "kill": resolve_name("harness.faults.kill:Kill"),
    "memory_full": resolve_name("harness.faults.memory_full:MemoryFull"),
    "network": resolve_name("harness.faults.network:Network"),
    "pause": resolve_name("harness.faults.pause:Pause"),
    "processor_hog": resolve_name("harness.faults.processor_hog:ProcessorHog"),
    "read_only": resolve_name("harness.faults.read_only:ReadOnly"),
    "receiver_failing": resolve_name("harness.faults.receiver_failing:ReceiverFailing"),
    "rollout": resolve_name("harness.faults.rollout:Rollout"),
    "rules_broken": resolve_name("harness.faults.rules_broken:RulesBroken"),
    "scale": resolve_name("harness.faults.scale:Scale"),
    "sham": resolve_name("harness.faults.sham:Sham"),
    "slow_disk": resolve_name("harness.faults.slow_disk:SlowDisk"),
    "slow_start": resolve_name("harness.faults.slow_start:SlowStart"),
    "stop": resolve_name("harness.faults.stop:Stop"),
    "surge": resolve_name("harness.faults.surge:Surge"),
    "targets_lost": resolve_name("harness.faults.targets_lost:TargetsLost"),
}
