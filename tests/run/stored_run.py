"""A small run's folder, written by hand: 20 s of steady load and a sham experiment; ended and sealed, or as told."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "checks"))
from handmade import alive, firing, phase, ready, replay, rows, unready, up

from harness.checks import ErrorRatio, Injected, ProbeDecisions, Quiet, Recorded
from harness.eventlog import Event, Log
from harness.history import write_series
from harness.plan.stored import VERSION, dump, stored
from harness.run.seal import seal

T = 1_800_000_000.0  # the run's zero
CHECKS = (
    ErrorRatio("steady", 0.01),
    Quiet("sham"),
    ProbeDecisions("sham", readiness="ready"),
    Injected("sham"),
    Recorded(phases=("steady", "sham"), lag_p99_ms=50.0),
)
PROBES = {  # as a plan stores them
    "startup": {"path": "/health/startup", "failureThreshold": 60, "periodSeconds": 1},
    "liveness": {"path": "/health/live", "periodSeconds": 2, "timeoutSeconds": 1},
    "readiness": {"httpGet": {"path": "/ready", "port": 8443, "httpHeaders": [{"name": "X-Key"}]}, "periodSeconds": 1},
}


def write(run: Path, wrong: bool = False, ended: bool = True, sealed: bool = True, probes: Any = PROBES) -> Path:
    """A run that passes, or one in which a probe made a wrong decision; gives its folder. probes: how they were set."""
    run.mkdir(parents=True)
    plan = {"version": VERSION, "experiments": ["sham"], "rules": [], "checks": [stored(c) for c in CHECKS]}
    plan |= {"probes": probes} if probes else {}
    (run / "plan.yaml").write_text(dump(plan))
    (run / "environment.json").write_text("{}")
    (run / "types.json").write_text("{}")
    (run / "ledger.jsonl").write_text('{"undone": "f1"}\n')
    (run / "logs").mkdir()
    (run / "logs/server.log").write_text("started\n")
    _lines(run / "events.jsonl", _events(ended, sealed))
    made = rows(45 * 60, rate=60)
    made["intended"] += T
    made["sent"] += T
    made["done"] += T
    made["seq"] = np.arange(len(made))
    made.tofile(run / "requests-load.rows")
    answers = [*ready(1), *alive(1, 45), *(unready(32) + ready(33) if wrong else [])]
    _lines(run / "probes.jsonl", sorted(a._replace(at=a.at + T) for a in answers))
    _lines(run / "notifications.jsonl", [[T + 3, "default", "webhook", "firing", ["Watchdog"], [], ""]])
    series = [s._replace(at=[at + T for at in s.at]) for s in (up(0, 45), firing("Watchdog", (0, 45)))]
    write_series(run / "samples.jsonl.gz", series)
    replays = {name: {"ServiceDown": list(replay(ended_s=1200.0))} for name in ("steady", "sham")}
    (run / "replays.json").write_text(json.dumps(replays, indent=1))
    (run / "journals").mkdir()
    state = {"steady_state_met": True, "probes": [{"tolerance_met": True}]}
    journal = {"status": "completed", "steady_states": {"before": state, "after": state}}
    done = {"activity": {"name": "sham"}, "status": "succeeded"}
    journal |= {"experiment": {"method": [{}], "rollbacks": [{}]}, "run": [done], "rollbacks": [done]}
    (run / "journals/sham.json").write_text(json.dumps(journal, indent=1))
    if ended and sealed:
        seal(run)
    return run


def _events(ended: bool, sealed: bool) -> list[Event]:
    settings = {"time_scale": 60, "scrape_s": 0.25, "evaluation_s": 0.25, "job": "svc", "service": "by-hand"}
    account = {"planned": 2700, "locust_requests": 2700, "cpu_s": 1, "stalls": [], "cpu": [[T + 45, 45, 1]]}
    about = {"experiment": "sham", "id": "f1", "sham": True}
    events = [
        Event(0, "run", "started", detail=settings),
        Event(0, "stack", "ready"),
        Event(-0.01, "load", "started", detail={"generator": "load", "epoch": T}),
        *phase("steady", 0.5, 20),
        *phase("sham", 25, 40),
        *(Event(27 + i, "fault", "sham", detail={**about, "edge": edge}) for i, edge in enumerate(("start", "stop"))),
        Event(39.9, "run", "ledger", detail={"experiment": "sham", "left": []}),
        Event(45, "load", "finished", detail={"generator": "load", "duration_s": 45, "lag_p99_ms": 1.0, **account}),
        *([Event(46, "run", "ended", took=46, detail={"sealed": True} if sealed else {})] if ended else []),
    ]
    return [e._replace(at=e.at + T) for e in sorted(events, key=lambda e: e.at)]


def _lines(path: Path, records: list) -> None:
    log = Log(path)
    for record in records:
        log.write(record)
    log.close()
