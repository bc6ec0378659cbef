"""A FAIL beside a starved generator is not attributable to the service; nor is one made of the rows of a generator that
the record does not trust, unless it holds without what the generator may have added."""

import numpy as np
import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, fault, history, phase, rows, up

from harness.checks import Answers, Availability, Clients, ErrorRatio, Latency, Recorded, judge_all
from harness.checks.attribution import at_least_ms
from harness.checks.judging import judged
from harness.eventlog import Event
from harness.history import Outcome

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


def used(share):
    """What a generator used of its processor in each second, as its account says it."""
    return [(float(second), 1.0, share) for second in range(1, 101)]


def account(**other):
    """What the generator says of itself, trusted unless `other` says otherwise."""
    done = {"generator": "load", "cpu": used(0.1), "stalls": []} | other
    return [Event(-1.0, "load", "started", detail={"generator": "load"}), Event(101.0, "load", "finished", detail=done)]


def fails(lag=0.001, took=0.1, outcome=None, share=0.02, few=(), status=0, **more):
    """A phase of 100 s in which some fail, or all are too slow, beside a generator with such an account."""
    made = rows(6000, lag=lag, took=took)
    if outcome is not None:
        bad = slice(0, round(share * len(made)))
        made["outcome"][bad], made["status"][bad] = outcome, status
    return history(STEADY, account(**more), rows={"load": made}, series=UP)


BUSY, LATE = {"cpu": used(0.95)}, {"lag": 0.06}
STILL = {"stalls": [(10.0 * k, 0.6) for k in range(1, 10)]}  # 5.4 s of 100
ERRORS, CRASHED = ErrorRatio("steady", 0.001), Outcome.REFUSED_BY_SERVICE


@pytest.mark.parametrize("doubt", [BUSY, LATE, STILL], ids=["short of processor", "late", "stalled"])
@pytest.mark.parametrize(
    ("check", "record", "trusted", "in_doubt"),
    [
        pytest.param(SLOW, {}, FAIL, INCONCLUSIVE, id="100 ms are slow, but may be the generator's own"),
        pytest.param(SLOW, {"took": 0.3}, FAIL, FAIL, id="300 ms are slow without anything that it added"),
        pytest.param(ERRORS, {"outcome": CRASHED, "status": 500}, FAIL, FAIL, id="an answer is an error at any time"),
        pytest.param(ERRORS, {"outcome": Outcome.BROKEN}, FAIL, FAIL, id="and so is a connection that broke"),
        pytest.param(ERRORS, {"outcome": Outcome.TIMEOUT}, FAIL, FAIL, id="so is one who waited while the loop ran"),
        pytest.param(
            ERRORS,
            {"outcome": CRASHED, "status": 500, "share": 0.0012},
            FAIL,
            INCONCLUSIVE,
            id="one too many is chance",
        ),
        pytest.param(LOST, {"outcome": CRASHED, "status": 503}, FAIL, FAIL, id="nobody there is nobody there"),
        pytest.param(
            Answers("steady"),
            {"outcome": Outcome.UNEXPECTED_STATUS, "status": 200},
            FAIL,
            FAIL,
            id="a guess let in",
        ),
        pytest.param(Latency("steady", 95, 500), {}, PASS, PASS, id="what passed in spite of it passed"),
    ],
)
def test_what_a_doubtful_generator_saw_fails_only_where_it_is_attributable(check, record, trusted, in_doubt, doubt):
    recorded = Recorded(lag_p99_ms=50)
    assert judge_all([check, recorded], fails(**record))[0].verdict is trusted
    result, said = judge_all([recorded, check], fails(**record | doubt))[::-1]
    assert result.verdict is in_doubt, result
    if trusted is not in_doubt:
        against = result.reason.partition(", so this is not attributable to the service: ")[0]
        assert against in said.reason and said.verdict is INCONCLUSIVE and result.remedy


@pytest.mark.parametrize("check", [ERRORS, LOST], ids=lambda c: c.kind)
@pytest.mark.parametrize(("ended", "verdict"), [(2.2, INCONCLUSIVE), (50.0, FAIL)])
def test_whose_patience_ended_while_the_loop_stood_still_may_have_been_answered(check, ended, verdict):
    record = fails(outcome=Outcome.TIMEOUT, stalls=[(ended, 6.0), (90.0, 6.0)])
    assert judge_all([check, Recorded()], record)[0].verdict is verdict


def test_a_rate_that_was_not_kept_is_a_doubt_too():
    made = rows(6000, took=0.1)
    for moment in ("sent", "done"):
        made[moment][-30:] += 20  # after the phase
    record = history(STEADY, account(), rows={"load": made}, series=UP)
    result = judge_all([SLOW, Recorded(rate_within=0.001)], record)[0]
    assert result.verdict is INCONCLUSIVE and "sent 5,970 for 6,000 planned" in result.reason


@pytest.mark.parametrize(
    ("stalls", "least_ms"),
    [
        pytest.param([], 600, id="never still: all but what no account would show"),
        pytest.param([[10.1, 0.4]], 200, id="still for 400 ms of it"),
        pytest.param([[9.6, 1.0], [50.0, 9.0]], 500, id="still before, and for its first 100 ms; and long after"),
        pytest.param([[12.0, 9.0]], -100, id="still for all of it"),
        pytest.param(None, None, id="it does not say"),
    ],
)
def test_what_a_request_took_at_the_least(stalls, least_ms):
    made = rows(3, start=9.4)
    made["sent"], made["done"] = 9.5, 10.2
    made["outcome"] = [Outcome.OK, Outcome.BROKEN, Outcome.TIMEOUT]
    least = at_least_ms(history(account(stalls=stalls)), made, "load")
    assert least is least_ms or list(least) == pytest.approx([least_ms, np.inf, least_ms])


def test_the_sentence_says_how_late_and_what_was_seen():
    result = judged(SLOW, load(0.15))
    assert result.reason.startswith(
        "in steady the generator was late (p99 150 ms, bound 100 ms), so this is not attributable"
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


def shared(others=0, stolen=0, own=300, **known):
    """A phase of a thousand ticks of the processors."""
    begin = {"all": 5000, "stolen": 7, "idle": 90, "busy": 1000, "own": 400}
    spent = {"all": 1000, "stolen": stolen, "idle": 1000 - own - others - stolen, "busy": own + others, "own": own}
    end = {name: begin[name] + spent[name] for name in begin} | known
    return [
        Event(at, "run", "phase", detail={"phase": "steady", "edge": edge, "cpu": cpu})
        for at, edge, cpu in ((0.0, "begin", begin), (100.0, "end", end))
    ]


CROWDED = [
    pytest.param(shared(others=190), FAIL, "", id="little"),
    pytest.param(
        shared(others=430),
        INCONCLUSIVE,
        "other processes had 43 % of the processors (bound 20 %)",
        id="others",
    ),
    pytest.param(
        shared(others=30, stolen=250, own=500),
        INCONCLUSIVE,
        "had 3 % and the host 25 % of the processors",
        id="the host",
    ),
    pytest.param(shared(own=900), FAIL, "", id="its own"),
    pytest.param(shared(others=430, own=200), FAIL, "", id="others, and much was idle"),
    pytest.param(
        [e._replace(detail=e.detail | {"cpu": {"all": e.at, "stolen": 0}}) for e in shared()], FAIL, "", id="not noted"
    ),
    pytest.param(
        [*shared(others=430), Event(0, "run", "started", detail={"neighbours": 0.5})], FAIL, "", id="as it was allowed"
    ),
]


@pytest.mark.parametrize(("edges", "verdict", "says"), CROWDED)
def test_what_fails_while_others_have_the_processors_is_not_attributable(edges, verdict, says):
    slow = rows(6000, slow=600)
    result = judged(SLOW, history(edges, rows={"load": slow}, series=UP))
    assert result.verdict is verdict and says in result.reason
    assert verdict is FAIL or "generator.neighbours" in result.remedy
    let_in = rows(6000)
    let_in["outcome"][-1] = Outcome.UNEXPECTED_STATUS
    assert judged(Answers("steady"), history(edges, rows={"load": let_in}, series=UP)).verdict is FAIL, "at any pace"
    good = judged(SLOW, history(edges, rows={"load": rows(6000, took=0.01)}, series=UP))
    assert good.verdict is PASS, "what is good enough even so is good"


@pytest.mark.parametrize(("witness", "verdict"), [("ok", FAIL), ("unknown", INCONCLUSIVE)])
def test_what_follows_from_a_fault_without_witness_is_not_attributable(witness, verdict):
    crash = [phase("crash", 0, 100), fault("crash", 20, 30, witness=witness)]
    check = Clients("crash", errors_at_most=0.01, recovered_within_s=5)
    assert judged(check, history(*crash, rows={"load": rows(6000, timeout=600)}, series=UP)).verdict is verdict


def test_a_guess_that_was_let_in_is_in_however_late_the_generator_was():
    let_in = rows(6000, lag=0.15)
    let_in["outcome"][-1] = Outcome.UNEXPECTED_STATUS
    assert judged(Answers("steady"), history(STEADY, rows={"load": let_in}, series=UP)).verdict is FAIL


def test_requests_that_were_never_sent_do_not_count_as_in_time():
    made = rows(6000, lag=0.15)
    made["sent"][:100] = np.nan
    assert judged(SLOW, history(STEADY, rows={"load": made}, series=UP)).verdict is INCONCLUSIVE
