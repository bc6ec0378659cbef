"""RuleData: selectors against the series of a run; what is not there, and what only did not occur."""

import numpy as np
from handmade import FAIL, PASS, expect, history, table, up

from harness.checks import RuleData
from harness.checks.findings import said
from harness.checks.view import Finding, Read
from harness.history import History, Series
from harness.verdict import Verdict

TYPES = {"http_requests": "counter", "errors": "counter", "queue_depth": "gauge"}


def reads(metric, *matchers, may_be_empty=False):
    said = ", ".join(f'{label}{op}"{value}"' for label, op, value in matchers)
    read = Read("rules.yaml:7", "Slow", f"{metric}{{{said}}}", metric, matchers, may_be_empty)
    return RuleData((read,), "svc", ("job:errors:rate5m",))


def record(types=TYPES, *more):
    def one(name, **labels):
        return Series({"__name__": name, "job": "svc", "instance": "i", **labels}, [1.0], [1.0])

    series = [
        up(0, 9),
        *(one("http_requests_total", status=status, endpoint="/predict") for status in ("200", "503")),
        one("queue_depth"),
        one("predictions_total", prediction="PNEUMONIA"),
        one("predictions_total", prediction="NORMAL"),
        *more,
    ]
    return history(series=series, types=types)


OWN = ("job", "=", "svc")
PROBES = Series({"__name__": "probe_requests_total", "job": "svc"}, [1.0], [1.0])
CASES = [
    ("a metric that is there", reads("queue_depth", OWN), record(), PASS, "1 of 1 selector of 1 rule match series"),
    ("a status that did not occur", reads("http_requests_total", ("status", "=~", "4..")), record(), PASS, "unproven"),
    ("a counter without series yet", reads("errors_total", OWN), record(), PASS, "declared, and without a series yet"),
    (
        "a metric that is misspelt",
        reads("http_request_total"),
        record(),
        FAIL,
        "rules.yaml:7: Slow reads http_request_total{}: no series is called http_request_total; did you mean http_req",
    ),
    ("a metric of the service that is gone", reads("in_flight", OWN), record(), FAIL, "service does not declare it"),
    ("a metric of its family that is gone", reads("queue_limit"), record(), FAIL, "service does not declare it"),
    ("a metric of an exporter whose names begin alike", reads("probe_success"),
     record(TYPES, PROBES), PASS, "another exporter's?"),
    ("the same of the service's own", reads("probe_success", OWN),
     record(TYPES, PROBES), FAIL, "does not declare it"),
    ("a metric of all jobs but one", reads("build_info", ("job", "!~", "dns|x")), record(), PASS, "another exporter"),
    ("a metric of any job", reads("build_info", ("job", "=~", ".+")), record(), PASS, "another exporter"),
    ("a metric of somebody else", reads("node_load1"), record(), PASS, "another exporter's?"),
    ("a counter of a client that declares none", reads("failures_total", OWN), record({"queue_depth": "gauge"}), PASS,
     "never there in this run"),
    ("nothing is known of types", reads("in_flight", OWN), record({}), PASS, "never there in this run"),
    ("a recording", reads("job:errors:rate5m"), record(), PASS, "recorded by a rule"),
    ("a recording that is none", reads("job:error:rate5m"), record(), FAIL, "no rule records job:error:rate5m; did"),
    ("a label that is misspelt", reads("http_requests_total", ("stauts", "=", "200")), record(), FAIL, "mean status?"),
    ("a label that is gone", reads("http_requests_total", ("code", "=", "200")), record(), FAIL,
     "no series of http_requests_total has a label code; it has endpoint, instance, job and status"),
    ("a label of the discovery", reads("queue_depth", ("namespace", "=", "a")), record(), PASS, "target_labels"),
    ("a label that excludes nothing", reads("http_requests_total", ("endpont", "!=", "/x")), record(), FAIL,
     "has a label endpont, so it excludes nothing; did you mean endpoint?"),
    ("a value in other letters", reads("predictions_total", ("prediction", "=", "pneumonia")), record(), FAIL,
     "prediction is never pneumonia in predictions_total; did you mean PNEUMONIA? There is NORMAL and PNEUMONIA"),
    ("a path that has moved", reads("http_requests_total", ("endpoint", "=~", "/v1/predict|/x")), record(), FAIL,
     "did you mean /predict?"),
    ("a status of another form", reads("http_requests_total", ("status", "=", "5xx")), record(), FAIL,
     "status of http_requests_total has values of another form than 5xx: 200 and 503"),
    ("a value that may yet come", reads("predictions_total", ("prediction", "=", "VIRUS")), record(), PASS,
     "prediction is NORMAL and PNEUMONIA"),
    ("a job that is misspelt", reads("queue_depth", ("job", "=", "svcs")), record(), FAIL, "did you mean svc?"),
    ("another job", reads("queue_depth", ("job", "=", "database")), record(), PASS, "of another job"),
    ("what is meant to be empty", reads("in_flight", OWN, may_be_empty=True), record(), PASS, "its form allows for"),
    ("a pattern of another engine", reads("queue_depth", ("job", "=~", "(?P>x)")), record(), PASS, "bound 0"),
    ("no scrape succeeded", reads("queue_depth"), history(series=[up(0, 9, down=(0, 10))]), Verdict.INCONCLUSIVE,
     "no scrape of the service succeeded"),
    ("no run", reads("queue_depth"), History(), Verdict.INCONCLUSIVE, "does not say the run's time_scale"),
]  # fmt: skip


@table(CASES)
def test_rule_data(check, record, verdict, says):
    result = expect(check, record, verdict, says)
    if "has a label code" in result.reason:
        assert result.evidence[0].kind == "sample" and result.evidence[0].key.startswith("http_requests_total{")


def test_a_million_series_names_are_not_compared_letter_by_letter():
    """Each selector is compared with the names of metrics, not with the series."""
    many = [Series({"__name__": f"m{n % 50}", "job": "svc", "le": str(n)}, [1.0], [1.0]) for n in range(20_000)]
    check = RuleData(tuple(r for _ in range(100) for r in reads("queue_depht").reads), "svc")
    result = expect(check, record(TYPES, *many), FAIL, "did you mean queue_depth?")
    assert result.measured == 100 and np.isfinite(result.measured)


def test_findings_with_long_texts_are_counted_and_not_all_said():
    found = [Finding("rules.yaml:7", f"Slow{n} reads {300 * 'x'}: gone", "") for n in range(9)]
    assert said(found).endswith("; and 8 more") and len(said(found)) < 400
    assert said(found[:1]) == f"rules.yaml:7: {found[0].said}"
    short = [Finding("", f"A{n} is gone", "") for n in range(7)]
    assert said(short) == "A0 is gone; A1 is gone; A2 is gone; A3 is gone; A4 is gone; and 2 more"
