import dataclasses

import numpy as np
import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, history, phase, rows, table

from harness.checks import Latency, LatencyAfter, Recovery, Stalls
from harness.checks.tail import tail
from harness.checks.view import STEADY, View
from harness.eventlog import Event
from harness.history import SLOW_CLIENT, Outcome, Resources

RATE, FOR_S = 120, 40
DEFAULT = Stalls(STEADY, 500, 0.05)


def load(took=0.02, rate=RATE, for_s=FOR_S):
    """A Poisson process."""
    made = rows(rate * for_s, took=took)
    made["intended"] = np.sort(np.random.default_rng(3).uniform(0, for_s, len(made)))
    made["sent"], made["done"] = made["intended"] + 0.001, made["intended"] + took
    return made


def stalling(at, for_s, made=None):
    """What would be answered in a stall is answered after it."""
    made = load() if made is None else made
    for start in at:
        waits = (made["done"] > start) & (made["done"] < start + for_s)
        made["done"][waits] = start + for_s + 0.01
    return made


def run(made, *events, resources=(), for_s=FOR_S):
    return history(phase(STEADY, 0, for_s), *events, rows={"load": made}, resources=resources)


def account(*stalls):
    return Event(FOR_S, "load", "finished", detail={"generator": "load", "stalls": [list(stall) for stall in stalls]})


def busy(at, others, idle=0.0):
    return Resources(at, "server", "replica", 1, 1, 1, 1, 1, 1, 1, 1.0, 1, others, idle)


def failing(start, for_s):
    made = load()
    made["outcome"][(made["intended"] >= start) & (made["intended"] < start + for_s)] = Outcome.REFUSED_BY_SERVICE
    return made


def slow_clients(made, start, for_s):
    made["step"][(made["intended"] >= start - 0.1) & (made["intended"] < start + for_s)] |= SLOW_CLIENT
    return made


def some_slow(share):
    made = load()
    some = np.random.default_rng(4).random(len(made)) < share
    made["done"][some] += 0.9
    return made


def sparse(took, every):
    made = rows(int(FOR_S / every), rate=1 / every, took=took)
    return made


CALM = load()
AFTER = LatencyAfter("hang")


def experiment(after_ms=20.0, for_s=60.0, steady=True, rate_after=1, before_ms=20.0, slow=1.0, resources=()):
    """Steady until 40 s, then an experiment whose fault is over at 50 s. slow: the share that takes after_ms."""
    made = load(0.02, for_s=60)
    made["done"][made["intended"] < 45] += before_ms / 1000 - 0.02
    late = (made["intended"] > 50) & (np.random.default_rng(4).random(len(made)) < slow)
    made["done"][late] = made["intended"][late] + after_ms / 1000
    made = np.concatenate([made, *[made[made["intended"] > 50]] * (rate_after - 1)])
    made = made[made["intended"] < for_s]
    parts = [phase(STEADY, 0, 39)] if steady else []
    events = (*parts, phase("hang", 40, for_s), fault("hang", 45, 50))
    return history(*events, rows={"load": made}, resources=resources)


def hiccup():
    record = experiment()
    stalling([58], 0.6, record.rows["load"])
    return record


CASES = [
    ("a calm load", DEFAULT, run(CALM), PASS, "of 4,800 requests, bound 750 ms"),
    (
        "a second of silence each 20 s",
        DEFAULT,
        run(stalling((5, 25), 1.0)),
        FAIL,
        "2 stalls, the longest of 1",
    ),
    ("one is enough", DEFAULT, run(stalling((5,), 1.0)), FAIL, "a stall of 1 s from 5 s after the begin on, with 1"),
    ("one of 0.6 s is not", DEFAULT, run(stalling((5,), 0.6)), PASS, "longest time without a good answer while requ"),
    ("three of 0.6 s are", DEFAULT, run(stalling((5, 15, 25), 0.6)), FAIL, "3 stalls, the longest of 6"),
    ("errors alone are no good answers", DEFAULT, run(failing(5, 1.2)), FAIL, "a stall of 1.2 s"),
    ("slow ones among good ones are none", DEFAULT, run(some_slow(0.04)), PASS, "longest time"),
    ("slow clients are slow by themselves", DEFAULT, run(slow_clients(stalling((5,), 1), 5, 1)), PASS, "longest time"),
    (
        "what the generator stalled is its own",
        DEFAULT,
        run(stalling((5,), 1.0), account((6.0, 0.9))),
        PASS,
        "longest time",
    ),
    (
        "another stall of it is no excuse",
        DEFAULT,
        run(stalling((5,), 1.0), account((16.0, 0.9))),
        FAIL,
        "a stall of 1 s",
    ),
    (
        "others had the processors",
        DEFAULT,
        run(stalling((5,), 1.0), resources=[busy(5.5, 0.6)]),
        INCONCLUSIVE,
        "other processes had 60 % of the processors then (bound 20 %), so this is not attributable",
    ),
    (
        "others had some, and enough was idle",
        DEFAULT,
        run(stalling((5,), 1.0), resources=[busy(5.5, 0.3, 0.5)]),
        FAIL,
        "a stall",
    ),
    ("one slow request of few is no stall", DEFAULT, run(sparse(0.9, 0.5)), PASS, "of 80 requests, bound 3 s"),
    (
        "of few requests no gap can be told",
        Stalls(STEADY, gap_ms=300),
        run(sparse(0.02, 0.5)),
        INCONCLUSIVE,
        "of so few, one every 500 ms, no gap of 300 ms would show",
    ),
    ("a bound of its own", Stalls(STEADY, gap_ms=300), run(stalling((5,), 0.4)), FAIL, "a stall of 4"),
    ("a bound of its own that holds", Stalls(STEADY, gap_ms=900), run(stalling((5,), 0.4)), PASS, "bound 900 ms"),
    ("nothing sent", DEFAULT, run(CALM[:0]), INCONCLUSIVE, "no request of 'load'"),
    ("the longest under its bound", Latency(STEADY, 100, 50), run(CALM), PASS, "longest 20 ms of 4,800 requests"),
    ("the longest over its bound", Latency(STEADY, 100, 50), run(stalling((5,), 0.1)), FAIL, "longest 1"),
    ("as fast as before", AFTER, experiment(), PASS, "p95 20 ms of"),
    ("slow for good", AFTER, experiment(62), FAIL, "3.1 times that in the steady load (20 ms), bound 45 ms"),
    ("a fifth slow for good", AFTER, experiment(200, slow=0.2), FAIL, "10.0 times that"),
    ("a tenth slow for good", AFTER, experiment(200, slow=0.1), FAIL, "10.0 times that"),
    ("without a steady load", AFTER, experiment(62, steady=False), FAIL, "3.1 times that before the fault (20 ms)"),
    ("no answer for good", AFTER, experiment(np.inf), FAIL, "p95 no complete answer"),
    ("a hiccup does not last", AFTER, hiccup(), PASS, "of the experiment, its fault being over"),
    ("as slow as before the fault", AFTER, experiment(62, before_ms=60), PASS, "1.0 times that"),
    (
        "others had the processors in the end",
        AFTER,
        experiment(62, resources=[busy(58.5, 0.6)]),
        INCONCLUSIVE,
        "other processes had 60 % of the processors then (bound 20 %), so this is not attributable",
    ),
    ("under more load", AFTER, experiment(62, rate_after=2), INCONCLUSIVE, "/s were sent, and 120/s before"),
    ("an experiment that ended too soon", AFTER, experiment(for_s=50.5), INCONCLUSIVE, "after the fault are too few"),
]


@table(CASES)
def test_stalls(check, record, verdict, says):
    if check is AFTER and "no complete" in says:
        made = record.rows["load"]
        made["outcome"][np.isinf(made["done"])] = Outcome.TIMEOUT
        made["done"][np.isinf(made["done"])] = made["intended"][np.isinf(made["done"])] + 5
    expect(check, record, verdict, says)


def test_the_bound_follows_from_the_objective_and_the_number_of_requests():
    """Of 4,800 requests five per cent of which may be slow six in a row are slow once in a thousand runs."""
    found = DEFAULT.judge(run(CALM))
    assert found.bound == pytest.approx(750, abs=1)
    assert Stalls(STEADY, 100, 0.05).judge(run(CALM)).bound == pytest.approx(150, abs=10)


def test_pauses_of_a_poisson_process_are_no_gaps():
    seen = tail(run(load(0.02, rate=5)), STEADY)
    assert seen.gap == pytest.approx(20, abs=25) and seen.gap < 60


def test_the_tail_of_a_phase():
    made = stalling((5,), 1.0)
    seen = tail(run(made), STEADY)
    assert (seen.requests, seen.p50, seen.p95) == (4800, pytest.approx(20), pytest.approx(20))
    assert seen.gap == pytest.approx(1010, abs=30)
    assert 900 < seen.p99_9 <= seen.max == pytest.approx(1030, abs=40)


def test_a_generator_that_does_not_say_when_it_stalled_proves_no_stall_when_it_is_in_doubt():
    said = run(stalling((5,), 1.0), account((16.0, 0.9)))
    silent = dataclasses.replace(said, events=[e for e in said.events if e.source != "load"])
    assert DEFAULT.attributable(said) and not DEFAULT.attributable(silent)


def test_by_default_it_goes_by_the_objective_and_without_one_there_is_no_check():
    assert Stalls.from_plan(None, View(latency=(95, 500))) == (DEFAULT,)
    assert Stalls.from_plan(None, View()) == () and Recovery.from_plan(None, View()) == []
    assert Stalls.from_plan({"gap": "2s"}, View()) == (Stalls(STEADY, gap_ms=2000),)
    made = Latency.from_plan({"p99": "300ms", "p99.9": "1s", "max": "4s", "gap": "1s"}, View())
    assert made == [
        Latency(STEADY, 99, 300), Latency(STEADY, 99.9, 1000), Latency(STEADY, 100, 4000), Stalls(STEADY, gap_ms=1000)
    ]  # fmt: skip
    assert Latency.from_plan({"percentile": 99, "under": "300ms"}, View()) == [Latency(STEADY, 99, 300)]
    with pytest.raises(ValueError, match="percentile and under belong together"):
        Latency.from_plan({"percentile": 99}, View())
