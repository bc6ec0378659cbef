"""`harness doctor`: what this host can and cannot do, before any run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness.cli.options import command, with_plan
from harness.cli.output import say
from harness.errors import PlanError, ToolMissing


def add_to(commands: Any) -> None:
    about = "Say what this host can and cannot do: programs, rights, and each fault."
    sub = command(commands, "doctor", run, about)
    with_plan(sub)
    sub.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """0, or 2 where the plan needs what is missing, or cannot be read."""
    found = examined(args.gate, args.profile)
    if args.json:
        say(json.dumps(found, indent=1))
    else:
        for line in lines(found):
            say(line)
    return 2 if found["plan"]["problems"] else 0


def examined(gate: Path, profile: str | None) -> dict[str, Any]:
    """What there is, as plain data."""
    from harness.faults import FAULTS
    from harness.faults.needs import NEEDS, missing

    looks = {name: need.look() for name, need in NEEDS.items()}
    faults = {kind: [lack._asdict() for lack in missing(fault.needs)] for kind, fault in FAULTS.items()}
    tools = _tools()
    return {
        "tools": tools,
        "host": {
            name: {"about": need.about, "there": looks[name].there, "said": looks[name].said, "remedy": need.remedy}
            for name, need in NEEDS.items()
        },
        "faults": {kind: {"applicable": not lacks, "lacks": lacks} for kind, lacks in faults.items()},
        "plan": _plan(gate, profile, tools),
    }


def _tools() -> dict[str, dict[str, str]]:
    from harness.stack.tools import PROGRAMS, find, located

    there = located()
    try:
        versions = dict(find().versions)
    except ToolMissing:
        versions = {}
    return {name: {"path": there.get(name, ""), "version": versions.get(name, "")} for name in PROGRAMS}


def _plan(gate: Path, profile: str | None, tools: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Which experiments of the plan can run here; problems: what is missing for it."""
    from harness.run.blast import blast
    from harness.run.preflight import planned

    problems = [f"{name} is missing; make tools" for name, tool in tools.items() if not tool["path"]]
    try:
        plan = planned(gate, profile=profile, allow_faults=True)  # nothing is broken
    except PlanError as error:
        return {"gate": str(gate), "experiments": [], "not_applicable": [], "problems": [*problems, *error.problems]}
    lacking = plan.not_applicable
    problems += [f"{each.experiment} needs {each.reason}; {each.remedy}" for each in lacking]
    return {
        "gate": str(gate),
        "experiments": [each.name for each in plan.experiments],
        "blast": list(blast(plan.experiments)),
        "not_applicable": [each._asdict() for each in lacking],
        "problems": problems,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    text = ["programs"]
    for name, tool in found["tools"].items():
        there = f"{tool['version'] or 'of an unknown version'}, {tool['path']}"
        text.append(_line(bool(tool["path"]), name, there if tool["path"] else "is missing", "make tools"))
    text.append("host")
    for name, need in found["host"].items():
        text.append(_line(need["there"], name, f"{need['about']}: {need['said']}", need["remedy"]))
    text.append("faults")
    for kind, fault in found["faults"].items():
        why = ", ".join(f"{lack['need']} ({lack['reason']})" for lack in fault["lacks"])
        remedy = "; ".join(dict.fromkeys(lack["remedy"] for lack in fault["lacks"]))
        said = f"NOT-APPLICABLE: lacks {why}" if why else "can be injected here"
        text.append(_line(fault["applicable"], kind, said, remedy))
    plan = found["plan"]
    text.append(f"plan {plan['gate']}: {len(plan['experiments'])} experiments can run here")
    text += [f"       {line}" for line in plan.get("blast", ())]
    return text + [f"  no   {problem}" for problem in plan["problems"]]


def _line(there: bool, name: str, said: str, remedy: str) -> str:
    return f"  {'yes' if there else 'no ':<3}  {name:<13} {said}" + ("" if there else f" → {remedy}")
