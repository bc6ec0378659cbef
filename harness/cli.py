"""The command line: the only module that prints or ends the process.

Exit codes: 0 pass, 1 fail, 2 usage or plan error, 3 inconclusive, 70 the harness itself broke, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import harness
from harness.errors import HarnessError, Interrupted, PlanError, PushError, StackError, UsageError

if TYPE_CHECKING:
    from harness import run as running
    from harness.report.summary import Summary

RUNS = Path("runs")
PUSH_TO = "HARNESS_PUSH_TO"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    args = _parser().parse_args(argv)
    try:
        with _interruptible():
            return args.command(args)
    except PlanError as error:
        count = len(error.problems)
        _complain(f"{count} problem{'' if count == 1 else 's'}:\n" + "\n".join(f"  {p}" for p in error.problems))
        return error.exit_code
    except HarnessError as error:
        _complain(str(error))
        return error.exit_code
    except (Interrupted, KeyboardInterrupt):
        _complain("interrupted; what was on is undone, what ran is ended (`harness heal` says if anything is left)")
        return Interrupted.exit_code
    except Exception:
        _complain("the harness itself broke; please report this with the lines below")
        traceback.print_exc()
        return HarnessError.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harness", description="A release gate for a monitored model service.", epilog="exit codes: " + _codes()
    )
    parser.add_argument("--version", action="version", version=f"harness {harness.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, does: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(command=does)
        return sub

    def with_plan(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--gate", type=Path, default=Path("gate.yaml"), help="the plan (default: gate.yaml)")
        sub.add_argument("--profile", help="a profile of the plan")

    gate = command("gate", _gate, "Carry the plan out against real parts and judge it.")
    with_plan(gate)
    gate.add_argument(
        "--only", action="append", default=[], metavar="EXPERIMENT", help="only this experiment; repeatable"
    )
    gate.add_argument("--push-to", metavar="URL", help=f"a Pushgateway that is told how it ended (default: ${PUSH_TO})")
    check = command("check", _check, "Judge a stored run again.")
    check.add_argument("run", type=Path, help="a folder under runs/")
    up = command("up", _up, "Hold a stack up until Ctrl-C, for `harness load`, `harness chaos`, locust and chaos.")
    with_plan(up)
    up.add_argument("--port", type=int, help="the service's port (default: a free one)")
    load = command("load", _load, "Run one scenario against the stack of `harness up`.")
    load.add_argument("scenario", type=Path)
    load.add_argument("--arrivals", help="like poisson:60/s:seed=7 (default: the scenario's own)")
    load.add_argument("--for", dest="for_s", default="30s", help="how long (default: 30s)")
    load.add_argument("--corpus", type=Path, metavar="DIR", help="labelled images (default: the scenario's own)")
    load.add_argument("--ca-file", type=Path, metavar="PATH", help="whose certificates to trust for https")
    load.add_argument("--insecure", action="store_true", help="do not ask whose certificate it is")
    load.add_argument("--processes", type=int, default=1, help="how many processes share the schedule (default: 1)")
    capacity = command(
        "capacity", _capacity, "Find the highest arrival rate at which the service of `harness up` keeps its SLOs."
    )
    with_plan(capacity)
    capacity.add_argument("scenario", type=Path)
    capacity.add_argument("--from", dest="first", default="50/s", metavar="RATE", help="where to begin (default: 50/s)")
    capacity.add_argument("--most", default="5000/s", metavar="RATE", help="where to stop (default: 5000/s)")
    capacity.add_argument("--precision", default="5%", help="how near the rates kept and broken come (default: 5%%)")
    capacity.add_argument(
        "--for",
        dest="for_s",
        default="10s",
        help="how long a step lasts at least (default: 10s); low rates need longer",
    )
    chaos = command("chaos", _chaos, "Run one experiment, under load, against the stack of `harness up`, and judge it.")
    with_plan(chaos)
    chaos.add_argument("experiment", type=Path)
    push = commands.add_parser("push", help="Tell a Pushgateway how a build, gate, deployment or rollback ended.")
    kinds = push.add_subparsers(required=True, metavar="WHAT")

    def pushed(name: str, does: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        sub = kinds.add_parser(name, help=about, description=about)
        sub.set_defaults(command=does)
        sub.add_argument("--to", metavar="URL", help=f"the Pushgateway (default: ${PUSH_TO})")
        if does is not _push_run:
            sub.add_argument("--service", help="its name (default: as gate.yaml has it)")
        return sub

    pushed("gate", _push_run, "A stored run.").add_argument("run", type=Path, help="a folder under runs/")
    build = pushed("build", _push_build, "A build that has ended.")
    build.add_argument("--took", metavar="TIME", required=True, help="like 5m12s")
    build.add_argument("--failed", action="store_true", help="it did not succeed")
    deployment = pushed("deployment", _push_deployment, "A release that is in production now.")
    deployment.add_argument("--commit", default="HEAD", help="what was deployed (default: HEAD)")
    for released in (deployment, pushed("rollback", _push_rollback, "A release that was taken back.")):
        released.add_argument("--environment", default="production", help="where (default: production)")
    heal = command("heal", _heal, "Undo whatever a killed run left behind.")
    heal.add_argument("--runs", type=Path, default=RUNS, help="the folder of runs (default: runs)")
    return parser


def _gate(args: argparse.Namespace) -> int:
    from harness import run as running
    from harness.plan.plan import load
    from harness.stack.tools import find

    plan = load(args.gate, profile=args.profile, only=args.only)
    tools = find()
    plan, rules = running.preflight(plan, tools)
    _heal_quietly(RUNS)
    run = running.open_run(plan, tools, RUNS)
    with _screen() as watch:
        running.gate(plan, tools, run, rules, watch)
    summary = _report(run)
    if to := args.push_to or os.environ.get(PUSH_TO):
        try:
            _push_gate(summary, to)
        except PushError as error:  # which is no verdict
            _complain(f"{error}\n  once there is: harness push gate {_near(run)} --to {to}")
    return summary.exit_code


def _push_run(args: argparse.Namespace) -> int:
    to = _pushgateway(args)
    _push_gate(_summary(_judged(args.run)), to)
    return 0


def _push_build(args: argparse.Namespace) -> int:
    from harness.report import delivery
    from harness.units import parse_duration

    try:
        took_s = parse_duration(args.took)
    except ValueError as error:
        raise UsageError(f"push build: --took {error}") from error
    delivery.push(delivery.of_build(time.time(), took_s, not args.failed), _pushgateway(args), _service(args))
    return 0


def _push_deployment(args: argparse.Namespace) -> int:
    from harness.report import delivery
    from harness.run.folder import committed_at

    committed = committed_at(Path.cwd(), args.commit)
    if committed is None and args.commit != "HEAD":  # without git there is a deployment, and no lead time
        raise UsageError(f"push deployment: git knows no commit {args.commit!r} here")
    made = delivery.of_deployment(time.time(), committed)
    delivery.push(made, _pushgateway(args), _service(args), args.environment)
    return 0


def _push_rollback(args: argparse.Namespace) -> int:
    from harness.report import delivery

    delivery.push(delivery.of_rollback(time.time()), _pushgateway(args), _service(args), args.environment)
    return 0


def _pushgateway(args: argparse.Namespace) -> str:
    if not (to := args.to or os.environ.get(PUSH_TO)):
        raise UsageError(f"push: to which Pushgateway? give --to URL, or set {PUSH_TO}")
    return to


def _service(args: argparse.Namespace) -> str:
    from harness.plan.plan import load

    return args.service or load(Path("gate.yaml")).service.name


def _push_gate(summary: Summary, to: str) -> None:
    from harness.report import delivery

    delivery.push(delivery.of_gate(summary), to, summary.service)


def _check(args: argparse.Namespace) -> int:
    return _report(args.run).exit_code


def _up(args: argparse.Namespace) -> int:
    from harness import run as running
    from harness.plan.plan import load
    from harness.stack.stack import CURRENT
    from harness.stack.tools import find

    plan = load(args.gate, profile=args.profile)
    tools = find()
    plan, rules = running.preflight(plan, tools)
    _heal_quietly(RUNS)
    if CURRENT.exists() and (CURRENT / "owner.json").exists():
        raise UsageError(f"a stack is up here already: {CURRENT.resolve()}; end it first (Ctrl-C in its terminal)")
    run = running.open_run(plan, tools, RUNS)
    with running.held(plan, tools, run, rules, args.port, _say) as live:
        CURRENT.unlink(missing_ok=True)
        CURRENT.symlink_to(run.name)
        try:
            here = live.stack
            _say(f"up: {here.service} {here.service_url}\n    prometheus {here.prometheus_url}")
            _say(f"    alertmanager {here.alertmanager_url}\n    evidence {_near(run)}")
            _say("    Ctrl-C ends it. In another terminal here:")
            _say("      harness load scenarios/steady.py\n      harness chaos experiments/server-crash.yaml")
            while True:
                live.check()
                time.sleep(0.5)
        finally:
            CURRENT.unlink(missing_ok=True)


def _load(args: argparse.Namespace) -> int:
    from harness import run as running
    from harness.report.load import write
    from harness.stack.stack import Stack
    from harness.units import parse_duration

    if not args.scenario.exists():
        raise UsageError(f"no scenario {args.scenario}; the bundled ones: {_list('scenarios', '*.py')}")
    try:
        for_s = parse_duration(args.for_s)
    except ValueError as error:
        raise UsageError(f"--for {error}") from error
    if args.processes < 1:
        raise UsageError(f"--processes must be at least 1, got {args.processes}")
    for option, path in (("--corpus", args.corpus), ("--ca-file", args.ca_file)):
        if path is not None and not path.exists():
            raise UsageError(f"{option}: there is no {path}")
    with _screen() as watch:
        history, believed, answers = running.load_once(
            Stack.current(), args.scenario, args.arrivals, for_s, watch, args.processes,
            args.corpus, args.ca_file, args.insecure,
        )  # fmt: skip
    with _whoever_reads() as out:
        write(history, running.LOADED, believed, out, answers)
    return max(believed.verdict, answers.verdict).exit_code


def _capacity(args: argparse.Namespace) -> int:
    from harness import run as running
    from harness.plan.plan import load
    from harness.report.capacity import write
    from harness.stack.stack import Stack
    from harness.units import parse_duration, parse_rate, parse_share

    if not args.scenario.exists():
        raise UsageError(f"no scenario {args.scenario}; the bundled ones: {_list('scenarios', '*.py')}")
    given = {
        "--from": (parse_rate, args.first),
        "--most": (parse_rate, args.most),
        "--for": (parse_duration, args.for_s),
    }
    read, wrong = {}, []
    for option, (unit, text) in (given | {"--precision": (parse_share, args.precision)}).items():
        try:
            read[option] = unit(text)
        except ValueError as error:
            wrong.append(f"{option} {error}")
    if wrong or not 0.005 <= read["--precision"] <= 1:
        raise UsageError("; ".join(wrong) or f"--precision must lie between 0.5% and 100%, got {args.precision}")
    plan = load(args.gate, profile=args.profile)
    stack = Stack.current()
    with _screen() as watch:
        found = running.capacity(
            plan,
            stack,
            args.scenario,
            watch,
            first_per_s=read["--from"],
            precision=read["--precision"],
            most_per_s=read["--most"],
            for_s=read["--for"],
        )
    with _whoever_reads() as out:
        write(found, args.scenario.stem, out)
    return found.verdict.exit_code


def _chaos(args: argparse.Namespace) -> int:
    from harness import run as running
    from harness.plan.plan import load
    from harness.stack.stack import Stack
    from harness.stack.tools import find

    if not args.experiment.exists():
        raise UsageError(f"no experiment {args.experiment}; the bundled ones: {_list('experiments', '*.yaml')}")
    plan = load(args.gate, profile=args.profile, experiment_files=[args.experiment])
    tools = find()
    plan, _ = running.preflight(plan, tools)
    stack = Stack.current()
    with _screen() as watch:
        running.experiment_once(plan, stack, tools, watch)
    return _report(stack.run).exit_code


def _heal(args: argparse.Namespace) -> int:
    from harness.stack.up import heal

    said = heal(args.runs)
    for line in said:
        _say(line)
    if bad := [line for line in said if "NOT HEALED" in line]:
        raise StackError(f"{len(bad)} of {len(said)} could not be undone; undo them by hand, see the ledger of the run")
    _say("nothing was left behind" if not said else "healed")
    return 0


def _judged(run: Path) -> running.Judged:
    from harness import run as running

    return running.judge(run)


def _report(run: Path) -> Summary:
    from harness.report import json as as_json
    from harness.report import junit, text

    summary = _summary(_judged(run))
    for name, report in (("results.json", as_json.write), ("junit.xml", junit.write)):
        with open(run / name, "w") as out:
            report(summary, out)
    with _whoever_reads() as out:
        text.write(summary, out, color=_colour())
    return summary


def _summary(judged: running.Judged) -> Summary:
    from harness.report.summary import Summary

    history = judged.history
    started = next(iter(history.of("run", "started")), None)
    finished = next(iter(e for e in history.of("load", "finished") if e.detail.get("generator") == "load"), None)
    ledgers = history.of("run", "ledger")
    return Summary(
        service=history.setting("service", "unknown service"),
        started=started.at if started else 0.0,
        ended=history.events[-1].at if history.events else 0.0,
        results=judged.results,
        commit=history.setting("commit", ""),
        experiments=judged.experiments,
        alerts=judged.alerts,
        coverage=judged.coverage,
        requests=sum(map(len, history.rows.values())),
        lag_p99_ms=finished.detail.get("lag_p99_ms") if finished else None,
        left=tuple(ledgers[-1].detail["left"]) if ledgers else (),
        folder=_near(judged.run),
    )


def _heal_quietly(runs: Path) -> None:
    from harness.stack.up import heal

    for line in heal(runs):
        _say(f"left by an earlier run and healed: {line}")


@contextmanager
def _whoever_reads():
    """Standard output; a reader that goes away early (`| head`) does not change how the command ends."""
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _screen():
    """A watcher for progress: redrawn in place on a terminal, a line per stage and every 15 s elsewhere."""
    from harness import screen

    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    drawn = 0
    last: tuple[str, float] = ("", 0.0)

    def watch(progress) -> None:
        nonlocal drawn, last
        if terminal:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            text = "".join(f"\x1b[2K{line[: width - 1]}\n" for line in screen.lines(progress))
            sys.stderr.write((f"\x1b[{drawn}A" if drawn else "") + "\x1b[J" + text)
            drawn = text.count("\n")
        elif progress.stage != last[0] or time.monotonic() - last[1] >= screen.CI_EVERY_S:
            last = (progress.stage, time.monotonic())
            sys.stderr.write(screen.line(progress) + "\n")
        sys.stderr.flush()

    try:
        yield watch
    finally:
        if terminal and drawn:
            sys.stderr.write(f"\x1b[{drawn}A\x1b[J")
            sys.stderr.flush()


@contextmanager
def _interruptible():
    """SIGINT, SIGTERM and SIGHUP raise Interrupted once; while that unwinds, more of them are ignored."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        for s in signals:
            signal.signal(s, signal.SIG_IGN)
        raise Interrupted(signal.Signals(signum).name)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {s: signal.signal(s, interrupt) for s in signals}
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def _codes() -> str:
    return "0 pass, 1 fail, 2 usage or plan error, 3 inconclusive, 70 the harness broke, 130 interrupted"


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _near(path: Path) -> str:
    with suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


def _list(folder: str, pattern: str) -> str:
    return ", ".join(str(p) for p in sorted(Path(folder).glob(pattern))) or "none here"


def _say(line: str) -> None:
    print(line, flush=True)


def _complain(message: str) -> None:
    print(f"harness: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
