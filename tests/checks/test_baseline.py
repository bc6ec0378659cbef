"""A run against earlier ones: its figures, its alerts, its metrics."""

from dataclasses import replace

import numpy as np
import pytest
from handmade import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    SCRAPE_S,
    broken,
    expect,
    fault,
    firing,
    history,
    notified,
    phase,
    ready,
    replay,
    rows,
    table,
    unready,
)

from harness.checks import BaselineAlerts, BaselineFigures, BaselineMetrics, judge_all
from harness.checks.baseline import Baseline as Entry
from harness.checks.figures import alerts_of, figures, figures_of, metrics
from harness.checks.view import RuleFact, View
from harness.eventlog import Event
from harness.history import Baseline, Outcome, Series
from harness.verdict import Verdict

NOISE = np.random.default_rng(5).normal(0, 0.01, 40).tolist()  # of each run, as a share of its figures
QUANTITIES = ("process_cpu_seconds_total", "process_resident_memory_bytes")


def a_run(n=0, slower=1.0, pace=1.0, cpu=1.0, mb=300.0, errors=0, others=0.0, recovers_s=10.0, **parts):
    """A run of 40 s of steady load, then 40 s with a crash at 50 s; n says which noise it has."""
    noise = 1 + NOISE[n]
    made = rows(80 * 60, took=0.01 * slower * pace**0.5 * noise)
    made = broken(made, 51, 50 + recovers_s * (1 + 3 * NOISE[-n]))
    made["outcome"][10 : 10 + errors] = Outcome.TIMEOUT
    spent = {"all": 10000, "busy": 2000 + round(4000 * others), "own": 2000, "idle": 4000, "stolen": 0}
    ticks = [0, 1, 2, 2]
    edges = [*phase("steady", 0, 40), *phase("crash", 45, 80)]
    edges = [
        e._replace(detail={**e.detail, "cpu": {k: v * t for k, v in spent.items()}})
        for e, t in zip(edges, ticks, strict=True)
    ]
    own = {"generator": "load", "cpu": [[s + 1.0, 1.0, 0.018 * pace * (1 + NOISE[-n] / 10)] for s in range(80)]}
    at = np.arange(0, 80.1, SCRAPE_S)
    used = {
        "process_cpu_seconds_total": at * 0.1 * cpu * pace * noise,
        "process_resident_memory_bytes": at * 0 + mb * 1e6 * noise,
    }
    series = [Series({"__name__": k, "job": "svc", "instance": "a"}, at.tolist(), v.tolist()) for k, v in used.items()]
    parts.setdefault("series", ())
    more = parts.pop("series")
    events = [*edges, *fault("crash", 50, 55, process="server"), Event(80, "load", "finished", detail=own)]
    probes = [*unready(51), *ready(50 + recovers_s)]
    return history(events, rows={"load": made}, probes=probes, series=[*series, *more], **parts)


def past(count, **parts):
    return Baseline(tuple(figures(a_run(n, **parts), f"run-{n}") for n in range(1, count + 1)))


EIGHT = past(8)
steady = BaselineFigures("steady")
crash = BaselineFigures("crash", "crash")


def against(baseline, **parts):
    return replace(a_run(0, **parts), baseline=baseline)


def stumbling(*moments, each=8):
    """A run in which so many requests from each of these moments on are answered 200 ms late."""
    run = against(EIGHT)
    made = run.rows["load"].copy()
    for at in moments:
        begin = int(np.searchsorted(made["intended"], at))
        made["done"][begin : begin + each] += 0.2
    return replace(run, rows={"load": made})


CASES = [
    ("a tail of two moments", steady, stumbling(20, 30), PASS, "none of 10"),
    ("a tail of three", steady, stumbling(10, 20, 30), FAIL, "longest latency 210 ms, expected 10 ms, bound 110 ms"),
    ("a tail of one that has a second's length", steady, stumbling(20, 20.4, 20.8), PASS, "none of 10"),
    ("one request that is late, again and again", steady, stumbling(*np.arange(0, 39, 0.9), each=1), FAIL, "p99.9 210"),
    ("a pause of three seconds", steady, stumbling(*np.arange(20, 23, 0.2), each=1), FAIL, "latency p99.9 210 ms"),
    (
        "as ever",
        steady,
        against(EIGHT),
        PASS,
        "p50 9.92 ms, expected 9.99 ms, bound 10.5 ms: 8 % slower would be seen",
    ),
    (
        "slower",
        steady,
        against(EIGHT, slower=1.3),
        FAIL,
        "latency p50 12.9 ms, expected 9.99 ms, bound 10.5 ms, 29 % more",
    ),
    ("slower by less than matters", steady, against(EIGHT, slower=1.02), PASS, "expected"),
    ("faster", steady, against(EIGHT, slower=0.5), PASS, "p50 4.96 ms"),
    ("more errors", steady, against(EIGHT, errors=40), FAIL, "failed requests 1.667 %, expected 0 %"),
    ("more processor", steady, against(EIGHT, cpu=1.3), FAIL, "processor time of a request 2.15 ms, expected 1.67 ms"),
    ("more memory", steady, against(EIGHT, mb=450), FAIL, "most resident memory 446 MB, expected 300 MB"),
    ("a slower machine", steady, against(past(8, pace=1.0), slower=1.0, pace=1.004), PASS, "none of 10"),
    ("others had the processors", steady, against(EIGHT, slower=1.5, others=0.2), INCONCLUSIVE, "other processes had"),
    ("others, and memory", steady, against(EIGHT, mb=450, others=0.2), FAIL, "most resident memory"),
    ("recovers late", crash, against(EIGHT, recovers_s=20), FAIL, "served again after"),
    ("recovers as ever", crash, against(EIGHT), PASS, "none of 2 figures"),
    ("unreadable", steady, against(Baseline((), "x.sqlite: is damaged")), INCONCLUSIVE, "x.sqlite: is damaged"),
    (
        "a figure is gone",
        steady,
        replace(against(EIGHT), series=()),
        INCONCLUSIVE,
        "most resident memory and processor time of a request, which each of 8 earlier runs had, is not in the record",
    ),
    ("no such phase", BaselineFigures("hang"), against(EIGHT), INCONCLUSIVE, "does not hold the phase"),
    (
        "nothing sent",
        steady,
        replace(against(EIGHT), rows={}),
        INCONCLUSIVE,
        "none of the figures of steady",
    ),
]


@table(CASES)
def test_figures(check, record, verdict, says):
    expect(check, record, verdict, says)


FIRED = {
    "Down": replay(pending_s=5.0, firing_s=60.0, last_firing_s=600.0, ended_s=1800.0),
    "Maybe": replay(ended_s=1800.0),
    "Brief": replay(ended_s=1800.0),
}


def with_alerts(n=0, receiver="pager", live=True, replays=FIRED, more=(), told=(), **parts):
    jitter = NOISE[n] * 200
    seen = {
        key: one if one.firing_s is None else one._replace(firing_s=one.firing_s + jitter)
        for key, one in replays.items()
    }
    spans = [firing("Down", (52, 62 + NOISE[n]), job="svc")] if live else []
    spans += [firing("Watchdog", (0, 80)), *more]
    sent = [notified(53 + NOISE[n], receiver, "firing", "Down")] if receiver else []
    return a_run(n, series=spans, replays={"crash": seen}, notifications=[*sent, *told], **parts)


def brief(n, held=15.0):
    return {**FIRED, "Brief": replay(firing_s=700.0, last_firing_s=700.0 + held * (n % 4), ended_s=1800.0)}


def sometimes(n):
    return {**FIRED, "Maybe": replay(firing_s=60.0, last_firing_s=600.0, ended_s=1800.0)} if n % 2 else FIRED


def alerts(count=8, of=with_alerts, **parts):
    each = [{k: v(n) if callable(v) else v for k, v in parts.items()} for n in range(1, count + 1)]
    return Baseline(tuple(figures(of(n, **some), f"run-{n}") for n, some in enumerate(each, 1)))


def now(baseline, **parts):
    return replace(with_alerts(0, **parts), baseline=baseline)


USUAL = alerts()
look = BaselineAlerts("crash", "crash", places=(("Down", "rules/a.yaml:4"),))
PENDING = {**FIRED, "Down": replay(pending_s=5.0, ended_s=1800.0)}
QUIET = {**FIRED, "Down": replay(ended_s=1800.0)}
GONE = {key: one for key, one in FIRED.items() if key != "Down"}
WAITS = firing("Down", (52, 62), state="pending", job="svc")
BESIDE = [notified(53, "chat", "firing", "Down")]
ALERT_CASES = [
    ("as ever", look, now(USUAL), PASS, "none of 2 alerts that fired in each of 8 earlier runs differs"),
    ("silent", look, now(USUAL, replays=QUIET, live=False, receiver=""), FAIL, "Down did not fire in the replay"),
    ("only pends", look, now(USUAL, replays=PENDING), FAIL, "Down was only pending in the replay"),
    ("only pends live", look, now(USUAL, live=False, more=[WAITS], receiver=""), FAIL, "Down was only pending live"),
    ("rule removed", look, now(USUAL, replays=GONE, live=False, receiver=""), FAIL, "Down has no rule any more"),
    ("another receiver", look, now(USUAL, receiver="chat"), FAIL, "Down was sent to chat instead of pager"),
    ("one more receiver", look, now(USUAL, told=BESIDE), FAIL, "Down was sent to chat beside pager"),
    ("nobody", look, now(USUAL, receiver=""), FAIL, "Down fired live, but pager was not notified"),
    ("one that fires in some", look, now(alerts(replays=sometimes)), PASS, "none of 2"),
    ("one that hardly fires", look, now(alerts(replays=brief)), PASS, "none of 3"),
    (
        "no replay",
        look,
        now(USUAL, replays={**FIRED, "Down": replay()._replace(problem="broke")}),
        INCONCLUSIVE,
        "of Down there is no replay in crash",
    ),
    ("unreadable", look, now(Baseline((), "it is damaged")), INCONCLUSIVE, "it is damaged"),
]
CASES += ALERT_CASES


@table(ALERT_CASES)
def test_alerts(check, record, verdict, says):
    result = expect(check, record, verdict, says)
    assert result.place == ("rules/a.yaml:4" if verdict is FAIL else "")


def exposing(n=0, *gone, labels=("job", "instance", "status"), **parts):
    names = [name for name in ("requests_total", "queue_depth") if name not in gone]
    series = [Series({"__name__": name, **dict.fromkeys(labels, "svc")}, [1.0, 2.0], [1.0, 2.0]) for name in names]
    return a_run(n, series=series, **parts)


EXPOSED = Baseline(tuple(figures(exposing(n), f"run-{n}") for n in range(1, 7)))
whole = BaselineMetrics(("steady", "crash"), places=(("Down", "rules/a.yaml:4"),))
BLIND = {"crash": {"Down": replay(ended_s=1800.0, blind=("queue_depth",))}}
METRIC_CASES = [
    ("as ever", whole, replace(exposing(), baseline=EXPOSED), PASS, "all of 4 metrics that each of 6 earlier runs had"),
    (
        "one gone",
        whole,
        replace(exposing(0, "queue_depth", replays=BLIND), baseline=EXPOSED),
        FAIL,
        "queue_depth, which Down (rules/a.yaml:4) read",
    ),
    (
        "a label gone",
        whole,
        replace(exposing(labels=("job", "instance", "code")), baseline=EXPOSED),
        FAIL,
        "status of requests_total",
    ),
    ("unreadable", whole, replace(exposing(), baseline=Baseline((), "it is locked")), INCONCLUSIVE, "it is locked"),
    ("no samples", whole, replace(exposing(), series=[], baseline=EXPOSED), INCONCLUSIVE, "no sample of the service"),
]
CASES += METRIC_CASES


@table(METRIC_CASES)
def test_metrics(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_with_too_few_runs_there_is_a_remark_and_no_verdict():
    three = "3 passing runs of this plan on this kind of machine are recorded, 2 more are needed"
    known = (
        (past(3), three),
        (past(4), "1 more is needed"),
        (None, "it looked for none"),
        (Baseline(), "no passing run of this plan"),
    )
    for baseline, says in known:
        results = judge_all([steady, crash, look, whole], replace(a_run(slower=3), baseline=baseline))
        assert {(r.judges, r.verdict, says in r.remarks[0]) for r in results} == {(False, PASS, True)}, results
        assert len({remark for r in results for remark in r.remarks}) == 1, "said once"


def test_where_gate_yaml_says_so_a_finding_is_a_remark():
    checks = [replace(steady, mode="report"), replace(look, mode="report")]
    for result in judge_all(checks, now(USUAL, receiver="chat", slower=2)):
        assert not result.judges and result.verdict is PASS
        assert "worse than expected" in result.remarks[0] or "sent to chat" in result.remarks[0]
    assert all(r.judges for r in judge_all(checks, now(USUAL))), "and none is a result like any other"


def test_a_new_alert_is_a_remark():
    new = {**FIRED, "Maybe": replay(firing_s=60.0, last_firing_s=600.0, ended_s=1800.0)}
    (result,) = judge_all([look], now(USUAL, replays=new))
    assert result.verdict is PASS and result.remarks == ("crash: Maybe fired, and in none of 8 earlier runs",)


def test_a_failure_names_its_evidence():
    (result,) = judge_all([steady], against(EIGHT, slower=1.5, cpu=2))
    assert {one.kind for one in result.evidence} == {"sample", "row"} and len(result.evidence) <= 10
    (result,) = judge_all([look], now(USUAL, receiver="chat"))
    assert [one.kind for one in result.evidence] == ["sample", "notification"]


def test_a_slower_machine_is_not_a_slower_service():
    """Its pace is known by what the generator spends; runs at several paces show how the figures follow it."""
    paces = [1.0, 1.1, 0.95, 1.3, 1.05, 1.2, 0.9, 1.15]
    runs = Baseline(tuple(figures(a_run(n, pace=pace), f"run-{n}") for n, pace in enumerate(paces, 1)))
    expect(steady, replace(a_run(0, pace=1.25), baseline=runs), PASS, "none of 10")
    expect(steady, replace(a_run(0, pace=1.25, slower=1.15), baseline=runs), FAIL, "latency p50")


def test_what_a_machine_that_was_never_so_slow_may_explain_is_no_verdict():
    """Half as fast, and all takes twice as long or, with a queue, three times: the machine, as far as known. What is
    more than that, or has nothing to do with time, is the service."""
    half = {"pace": 2.0, "slower": 2**0.5}  # a_run lets latencies follow the root of the pace
    for baseline in (past(5), EIGHT):
        expect(steady, against(baseline, **half), INCONCLUSIVE, "the machine was slower in steady than in any")
        expect(steady, against(baseline, pace=2.0, slower=3 / 2**0.5), INCONCLUSIVE, "not attributable")
        expect(steady, against(baseline, pace=2.0, slower=4.5), FAIL, "latency p50")
        expect(steady, against(baseline, **half, errors=40), FAIL, "failed requests")
        expect(steady, against(baseline, pace=1.02, slower=1.3), FAIL, "latency p50")


def _with(baseline, phase, name, values):
    """The runs of a baseline with other values of one figure."""
    runs = []
    for run, value in zip(baseline.runs, values, strict=True):
        runs.append(run._replace(figures={**run.figures, phase: {**run.figures[phase], name: value}}))
    return Baseline(tuple(runs))


def test_what_one_earlier_run_had_may_be_chance_and_what_two_had_is_how_it_is():
    now, ten = a_run(0, recovers_s=16.0), past(10)
    takes = figures_of(now, "crash")["served again"]
    usual = [run.figures["crash"]["served again"] for run in ten.runs]
    rest = {name for name in figures_of(now, "crash") if name not in ("served again", "pace", "requests")}
    ten, five = (_alone(one, "crash", rest) for one in (ten, past(5)))
    few = _with(five, "crash", "served again", [*usual[:4], takes])
    expect(crash, replace(now, baseline=five), FAIL, "served again after")
    expect(crash, replace(now, baseline=few), INCONCLUSIVE, "1 of the 5 earlier runs was like this")
    expect(crash, replace(now, baseline=_with(ten, "crash", "served again", [*usual[:8], takes, takes])), PASS, "none")
    far = _with(five, "crash", "served again", [*usual[:4], 5 * takes])  # a run in which something else went wrong
    expect(crash, replace(now, baseline=far), FAIL, "served again after")


def _alone(baseline, phase, without):
    """The runs of a baseline without some figures."""
    return Baseline(
        tuple(
            run._replace(figures={phase: {k: v for k, v in run.figures[phase].items() if k not in without}})
            for run in baseline.runs
        )
    )


def test_a_figure_that_was_0_in_every_earlier_run_is_said_to_be():
    now = a_run(0, recovers_s=16.0)
    never = _with(EIGHT, "crash", "served again", [0.0] * 8)
    expect(crash, replace(now, baseline=never), FAIL, "expected 0 s")


def test_what_can_be_seen_is_said_and_what_it_takes_to_see_more():
    (result,) = judge_all([steady], against(past(5)))
    assert "slower would be seen" in result.reason
    (remark,) = result.remarks
    assert "only a p50" in remark and "more passing run" in remark and "for 10 %" in remark


def test_the_entry_is_a_word_or_a_mapping_and_bounds_the_false_alarms_of_all_phases_together():
    view = View(phases=("steady", "a", "b"), rules=(RuleFact(look.alert or "Down", "high", "x:1"),))
    checks = Entry.from_plan("report", view)
    assert {c.mode for c in checks} == {"report"} and len(checks) == 3 + 3 + 1
    total = sum(c.false_alarms for c in checks if isinstance(c, BaselineFigures))
    assert total == pytest.approx(0.005)
    given = Entry.from_plan({"worse_by": "8%", "last": 30}, view)
    assert {(c.last, getattr(c, "worse_by", 0.08)) for c in given} == {(30, 0.08)}
    for wrong in ("reprot", {"at_least": 2}, {"last": 3}, {"last": 6, "at_least": 9}, {"mode": 3}, 7, ["report"]):
        with pytest.raises(ValueError):
            Entry.from_plan(wrong, view)


def test_figures_of_a_run_by_hand():
    record = with_alerts(0, errors=12)
    found = figures_of(record, "steady")
    assert found["errors"] == pytest.approx(12 / 2400) and found["goodput"] == pytest.approx((2400 - 12) / 40)
    assert found["latency longest"] == np.inf and found["latency p50"] == pytest.approx(10 * (1 + NOISE[0]))
    assert found["processor"] == pytest.approx(1000 * 0.1 * (1 + NOISE[0]) / 60, rel=0.01)
    assert figures_of(record, "crash")["fires Down"] == pytest.approx(60 + NOISE[0] * 200)
    assert figures_of(record, "crash")["notified Down"] == pytest.approx(60 * (3 + NOISE[0]))
    state = alerts_of(record, "crash")["Down"]
    assert (state["replay"], state["live"], state["receivers"]) == ("fired", "fired", ["pager"])
    assert set(QUANTITIES) <= metrics(record).keys() and "ALERTS" not in metrics(record)
    assert figures_of(history(), "steady") == {} == alerts_of(history(), "steady")


def test_alerts_of_one_name_are_told_apart_by_their_labels():
    keys = {f'Errors{{severity="{word}"}}': FIRED["Down"] for word in ("page", "ticket")}
    seen = [firing("Errors", (52, 62), severity="page")]
    sent = [notified(53, "pager", "firing", "Errors", severity="page")]
    found = alerts_of(a_run(series=seen, replays={"crash": keys}, notifications=sent), "crash")
    assert [(one["live"], one["receivers"]) for one in found.values()] == [("fired", ["pager"]), ("quiet", [])]
    assert Verdict.PASS is PASS


def test_a_moment_is_said_although_it_proves_nothing():
    remarks = expect(steady, stumbling(20), PASS, "none of 10").remarks
    [tail] = [remark for remark in remarks if "p99.9" in remark]
    assert "that is 8 requests, 20 s after the phase began, and a moment or two show no change" in tail
