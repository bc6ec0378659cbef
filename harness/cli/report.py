"""A stored run, judged and reported: results.json and junit.xml in its folder, and text for its reader."""

from __future__ import annotations

from pathlib import Path

from harness.cli.output import near, standard_output, wants_color
from harness.report import json as as_json
from harness.report import junit, text
from harness.report.summary import Summary
from harness.run.evidence import Judged, judge


def report(run: Path) -> Summary:
    """Judge a run by what its folder holds, and write every report."""
    found = summary(judge(run))
    for name, write in (("results.json", as_json.write), ("junit.xml", junit.write)):
        with open(run / name, "w") as out:
            write(found, out)
    with standard_output() as out:
        text.write(found, out, color=wants_color())
    return found


def summary(judged: Judged) -> Summary:
    """What the reports say of a judged run."""
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
        folder=near(judged.run),
    )
