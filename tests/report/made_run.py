"""A run's folder made by hand: one experiment whose alert came late, in two minutes of load."""

import json
from pathlib import Path

import numpy as np
import yaml

from harness.history import ROW, Outcome, Series, write_series

T0 = 1_795_464_663.0
END = T0 + 120
FAULT = (T0 + 60, T0 + 75)
ID = "f7519b43bb3161220000000000651000"


def rows(n: int = 2400, length_s: float = 120.0) -> np.ndarray:
    """Requests at one pace, answered within 20 ms, but for those that the fault met."""
    made = np.zeros(n, ROW)
    made["seq"], made["intended"] = np.arange(n), T0 + np.arange(n) * length_s / n
    made["sent"] = made["intended"] + 0.001
    made["done"] = made["intended"] + 0.01 + (np.arange(n) % 10) / 1000
    made["status"], made["expected"], made["predicted"] = 200, np.arange(n) % 2, np.arange(n) % 2
    made["predicted"][::100] = 1
    met = (made["intended"] >= FAULT[0]) & (made["intended"] < FAULT[1])
    made["outcome"][met], made["status"][met], made["predicted"][met] = Outcome.REFUSED_BY_SERVICE, 503, -1
    made["request_id"] = [f"{i:032x}".encode() for i in range(n)] if n < 10_000 else b""
    return made


def make(folder: Path, text: str = "plain") -> Path:
    """Write one; `text` is what the service, its labels, its logs and its experiment say."""
    folder.mkdir(parents=True, exist_ok=True)
    exp = f"crash {text.replace('/', '|')}"  # the name of a file
    alert = f"Down {text}"
    started = {"service": text, "commit": "9f2c1e7", "time_scale": 60.0, "evaluation_s": 0.25, "job": "svc"}
    about = {"id": "f1", "experiment": exp}
    phase = lambda name, edge: {"phase": name, "edge": edge}  # noqa: E731
    events = [
        [T0 - 3, "run", "started", "ok", None, started],
        [T0, "run", "phase", "ok", None, phase("steady", "begin")],
        [T0, "load", "started", "ok", None, {"generator": "load"}],
        [T0 + 1, "probe", "traffic", "ok", None, {"process": text, "in_traffic": True}],
        [T0 + 50, "run", "phase", "ok", None, phase("steady", "end")],
        [T0 + 50, "run", "phase", "ok", None, phase(exp, "begin")],
        [FAULT[0], "fault", "kill", "ok", None, {**about, "edge": "start", "params": {"component": text}}],
        [FAULT[0] + 1, "fault", "kill", "ok", None, {**about, "edge": "witness", "evidence": text}],
        [FAULT[0] + 2, "stack", "restart", "ok", None, {"component": text, "cause": text}],
        [FAULT[1], "fault", "kill", "ok", None, {**about, "edge": "stop", "by": "heal", "problem": text}],
        [END, "run", "phase", "ok", None, phase(exp, "end")],
        [END, "load", "finished", "ok", None, {"generator": "load", "rows": 2400, "unsent": 0}],
        [END + 1, "run", "ended", "ok", None, {}],
    ]
    _lines(folder / "events.jsonl", events)
    rows().tofile(folder / "requests-load.rows")
    probe = lambda n: [T0 + n, "liveness", not 60 <= n < 75, 200, 0.01, text if n == 60 else ""]  # noqa: E731
    _lines(folder / "probes.jsonl", [[*probe(n), "restart" if n == 62 else "", text] for n in range(0, 120, 2)])
    labels = {"alertname": alert, "severity": text}
    notes = [
        [at, text, "webhook", status, [alert], [], text, [labels]]
        for at, status in ((T0 + 72, "firing"), (T0 + 80, "resolved"))
    ]
    _lines(folder / "notifications.jsonl", notes)
    _lines(
        folder / "resources.jsonl",
        [[T0 + n, text, "replica", 7, 1, 1, 10**8 + n, 9, 3, 4, n / 2, 0, 0.1, 0.5] for n in range(120)],
    )
    ticks = [T0 + n for n in range(120)]
    firing = {"__name__": "ALERTS", "alertstate": "firing", **labels}
    write_series(
        folder / "samples.jsonl.gz",
        [
            Series(firing, [T0 + 70 + n / 4 for n in range(36)], [1.0] * 36),
            Series({"__name__": "up", "job": "svc"}, ticks, [float(not 60 <= n < 75) for n in range(120)]),
            Series({"__name__": "queue_depth", "job": text}, ticks, [float(n % 7) for n in range(120)]),
        ],
    )
    (folder / "types.json").write_text("{}")
    replay = [300.0, 600.0, 1200.0, 3600.0, 900.0]
    (folder / "replays.json").write_text(json.dumps({exp: {alert: replay}}))
    (folder / "environment.json").write_text(json.dumps({"python": "3.11", "machine": text}))
    named = {"name": alert, "labels": [["severity", text]], "others": []}
    fires = {"check": "alert_fires", "experiment": exp, "alert": named, "fires_within_s": 480.0, "predicted": [60, 90]}
    told = {"check": "alert_delivered", "experiment": exp, "alert": named, "receiver": text, "notified_within_s": 900.0}
    plan = {
        "gate": "gate.yaml", "service": text, "experiments": [exp], "rules": [{"alert": named, "severity": text}],
        "checks": [
            fires, told, {"check": "latency", "phase": "steady", "percentile": 95, "under_ms": 500.0},
            {"check": "predictions", "classes": [f"NORMAL {text}", "PNEUMONIA"]},
        ],
    }  # fmt: skip
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    (folder / "journals").mkdir(exist_ok=True)
    done = {
        "activity": {"type": "action", "name": f"kill it {text}"},
        "status": "succeeded",
        "duration": 1.5,
        "output": text,
    }
    journal = {"experiment": {"title": text, "description": text}, "status": "completed", "run": [done]}
    (folder / "journals" / f"{exp}.json").write_text(json.dumps(journal))
    (folder / "logs").mkdir(exist_ok=True)
    line = {"timestamp": "2026-11-23T20:12:05.5Z", "level": "ERROR", "message": text}
    (folder / "logs" / "server.log").write_text(json.dumps(line) + f"\n2026-11-23 20:12:06+00:00 ERROR {text}\n")
    (folder / "results.json").write_text(json.dumps(results(text, exp, alert)))
    return folder


def results(text: str, exp: str, alert: str) -> dict:
    """As results.json has them: a failure, two inconclusive ones of one cause, and what passed."""
    doubt = f"other processes {text} had 59 %, so this is not attributable to the service: "
    sample = {"kind": "sample", "key": "up{}", "at": FAULT[0], "until": FAULT[1]}
    row = {"kind": "row", "key": f"{1300:032x}", "at": T0 + 65, "until": None}

    def one(check: str, subject: str, verdict: str, reason: str, measured=None, bound=None, unit="", **more) -> dict:
        said = {"check": check, "subject": subject, "verdict": verdict, "reason": reason, "unit": unit}
        return {
            **said,
            "measured": measured,
            "bound": bound,
            "status": "",
            "place": "",
            "remedy": "",
            "evidence": [],
            **more,
        }

    found = [
        one("latency", "steady: latency p95", "PASS", "p95 18 ms, bound 500 ms", 18.0, 500.0, "ms"),
        one("predictions", "predictions", "PASS", "99 % right", 0.99, 0.97, "share"),
        one("alert_delivered", f"{exp}: {alert} to {text}", "PASS", "after 12 min", 720.0, 900.0, "s"),
        one("clients", f"{exp}: clients", "INCONCLUSIVE", doubt + f"12 % failed {text}", 0.12, 0.01, "share"),
        one("quiet", f"{exp}: unexpected alerts", "INCONCLUSIVE", doubt + "2 fired", 2, 0, "alerts"),
        one("alert_fires", f"{exp}: {alert}", "FAIL", f"fires only after 10 min, bound 8 min {text}", 600.0, 480.0, "s",
            place="rules.yaml:8", remedy=f"shorten its for {text}", status="LATE", evidence=[sample, row]),
    ]  # fmt: skip
    return {
        "schema": 4, "verdict": "FAIL", "exit_code": 1, "service": {"name": text, "version": text, "commit": "9f2c1e7"},
        "started": "2026-11-23T20:11:03.000Z", "ended": "2026-11-23T20:13:03.000Z", "experiments": [exp],
        "requests": 2400, "generator": {"lag_p99_ms": 1.0}, "results": found,
        "alerts": {
            alert: {"severity": text, "status": "LATE", "experiments": [exp], "firing_s": 600.0, "not_run": text},
        },
        "coverage": {text: {"proven": 0, "applicable": 1}}, "left_behind": [text], "remarks": [text],
        "not_applicable": [{"experiment": text, "reason": text, "remedy": text, "alerts": [text]}],
    }  # fmt: skip


def _lines(path: Path, records: list) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
