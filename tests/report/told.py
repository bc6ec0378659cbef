"""Summaries to report on, made by hand."""

from dataclasses import replace

from harness.report.summary import Summary
from harness.verdict import NotApplicable, Result, Verdict

PASS, INCONCLUSIVE, FAIL = Verdict
T0 = 1795464663.125  # 2026-11-23T20:11:03.125Z

LATENCY = Result(
    "latency", "steady: latency p95", PASS, "p95 212 ms of 4,650 requests, bound 500 ms", 212.0, 500.0, "ms"
)
FIRES = Result(
    "alert_fires", "server-crash: ServiceDown", PASS,
    "the production rule fires after 1 min 15 s (bound 2 min) and resolves 15 s after the effect (bound 5 min)",
    75.0, 120.0, "s", place="model_server/monitoring/rules/service.yaml:4", status="PROVEN",
)  # fmt: skip
SILENT = Result(
    "alert_fires", "overload: HighLatencyP95", FAIL,
    "the production rule never fired in 22 min of record, bound 4 min; it was pending from 15 s on",
    None, 240.0, "s", place="model_server/monitoring/rules/service.yaml:41",
    remedy="compare the rule's expression, threshold and `for` with what the fault did to its series", status="SILENT",
)  # fmt: skip
FEW = Result(
    "error_ratio", "steady: errors", INCONCLUSIVE,
    "0 % of 1,800 requests failed, bound 0.1 %, but 1,800 requests are too few to claim it"
    " (4,603 needed at 99 % confidence, 1 min 17 s at 60/s)",
    0.0, 0.001, "share", remedy="load for longer or at a higher rate: 4,603 requests",
)  # fmt: skip

RED = Summary(
    service="pneumonia-detector",
    version="1.4.0",
    commit="9f2c1e7",
    started=T0,
    ended=T0 + 252.4,
    results=(LATENCY, FIRES, SILENT, FEW),
    experiments=("sham", "server-crash", "overload"),
    alerts={
        "ServiceDown": {"severity": "critical", "status": "PROVEN", "experiments": ["server-crash"], "firing_s": 75.0},
        "HighLatencyP95": {"severity": "high", "status": "SILENT", "experiments": ["overload"]},
    },
    coverage={"critical": {"proven": 1, "applicable": 1}, "high": {"proven": 0, "applicable": 1}},
    requests=18204,
    lag_p99_ms=1.1,
    folder="runs/20261123T201103Z-7c1",
)
GREEN = replace(RED, results=(LATENCY, FIRES))
REMARK = "the run is not compared with a baseline: 2 passing runs of this plan on this kind of machine are recorded, "
REMARKED = replace(GREEN, remarks=(REMARK + "3 more are needed", "sham: Odd fired, and in none of 8 earlier runs"))
PLAYED = replace(
    GREEN,
    alerts={**RED.alerts, "GpuLost": {"severity": "high", "status": "PROVEN", "experiments": ["x"], "simulated": True}},
    coverage={"critical": {"proven": 1, "applicable": 1}, "high": {"proven": 1, "applicable": 2, "simulated": 1}},
)
THROTTLED = NotApplicable("cpu-throttled", "cgroup_cpu (no cgroup may be made)", "run it as root", ("SlowAnswers",))
LACKING = replace(
    GREEN,
    not_applicable=(THROTTLED,),
    alerts={"SlowAnswers": {"severity": "high", "status": "INCONCLUSIVE", "experiments": [], "not_run": THROTTLED.why}},
)
UNCLEAR = replace(RED, results=(LATENCY, FEW))
EMPTY = Summary(service="pneumonia-detector", started=T0, ended=T0 + 1, results=())

HOSTILE_TEXT = "<a href=\"x\">&amp; ]]> \x1b[2Jgone\x00\x07\nnew line\t\u202eright-to-left\ud800\ufffe 'quoted' ✗ 日本"
HOSTILE = replace(
    RED,
    service=HOSTILE_TEXT,
    version=HOSTILE_TEXT,
    commit=HOSTILE_TEXT,
    results=tuple(
        Result(HOSTILE_TEXT, HOSTILE_TEXT, v, HOSTILE_TEXT, float("inf"), float("nan"), *3 * [HOSTILE_TEXT])
        for v in Verdict
    ),
    experiments=(HOSTILE_TEXT,),
    left=(HOSTILE_TEXT,),
    remarks=(HOSTILE_TEXT,),
    folder=HOSTILE_TEXT,
)  # fmt: skip
