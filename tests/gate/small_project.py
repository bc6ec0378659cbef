"""A whole project, small and quick, that a test may spoil, and the gate run on it as a user does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


class Project:
    """The bundled service, experiments and scenarios in a folder, with a short plan."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copytree(ROOT / "experiments", folder / "experiments")
        shutil.copytree(ROOT / "scenarios", folder / "scenarios")
        (folder / "service").mkdir()
        shutil.copy(ROOT / "model_server/service.yaml", folder / "service")
        shutil.copytree(ROOT / "model_server/monitoring", folder / "service/monitoring")
        shutil.copytree(ROOT / "docs", folder / "docs")  # the runbook is there
        shutil.copytree(ROOT / "model_server/weights", folder / "service/weights")
        self.edit("service/monitoring/slos.yaml", ["slos", "error_rate", "target"], "2%")
        self.edit("service/monitoring/slos.yaml", ["slos", "availability", "target"], "98%")
        # 460 requests without an error are needed for 1 % at 99 % confidence, 230 for 2 %

    def plan(
        self,
        experiments=(),
        checks=("slos", "contracts", "quiet"),
        for_s=7,
        scenario="scenarios/steady.py",
        **generator,
    ):
        gate = {
            "service": "service/service.yaml",
            "load": {"scenario": scenario, "arrivals": {"poisson": "45/s", "seed": 7}, "for": f"{for_s}s"},
            "experiments": list(experiments),
            "checks": list(checks) if experiments else [c for c in checks if c != "contracts"],
            "generator": {"lag_p99": "200ms", "rate_within": "5%", "repeats": 1, "patience": "30s"} | generator,
        }
        (self.folder / "gate.yaml").write_text(yaml.safe_dump(gate))

    def without_slow_rules(self):
        """Leave out the groups that look back for days: replaying them takes seconds a phase."""
        for file in sorted((self.folder / "service/monitoring/rules").iterdir()):
            content = yaml.safe_load(file.read_text())
            slow = [group for group in content["groups"] if group.get("interval") == "5m"]
            if slow:
                content["groups"] = [group for group in content["groups"] if group not in slow]
                file.write_text(yaml.safe_dump(content))

    def edit(self, file, path, value):
        """Set one value in a YAML file."""
        content = yaml.safe_load((self.folder / file).read_text())
        at = content
        for key in path[:-1]:
            at = at[key]
        assert path[-1] in at, f"{file} has no {path}"
        at[path[-1]] = value
        (self.folder / file).write_text(yaml.safe_dump(content))

    def replace(self, file, old, new):
        """Replace text that must be there, everywhere in a file."""
        text = (self.folder / file).read_text()
        assert old in text, f"{file} has no {old!r}"
        (self.folder / file).write_text(text.replace(old, new))

    def harness(self, *args, timeout_s=270, background=False, **env):
        """Run a command of the harness here; gives the finished process. background: as a script's `harness ... &`,
        which has it ignore SIGINT."""
        argv = [sys.executable, "-m", "harness.cli", *args]
        return subprocess.run(
            ["bash", "-c", '"$@" & wait $!', "bash", *argv] if background else argv,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}", **env},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    @property
    def run(self) -> Path:
        return next(p for p in sorted((self.folder / "runs").iterdir(), reverse=True) if p.name != "up")

    def results(self):
        """(check, subject) -> result, of the latest run."""
        told = json.loads((self.run / "results.json").read_text())
        return {(r["check"], r["subject"]): r for r in told["results"]}


def leftovers(folder: Path) -> list[str]:
    """Command lines of the processes that still run for a run in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"HARNESS_RUN={folder}".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found
