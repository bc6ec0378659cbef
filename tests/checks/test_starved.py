"""A FAIL beside a generator that was starved itself is no verdict on the service."""

import numpy as np
import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, fault, history, phase, rows, up

from harness.checks import Availability, Clients, Latency
from harness.checks.evidence import judged
from harness.history import Event

STEADY, UP = phase("steady", 0, 100), [up(0, 100)]
SLOW, LOST = Latency("steady", 95, 50), Availability("steady")


def load(lag, **few):
    return history(STEADY, rows={"load": rows(6000, lag=lag, **few)}, series=UP)


@pytest.mark.parametrize(
    ("check", "record", "verdict"),
    [
        pytest.param(SLOW, load(0.05), FAIL, id="late by 50 ms: still a verdict"),
        pytest.param(SLOW, load(0.15), INCONCLUSIVE, id="late by 150 ms: latency is no verdict"),
        pytest.param(LOST, load(0.15, timeout=60), INCONCLUSIVE, id="late by 150 ms: errors are no verdict"),
        pytest.param(LOST, load(0.05, timeout=60), FAIL, id="late by 50 ms: errors are the service's"),
        pytest.param(LOST, load(0.15), PASS, id="what passed in spite of it passed"),
    ],
)
def test_a_failure_counts_only_beside_a_generator_in_time(check, record, verdict):
    assert judged(check, record).verdict is verdict


def test_the_sentence_says_how_late_and_what_was_seen():
    result = judged(SLOW, load(0.15))
    assert result.reason.startswith(
        "in steady the generator was late (p99 150 ms, bound 100 ms), so this is no verdict"
    )
    assert "bound 50 ms" in result.reason and "more processor" in result.remedy


def test_a_host_that_took_the_processor_away_is_named():
    edges = [("begin", {"all": 1000, "stolen": 10}), ("end", {"all": 2000, "stolen": 310})]
    stolen = [
        Event(at, "run", "phase", detail={"phase": "steady", "edge": edge, "cpu": cpu})
        for at, (edge, cpu) in zip((0.0, 100.0), edges, strict=True)
    ]
    result = judged(SLOW, history(stolen, rows={"load": rows(6000, lag=0.15)}, series=UP))
    assert "bound 100 ms; the host took 30 % of the processors away)" in result.reason


@pytest.mark.parametrize(("witness", "verdict"), [("ok", FAIL), ("unknown", INCONCLUSIVE)])
def test_what_follows_from_a_fault_that_nobody_saw_is_no_verdict(witness, verdict):
    crash = [phase("crash", 0, 100), fault("crash", 20, 30, witness=witness)]
    check = Clients("crash", errors_at_most=0.01, recovered_within_s=5)
    assert judged(check, history(*crash, rows={"load": rows(6000, timeout=600)}, series=UP)).verdict is verdict


def test_requests_that_were_never_sent_do_not_count_as_in_time():
    made = rows(6000, lag=0.15)
    made["sent"][:100] = np.nan
    assert judged(SLOW, history(STEADY, rows={"load": made}, series=UP)).verdict is INCONCLUSIVE
