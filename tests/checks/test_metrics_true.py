"""What the service counts, against the rows of the same requests: exact, but for what is in flight at a scrape."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, history, phase, replay, restart, rows, table

from harness.checks import AlertFires, MetricsTrue, Promql, Recorded, judge_all
from harness.checks.view import View
from harness.eventlog import Event
from harness.history import SLOW_CLIENT, History, Outcome, Series
from harness.telemetry import Telemetry

SCRAPE_S, END = 0.25, 40.0
EDGES = (0.005, 0.025, 0.1, 0.25, 1.0, float("inf"))
COUNT, HISTOGRAM, CLASSES, FLIGHT, SHED = (
    "http_requests_total",
    "took_seconds",
    "preds_total",
    "in_flight",
    "shed_total",
)
TELEMETRY = Telemetry.model_validate(
    {
        "classes": ["NORMAL", "PNEUMONIA"],
        "metrics": {
            "requests": COUNT,
            "duration": HISTOGRAM,
            "predictions": CLASSES,
            "in_flight": FLIGHT,
            "shed": SHED,
        },
    }
)
CHECKS = {c.signal: c for c in MetricsTrue.from_plan(None, View(phases=("steady", "hit"), telemetry=TELEMETRY))}
REQUESTS, DURATION, PREDICTIONS, IN_FLIGHT, REFUSED = CHECKS.values()


def asked(start: float = 1, **few: int) -> np.ndarray:
    """Thirty seconds of requests whose classes take turns; answered after 3 to 300 ms."""
    made = rows(1800, start=start, rate=60, **few)
    took = 0.003 + 0.03 * np.random.default_rng(5).exponential(size=1800)
    made["done"] = made["sent"] + took
    made["predicted"] = np.where((made["status"] == 200), np.arange(1800) % 2, -1)
    made["request_id"] = [b"r%d" % i for i in range(1800)]
    return made


def run(
    made: np.ndarray, told: np.ndarray | None = None, *events: list, instances: tuple[str, ...] = ("a",), **parts
) -> History:
    """A run of these requests whose service tells of `told`, by default of the same."""
    told = made if told is None else told
    series = []
    for i, instance in enumerate(instances):
        series += exposed(told[i :: len(instances)], instance, 0.01 * i)
    about = [phase("steady", 0, 20), phase("hit", 20, END), *events]
    return history(*about, rows={"load": made}, series=series, **parts)


def exposed(told: np.ndarray, instance: str = "a", offset: float = 0.0, since: float = 0.0) -> list[Series]:
    """What a service that counts these requests exposes."""
    at = np.arange(since + offset, END + 0.001, SCRAPE_S)
    about = {"job": "svc", "instance": instance}
    took = told["done"] - told["sent"]
    answered = told["status"] > 0

    def counter(name: str, which: np.ndarray, amounts: np.ndarray | None = None, **labels: str) -> Series:
        order = np.argsort(told["done"][which])
        amounts = np.ones(len(order)) if amounts is None else amounts[which][order]
        total = np.concatenate([[0.0], np.cumsum(amounts)])[np.searchsorted(told["done"][which][order], at, "right")]
        return Series({"__name__": name, **about, **labels}, at.tolist(), total.tolist())

    flight = np.searchsorted(np.sort(told["sent"]), at, "right") - np.searchsorted(np.sort(told["done"]), at, "right")
    gauges = {"up": np.ones(len(at)), "scrape_duration_seconds": np.full(len(at), 0.004), FLIGHT: flight}
    return [
        *(Series({"__name__": name, **about}, at.tolist(), v.tolist()) for name, v in gauges.items()),
        *(counter(COUNT, told["status"] == s, status=str(s)) for s in np.unique(told["status"][answered])),
        *(counter(f"{HISTOGRAM}_bucket", answered & (took <= edge), le=str(edge)) for edge in EDGES),
        counter(f"{HISTOGRAM}_count", answered),
        counter(f"{HISTOGRAM}_sum", answered, took),
        counter(CLASSES, told["predicted"] == 0, prediction="NORMAL"),
        counter(CLASSES, told["predicted"] == 1, prediction="PNEUMONIA"),
        counter(SHED, told["status"] == 503),
    ]


def changed(record: History, name: str, change: Callable, **labels: str) -> History:
    """The same record, the values of a metric's series changed by a function of (moments, values); None drops them."""
    found = []
    for s in record.series:
        if s.labels["__name__"] == name and labels.items() <= s.labels.items():
            value = change(np.asarray(s.at), np.asarray(s.value))
            if value is None:
                continue
            s = s._replace(value=np.asarray(value, float).tolist())
        found.append(s)
    return replace(record, series=found)


def relabelled(record: History, name: str, label: str, values: dict[str, str | None]) -> History:
    def named(s: Series) -> Series:
        if s.labels["__name__"] != name or s.labels.get(label) not in values:
            return s
        new = {**s.labels, label: values[s.labels[label]]}
        return s._replace(labels={k: v for k, v in new.items() if v is not None})

    return replace(record, series=[named(s) for s in record.series])


def slower(factor: float, more_s: float = 0.0) -> np.ndarray:
    """What a service tells that measures its requests wrong."""
    told = GOOD.copy()
    told["sent"] = told["done"] - (factor * (GOOD["done"] - GOOD["sent"]) + more_s)
    return told


def split(at: float, back: float, beside: float | None = None) -> History:
    """The service is killed at a time and counts from 0 again when it is back; `up` is 0 in between. beside: another
    replica answers every second request, and is scraped so much earlier."""
    mine = GOOD if beside is None else GOOD[::2]
    gone = mine[(mine["done"] >= at) & (mine["sent"] < back)]
    made = GOOD.copy()
    lost = np.isin(made["seq"], gone["seq"])
    made["outcome"][lost], made["status"][lost], made["predicted"][lost] = Outcome.BROKEN, 0, -1
    counted = made[np.isin(made["seq"], mine["seq"])]
    before, after = counted[counted["done"] < at], counted[counted["sent"] >= back]
    series = [] if beside is None else exposed(GOOD[1::2], "b")
    offset = beside or 0.0
    for old, new in zip(exposed(before, offset=offset), exposed(after, offset=offset), strict=True):
        kept = [(t, v) for t, v in zip(old.at, old.value, strict=True) if t < at]
        kept += [(t, v) for t, v in zip(new.at, new.value, strict=True) if t >= back]
        series.append(Series(old.labels, *map(list, zip(*kept, strict=True))))
    if beside is not None:
        for up in [s for s in series if s.labels["__name__"] == "up"]:
            began = [back if up.labels["instance"] == "a" and t >= back else 0.0 for t in up.at]
            series.append(Series({**up.labels, "__name__": "process_start_time_seconds"}, up.at, began))
    events = [phase("steady", 0, 20), phase("hit", 20, END), disturbed(at - 0.1, back), restart(at + 0.05)]
    return history(*events, rows={"load": made}, series=series)


def disturbed(start: float, stop: float) -> list[Event]:
    """A fault that is done to the service itself."""
    return [e._replace(detail={**e.detail, "component": "server"}) for e in fault("hit", start, stop)]


def said_to_begin(record: History, when: Callable) -> History:
    """The same with the start time of the process as the service exposes it."""
    at = np.asarray(record.series[0].at)
    more = Series({"__name__": "process_start_time_seconds", "job": "svc", "instance": "a"}, at.tolist(), when(at))
    return replace(record, series=[*record.series, more])


AS_LONG = np.concatenate([asked(0.6), asked(30.6)])  # as the scrapes go on
GOOD = asked()
MIXED = asked(status_503=300, timeout=40, status_500=70)
RUN, MIXED_RUN, HIT = run(GOOD), run(MIXED), split(25.1, 28.0)
SURGE = fault("hit", 21, 30, "surge")  # nothing is done to the service but that it is asked
TWICE = np.concatenate([GOOD, GOOD[:90]])
OPEN = GOOD.copy()
OPEN["done"][:300] = 12.0
RESUMED = OPEN.copy()
RESUMED["sent"][:300] = 11.997  # a service that hung has seen them so late
SLOW = GOOD.copy()
SLOW["step"][::2] |= SLOW_CLIENT
SLOW["sent"][::2] -= 0.4
UNREAD = GOOD.copy()
UNREAD["predicted"] = -1

LEFT = MIXED.copy()
LEFT["status"] = 499

CASES = [
    ("each answer is counted once", REQUESTS, RUN, PASS, "counted 1,800 of 1,800 answers (100 %)"),
    ("each status apart", REQUESTS, MIXED_RUN, PASS, "status 200 1,390 of 1,390, status 500 70 of 70 and status 503"),
    ("no scrape", REQUESTS, history(phase("steady", 0, 9), rows={"load": GOOD}), INCONCLUSIVE, "no scrape of the serv"),
    ("no requests", REQUESTS, replace(RUN, rows={}), INCONCLUSIVE, "0 requests were sent, 20 needed"),
    ("one of them is missing", REQUESTS, run(GOOD, np.delete(GOOD, 900)), FAIL, "the clients got at least"),
    ("one may be missing", replace(REQUESTS, may_lose=0.001), run(GOOD, np.delete(GOOD, 900)), PASS, "1,799 of 1,800"),
    ("one is counted twice", REQUESTS, run(GOOD, np.concatenate([GOOD, GOOD[900:901]])), FAIL, "clients got at most"),
    ("1 % too many", REQUESTS, changed(RUN, COUNT, lambda _, v: v * 1.01 // 1), FAIL, "the service counted"),
    ("a status is never counted", REQUESTS, changed(MIXED_RUN, COUNT, lambda *_: None, status="503"), FAIL,
     "counted 0 answers with status 503 (http_requests_total{status=\"503\"}), the clients got at least"),
    ("a status as another", REQUESTS, relabelled(MIXED_RUN, COUNT, "status", {"503": "500", "500": "503"}), FAIL,
     "answers with status 503"),
    ("the counter stops", REQUESTS, changed(RUN, COUNT, lambda at, v: np.minimum(v, v[at <= 10][-1])), FAIL,
     "the clients got at least"),
    ("it falls though the process is the same", REQUESTS,
     replace(changed(RUN, COUNT, lambda at, v: np.where(at > 10, v - v[at <= 10][-1], v)),
             series=[*changed(RUN, COUNT, lambda at, v: np.where(at > 10, v - v[at <= 10][-1], v)).series,
                     Series({"__name__": "process_start_time_seconds", "job": "svc", "instance": "a"}, [0.0], [7.0])]),
     FAIL, "whose process was the same"),
    ("no quantile without +Inf", DURATION,
     replace(RUN, series=[s for s in RUN.series if s.labels.get("le") != "inf"]), FAIL, "has no bucket +Inf"),
    ("the metric is missing", REQUESTS, changed(RUN, COUNT, lambda *_: None), FAIL,
     "no series of http_requests_total in any scrape"),
    ("its label is missing", REQUESTS, relabelled(RUN, COUNT, "status", {"200": None}), FAIL, "has the label status"),
    ("its label holds no status", REQUESTS, relabelled(RUN, COUNT, "status", {"200": "OK"}), FAIL, "is no HTTP status"),
    ("classes of statuses", REQUESTS, relabelled(RUN, COUNT, "status", {"200": "2xx"}), PASS, "status 2xx 1,800"),
    ("without a label", replace(REQUESTS, by=None), RUN, PASS, "any status 1,800 of 1,800"),
    ("without a label only some", replace(REQUESTS, by=None, answers=("2xx",)),
     changed(MIXED_RUN, COUNT, lambda *_: None, status="503"), FAIL, "the clients got at most"),
    ("a status for those who left", REQUESTS,
     run(MIXED, np.where(MIXED["status"] == 0, LEFT, MIXED)), PASS, "status 499 40 to clients that did not wait"),
    ("a proxy's own answers need not be counted", replace(REQUESTS, uncounted=("503",)),
     changed(MIXED_RUN, COUNT, lambda *_: None, status="503"), PASS, "status 200 1,390 of 1,390"),
    ("other labels are another's", replace(REQUESTS, labels=(("endpoint", ("/x",)),)), RUN, FAIL, "has endpoint /x"),
    ("a kill takes what was counted since", REQUESTS, HIT, PASS, "may have gone with a process after its last scrape"),
    ("nor does a start time that never changes", REQUESTS, said_to_begin(HIT, lambda at: [7.0] * len(at)), PASS,
     "may have gone with a process after its last scrape"),
    ("a start time that always changes hides nothing", REQUESTS,
     said_to_begin(run(GOOD, np.delete(GOOD, 900)), lambda at: (4 * at).tolist()), FAIL, "the clients got at least"),
    *(
        (f"a kill of one of two replicas, {what}", check, split(25.34, 28.0, 0.1), PASS, "may have gone with a process")
        for what, check in (("requests", REQUESTS), ("classes", PREDICTIONS), ("durations", DURATION))
    ),
    ("two replicas", REQUESTS, run(GOOD, instances=("a", "b")), PASS, "counted 1,800 of 1,800"),
    ("one replica does not count", REQUESTS,
     changed(run(GOOD, instances=("a", "b")), COUNT, lambda _, v: 0 * v, instance="b"), FAIL, "at least"),
    ("a replica counts twice", REQUESTS,
     changed(run(GOOD, instances=("a", "b")), COUNT, lambda _, v: 2 * v, instance="b"), FAIL, "at most"),
    ("other generators ask, too", REQUESTS, replace(run(TWICE), rows={"load": GOOD, "surge": GOOD[:90]}), PASS,
     "counted 1,890 of 1,890"),
    ("the histogram", DURATION, RUN, PASS, "counted 1,800 of 1,800 latencies"),
    ("a slow client's time is its own", DURATION, run(SLOW, GOOD), PASS, "1,800 of 1,800"),
    ("only successes are observed", DURATION, run(MIXED, MIXED[MIXED["status"] == 200]), FAIL, 
     "latencies with any status (took_seconds_count), the clients got at least"),
    ("twice as long", DURATION, run(GOOD, slower(2)), FAIL, "of the clients' own times"),
    ("half as long", DURATION, run(GOOD, slower(0.5)), FAIL, "of the clients' own times only"),
    ("20 ms longer", DURATION, run(GOOD, slower(1, 0.02)), FAIL, "of the clients' own times"),
    ("a hang of the service is not in its own times", DURATION,
     run(OPEN, RESUMED, disturbed(1, 12)), PASS, "latencies"),
    ("without a hang they are", DURATION, run(OPEN, RESUMED), FAIL, "own times"),
    ("a sum in milliseconds", DURATION, changed(RUN, f"{HISTOGRAM}_sum", lambda _, v: 1000 * v), FAIL,
     "where its buckets allow"),
    ("a wrong edge", DURATION, changed(RUN, f"{HISTOGRAM}_bucket", lambda _, v: v / 2, le="0.025"), FAIL, "25 ms or"),
    ("a bucket larger than the next", DURATION,
     changed(RUN, f"{HISTOGRAM}_bucket", lambda _, v: 2 * v, le="0.25"), FAIL, "the bucket of 250 ms rose by"),
    ("the last bucket is not the count", DURATION,
     changed(RUN, f"{HISTOGRAM}_bucket", lambda _, v: v + v // 2, le="inf"), FAIL, "the bucket +Inf rose by"),
    ("milliseconds that are called seconds", replace(DURATION, unit_s=0.001), RUN, FAIL, "times only"),
    ("no histogram", DURATION, changed(RUN, f"{HISTOGRAM}_count", lambda *_: None), FAIL, "no series of took_seconds"),
    ("each class", PREDICTIONS, RUN, PASS, "NORMAL 900 of 900 and PNEUMONIA 900 of 900"),
    ("exchanged classes, each as often", PREDICTIONS,
     relabelled(RUN, CLASSES, "prediction", {"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"}), FAIL, "exchanged in pred"),
    ("all of one class", PREDICTIONS, changed(relabelled(RUN, CLASSES, "prediction", {"PNEUMONIA": "NORMAL"}), CLASSES,
     lambda _, v: v), FAIL, "with PNEUMONIA"),
    ("half of them", PREDICTIONS, changed(RUN, CLASSES, lambda _, v: v // 2), FAIL, "predictions with NORMAL"),
    ("a class that nobody got", PREDICTIONS, relabelled(RUN, CLASSES, "prediction", {"PNEUMONIA": "OTHER"}), FAIL,
     'with OTHER (preds_total{prediction="OTHER"}), the clients got at most'),
    ("classes of other names", replace(PREDICTIONS, classes=("a", "b")), RUN, FAIL, "no class has such a name"),
    ("no class was read", PREDICTIONS, run(UNREAD), INCONCLUSIVE, "no answer had a class"),
    ("what is in flight", IN_FLIGHT, RUN, PASS, "was 0 at the last scrape"),
    ("what is in flight in two replicas", IN_FLIGHT, run(GOOD, instances=("a", "b")), PASS, "was 0 at the last scrape"),
    ("one replica never takes it back", IN_FLIGHT,
     changed(run(GOOD, instances=("a", "b")), FLIGHT, lambda at, v: v + at // 5, instance="b"), FAIL, "at most could"),
    ("it is never taken back", IN_FLIGHT, changed(RUN, FLIGHT, lambda at, v: v + at // 10), FAIL, "at most could be"),
    ("it never changes", IN_FLIGHT, changed(run(AS_LONG), FLIGHT, lambda _, v: 0 * v + 3), FAIL, "said 3 at all"),
    ("it goes below none", IN_FLIGHT, changed(RUN, FLIGHT, lambda _, v: v - 1), FAIL, "less than none"),
    ("it says none of many", IN_FLIGHT, changed(run(OPEN), FLIGHT, lambda _, v: 0 * v), FAIL, "said 0 at all"),
    ("refusals", REFUSED, MIXED_RUN, PASS, "counted 300 of 300 refusals"),
    ("none, and so no series", REFUSED, changed(RUN, SHED, lambda *_: None), PASS, "counted 0 of 0 refusals"),
    ("no series of them", REFUSED, changed(MIXED_RUN, SHED, lambda *_: None), FAIL, "no series of shed_total"),
    ("refusals that are not counted", REFUSED, changed(MIXED_RUN, SHED, lambda _, v: 0 * v), FAIL, "at least 300"),
    ("refusals while it is hit may have another cause", REFUSED,
     changed(run(asked(start=21, status_503=300), None, disturbed(20.5, 30)), SHED, lambda _, v: 0 * v), PASS, "0"),
    ("refusals in a surge have none", REFUSED,
     changed(run(asked(start=20.5, status_503=300), None, SURGE), SHED, lambda _, v: 0 * v), FAIL, "at least 300"),
]  # fmt: skip


@table(CASES)
def test_what_it_says(check, record, verdict, says):
    expect(check, record, verdict, says)


def hung(resumes: float) -> History:
    """Nothing is scraped nor answered from 22 s on; clients give up after 1 s; what waited is answered when it goes on,
    though nobody is there."""
    made = GOOD.copy()
    left = (made["sent"] > 22) & (made["sent"] < resumes)
    made["outcome"][left], made["status"][left], made["predicted"][left] = Outcome.TIMEOUT, 0, -1
    made["done"][left] = made["sent"][left] + 1
    told = GOOD.copy()
    told["done"][left] = resumes + 0.1
    series = [
        s._replace(at=list(at), value=list(value))
        for s in exposed(told)
        for at, value in [
            zip(*[(t, v) for t, v in zip(s.at, s.value, strict=True) if not 22 < t < resumes], strict=True)
        ]
    ]
    events = [phase("steady", 0, 20), phase("hit", 20, END), disturbed(22, resumes)]
    return history(*events, rows={"load": made}, series=series)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_what_a_hung_process_answers_late_is_no_lie(check):
    expect(check, hung(36.0), PASS, "")


def test_clocks_that_went_apart_make_it_doubtful():
    readings = [
        Event(
            at, "run", "clocks", detail={"phase": "hit", "wall": at + ahead, "monotonic": at, "boot": at, "within_s": 0}
        )
        for at, ahead in ((0.5, 0), (39.0, 5))
    ]
    lied = changed(RUN, COUNT, lambda _, v: v // 2)
    found = replace(lied, events=[*lied.events, *readings])
    expect(REQUESTS, found, INCONCLUSIVE, "the wall clock went 5 s ahead of the monotonic one")


@pytest.mark.parametrize(
    ("check", "record", "doubted"),
    [(DURATION, run(GOOD, slower(2)), True), (REQUESTS, changed(RUN, COUNT, lambda _, v: v // 2), False)],
    ids=["duration", "requests"],
)
def test_a_generator_in_doubt_makes_times_doubtful_and_no_counts(check, record, doubted):
    assert judge_all([check], record)[0].verdict is FAIL
    result, recorded = judge_all([check, Recorded(rate_within=0.0, lag_p99_ms=-1)], record)
    assert recorded.verdict is INCONCLUSIVE and result.verdict is (INCONCLUSIVE if doubted else FAIL), result.reason


def test_a_fail_has_requests_and_the_series_as_evidence():
    (result,) = judge_all([REQUESTS], changed(MIXED_RUN, COUNT, lambda *_: None, status="503"))
    kinds = [reference.kind for reference in result.evidence]
    assert kinds == ["row", "row", "row", "sample"]
    assert result.evidence[0].key.startswith("r")
    assert (result.measured, result.unit) == (round(100 * 1460 / 1760, 3), "%")


@pytest.mark.parametrize("signal", CHECKS)
def test_a_service_that_names_no_metric_is_not_judged_by_one(signal):
    metrics = TELEMETRY.metrics.model_copy(update={signal: None})
    view = View(telemetry=TELEMETRY.model_copy(update={"metrics": metrics}))
    assert signal not in {check.signal for check in MetricsTrue.from_plan(None, view)}
    assert MetricsTrue.from_plan(None, View()) == ()


def test_what_service_yaml_may_say_of_a_metric():
    metrics = {
        "requests": {"name": "flask_http_request_total", "status": "code", "labels": {"handler": ["/a", "/b"]}},
        "duration": {"name": "took", "unit": "ms", "answers": "2xx"},
        "shed": {"name": "shed_total", "answers": [429, 503]},
        "uncounted": [502, "5XX"],
    }
    checks = MetricsTrue.from_plan(None, View(telemetry=Telemetry.model_validate({"metrics": metrics})))
    requests, duration, shed = checks
    assert (requests.by, requests.labels) == ("code", (("handler", ("/a", "/b")),))
    assert (duration.unit_s, duration.answers) == (1e-3, ("2xx",))
    assert (shed.answers, shed.uncounted) == (("429", "503"), ("502", "5xx"))
    assert {check.latency_within_s for check in checks} == {0.002}
    (loose, *_) = MetricsTrue.from_plan(
        {"latency_within": "10ms", "outliers": "5%"}, View(telemetry=Telemetry.model_validate({"metrics": metrics}))
    )
    assert (loose.latency_within_s, loose.outliers) == (0.01, 0.05)


@pytest.mark.parametrize("wrong", [{"requests": "a b"}, {"shed": {"name": "a", "answers": 600}}, {"uncounted": ["x"]}])
def test_what_it_may_not_say(wrong):
    with pytest.raises(ValueError, match="pattern"):
        Telemetry.model_validate({"metrics": wrong})


def test_what_reads_a_metric_that_is_wrong_says_so():
    record = changed(MIXED_RUN, COUNT, lambda *_: None, status="503")
    asks = Promql(f"sum(rate({COUNT}[30s]))", "above", 1.0)
    other = Promql("sum(rate(other_total[30s]))", "above", 1.0)
    alert = AlertFires("hit", "Errors", "page", 60, 60, "Watchdog")
    record = replace(record, replays={"hit": {"Errors": replay(reads=(COUNT,))}})
    told = {r.subject: r.reason for r in judge_all([asks, other, alert, REQUESTS], record)}
    assert told[asks.subject].endswith(f"rests on {COUNT}, a metric that is wrong")
    assert told[alert.subject].endswith(f"rests on {COUNT}, a metric that is wrong")
    assert "rests on" not in told[other.subject]
