"""A stored run, judged and reported: results.json, junit.xml and report.html in its folder, and text for its reader."""

from __future__ import annotations

from pathlib import Path

from harness.cli import page
from harness.cli.output import complain, near, standard_output, wants_color
from harness.errors import EvidenceError
from harness.history import History
from harness.report import json as as_json
from harness.report import junit, stored, text
from harness.report.summary import Summary
from harness.run.evidence import Judged, judge
from harness.verdict import Result, Verdict

REMEDY = "take the run's folder from where it was not changed, or run the gate again"


def report(run: Path) -> Summary:
    """Judge a run by what its folder holds, and write every report. Raises as `summarized`; the reports then say that
    nothing is known."""
    try:
        found, history = _judged(run)
    except EvidenceError as error:
        damaged = Result("evidence", "the record", Verdict.INCONCLUSIVE, str(error), remedy=REMEDY)
        _write(run, Summary("unknown service", 0.0, 0.0, (damaged,), folder=near(run)))
        raise
    _write(run, found, history)
    with standard_output() as out:
        text.write(found, out, color=wants_color())
    return found


def summarized(run: Path) -> Summary:
    """A stored run, judged. Raises UsageError if the folder is no run's, EvidenceError if its evidence is damaged."""
    return _judged(run)[0]


def _judged(run: Path) -> tuple[Summary, History]:
    """The same, and what was recorded."""
    judged = judge(run)
    if judged.history.ended and not judged.sealed and not (run / "owner.json").exists():
        complain(f"{near(run)} is not sealed, so it is not known whether it was edited since")
    try:
        return summary(judged), judged.history
    except Exception as error:
        if judged.sealed:
            raise
        raise EvidenceError(f"{run}: holds what no run writes: {type(error).__name__}: {error}") from error


def _write(run: Path, found: Summary, history: History | None = None) -> None:
    for name, write in (("results.json", as_json.write), ("junit.xml", junit.write)):
        scratch = run / f"{name}.new"  # whatever has the name, such as a link to evidence, is not written through
        try:
            with open(scratch, "w") as out:
                write(found, out)
            scratch.replace(run / name)
        except OSError as error:
            raise EvidenceError(f"{run / name}: the report could not be written: {error.strerror}") from error
    try:
        page.write(run / page.NAME, page.judged(run), stored.read(run, history))
    except Exception as error:  # the verdict does not wait for a picture of it
        complain(f"{near(run / page.NAME)} could not be written: {type(error).__name__}: {error}")


def summary(judged: Judged) -> Summary:
    """What the reports say of a judged run."""
    history = judged.history
    started = next(iter(history.of("run", "started")), None)
    finished = next(iter(e for e in history.of("load", "finished") if e.detail.get("generator") == "load"), None)
    ledgers = history.of("run", "ledger")
    return Summary(
        not_applicable=judged.not_applicable,
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
        remarks=judged.remarks,
        folder=near(judged.run),
    )
