"""`harness probes what-if`: other settings of the probes, tried on the answers of a stored run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.options import command
from harness.cli.output import near, standard_output
from harness.errors import EvidenceError, UsageError

if TYPE_CHECKING:
    from harness.checks.what_if import Detection, Outcome, Probed, Setting, StartUp
    from harness.stack.spec import Probe

ABOUT = "Try other settings of the probes on the answers that a stored run recorded, and propose some."
HEAD = ("", "period", "timeout", "failures", "successes", "needless", "median", "at most", "slowest in", "back within")
PROBES = ("startup", "liveness", "readiness")


def add_to(commands: Any) -> None:
    about = "What the probes of a stored run show."
    kinds = commands.add_parser("probes", help=about, description=about).add_subparsers(required=True, metavar="WHAT")
    sub = command(kinds, "what-if", run, ABOUT)
    sub.add_argument("run", type=Path, help="a folder under runs/")
    sub.add_argument("--all", action="store_true", help="every setting that was tried, not only the best")


def run(args: argparse.Namespace) -> int:
    from harness.checks import what_if
    from harness.history import History
    from harness.plan.stored import stored_checks
    from harness.run.evidence import how_far, verified
    from harness.stack.spec import Probes

    verified(args.run)
    history = History.read(args.run)
    if not history.ended:
        raise EvidenceError(f"{near(args.run)} did not end: {how_far(history)}; run it again for a proposal")
    checks, _, plan = stored_checks(args.run)
    if not plan.get("probes"):
        raise UsageError(f"{near(args.run)} is of a harness that stored no settings of its probes; run it again")
    probes = Probes.model_validate(_with_values(plan["probes"])).by_name()
    if not history.probes:
        raise EvidenceError(f"{near(args.run)} has no probe answer; does the harness start the service itself?")
    lines: list[str] = []
    proposed: dict[str, Any] = {}
    patient = None
    for which in ("readiness", "liveness"):
        if which not in probes:
            lines += [f"{which}: the service has no such probe, so that nothing is recorded of it", ""]
            continue
        found = what_if.tried(history, checks, which, _setting(probes[which]), patient)
        patient, proposed[which] = found.proposal.setting, found.proposal.setting
        lines += [*_of(found, probes[which], args.all), ""]
    if "startup" in probes:
        now = _setting(probes["startup"])
        starts = what_if.started(history, now, probes["startup"].initialDelaySeconds)
        proposed["startup"] = starts.setting if starts else now
        lines += [*_of_starts(starts), ""]
    lines += _pod(probes, proposed)
    with standard_output() as out:
        out.write("\n".join([*lines, ""]))
    return 0


def _setting(probe: Probe) -> Setting:
    from harness.checks.what_if import Setting

    return Setting(probe.periodSeconds, probe.timeoutSeconds, probe.failureThreshold, probe.successThreshold)


def _with_values(stored: Any) -> Any:
    """The stored probes with something in place of the values of headers, which are not stored."""
    if isinstance(stored, dict):
        given = {key: _with_values(value) for key, value in stored.items()}
        headers = [{**header, "value": ""} for header in stored.get("httpHeaders", ())]
        return given | ({"httpHeaders": headers} if headers else {})
    return stored


def _of(found: Probed, probe: Probe, everything: bool) -> Iterator[str]:
    from harness.units import count, duration, listed

    must = [case.name for case in found.cases if case.began is not None]
    calm = [case.name for case in found.cases if case.began is None]
    yield f"{found.which}, now {_said(found.now, found.which)}"
    yield f"  had to decide in    {listed(must) or 'no experiment of this run'}"
    yield f"  had to stay calm in {listed(calm) or 'nothing'}"
    if calm:
        slowest, row = duration(found.slowest_calm_s), count(found.longest_calm_row, "failure")
        yield f"  {count(found.calm_answers, 'answer')} there, the slowest after {slowest}; {row} in a row at most"
    for why in found.left_out:
        yield f"  not counted: {why}"
    yield ""
    shown = found.outcomes if everything else _best(found)
    yield from _table([HEAD, *(_row(one, found, len(calm)) for one in shown)], found.which)
    if not everything:
        yield f"  ({len(found.outcomes)} settings were tried; --all shows them)"
    yield f"  proposed: {_said(found.proposal.setting, found.which)}"
    yield from (f"    - {why}" for why in found.proposal.why)
    if must and not found.proposal.proven:
        yield "    - this run does not prove it: run the gate with it"
    yield "  what this run cannot say:"
    yield f"    - shorter periods than {found.now.period_s} s: nothing is recorded between two answers"
    if any(one.unknown or any(d.unknown for d in one.detected.values()) for one in found.outcomes):
        given_up = f"{count(found.given_up, 'answer')} came to no end in it"
        yield f"    - timeouts above {found.now.timeout_s} s, where `?` is shown: {given_up}"
    if cut := [one for one in found.outcomes if any(d.cut for d in one.detected.values())]:
        yield f"    - {count(len(cut), 'setting')}, where `>` is shown: a restart ended the record before they decided"
        yield "      (a run whose liveness probe has a higher failureThreshold goes on longer)"


def _said(setting: Setting, which: str) -> str:
    from harness.units import count

    more = f", {count(setting.successes, 'success')}".replace("successs", "successes") if which == "readiness" else ""
    return f"every {setting.period_s} s, timeout {setting.timeout_s} s, {count(setting.failures, 'failure')}{more}"


def _best(found: Probed) -> list[Outcome]:
    """The present setting, the proposed one, and those than which none is both calmer and sooner."""
    known = [one for one in found.outcomes if not one.unknown and not any(d.unknown for d in one.detected.values())]
    known = [one for one in known if all(d.worst_s is not None for d in one.detected.values())]
    kept = {found.now, found.proposal.setting}
    fewest = float("inf")
    for one in sorted(known, key=lambda o: (o.worst_s, len(o.needless), -o.setting.period_s, o.setting.successes)):
        if len(one.needless) < fewest:
            fewest = len(one.needless)
            kept.add(one.setting)
    return [one for one in found.outcomes if one.setting in kept]


def _row(one: Outcome, found: Probed, calm: int) -> tuple[str, ...]:
    mark = "now " * (one.setting == found.now) + "->" * (one.setting == found.proposal.setting)
    period_s, timeout_s, failures, successes = one.setting
    needless = f"{len(one.needless)} of {calm}" + (f", ? {len(one.unknown)}" if one.unknown else "")
    settings = (f"{period_s} s", f"{timeout_s} s", str(failures), str(successes))
    return (mark, *settings, needless, *_times(one.detected))


def _times(detected: Mapping[str, Detection]) -> tuple[str, str, str, str]:
    """Median, at most, in which experiment, and until it is back."""
    import statistics

    if not detected:
        return "-", "-", "-", "-"
    unsure = [name for name, one in detected.items() if one.unknown]
    undecided = [(name, one) for name, one in detected.items() if one.worst_s is None and not one.unknown]
    backs = [one.back_s for one in detected.values() if one.back_s is not None]
    back = f"{max(backs):.1f} s" if backs else "-"
    if undecided:
        name, one = max(undecided, key=lambda each: (not each[1].cut, each[1].recorded_s))
        return "-", f"> {one.recorded_s:.1f} s" if one.cut else f"not in {one.recorded_s:.1f} s", name, "-"
    if unsure:
        return "?", "?", unsure[0], "?"
    name = max(detected, key=lambda each: detected[each].worst_s)
    median_s = statistics.median(one.median_s for one in detected.values())
    return f"{median_s:.1f} s", f"{detected[name].worst_s:.1f} s", name, back


def _table(rows: Sequence[tuple[str, ...]], which: str) -> Iterator[str]:
    left_out = {4, 9} if which == "liveness" else set()  # a single success is enough, and it is not back in traffic
    rows = [tuple(cell for i, cell in enumerate(row) if i not in left_out) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield ("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))).rstrip()


def _of_starts(starts: StartUp | None) -> Iterator[str]:
    from harness.units import count, duration

    if starts is None:
        yield "startup: no start of this run came to its end; its probe is left as it is"
        return
    now, budget_s = starts.now, starts.delay_s + starts.now.period_s * starts.now.failures
    slowest = f"the slowest after {duration(starts.slowest_s)}"
    yield f"startup, now every {now.period_s} s, {count(now.failures, 'failure')}: {duration(budget_s)} for a start"
    yield f"  {count(starts.starts, 'start')} of this run came to an end, {slowest}"
    yield f"  proposed: {count(starts.setting.failures, 'failure')}: {starts.why}"


def _pod(probes: Mapping[str, Probe], proposed: Mapping[str, Setting]) -> Iterator[str]:
    """The probes of a container in a pod specification."""
    import yaml

    content = {f"{which}Probe": _spec(probes[which], proposed[which]) for which in PROBES if which in probes}
    yield "# into the container of the pod specification:"
    actions = [probe.action for probe in probes.values()]
    if any(getattr(action, "port", "") is None for action in actions):
        yield "# port `http`: name the container's port so, or put its number here"
    if any(getattr(action, "httpHeaders", ()) for action in actions):
        yield "# the values of headers are not stored with a run: put them in from service.yaml"
    yield yaml.safe_dump(content, sort_keys=False, default_flow_style=False).rstrip()


def _spec(probe: Probe, setting: Setting) -> dict[str, Any]:
    from harness.stack.spec import Exec, HttpGet, TcpSocket

    action = probe.action
    match action:
        case HttpGet():
            spec: dict[str, Any] = {"path": action.path, "port": action.port or "http"}
            spec |= {"host": action.host} if action.host else {}
            spec |= {"scheme": action.scheme} if action.scheme != "HTTP" else {}
            headers = [{"name": header.name, "value": header.value or ""} for header in action.httpHeaders]
            spec = {"httpGet": spec | ({"httpHeaders": headers} if headers else {})}
        case TcpSocket():
            spec = {"tcpSocket": {"port": action.port or "http"} | ({"host": action.host} if action.host else {})}
        case Exec():
            spec = {"exec": {"command": list(action.command)}}
    if probe.initialDelaySeconds:
        spec["initialDelaySeconds"] = probe.initialDelaySeconds
    spec |= {"periodSeconds": setting.period_s, "timeoutSeconds": setting.timeout_s}
    spec["failureThreshold"] = setting.failures
    if setting.successes != 1:
        spec["successThreshold"] = setting.successes
    if probe.terminationGracePeriodSeconds is not None:
        spec["terminationGracePeriodSeconds"] = probe.terminationGracePeriodSeconds
    return spec
