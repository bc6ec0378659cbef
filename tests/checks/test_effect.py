import pytest
from handmade import alive, fault, history, phase, ready, restart, rows, unready

from harness.checks.check import NoEvidence
from harness.checks.effect import Effect, effect, needed_effect

PHASE = phase("x", 10, 60)


def declared(**detail):
    """A fault from 20 to 30 whose start event says what it is done to and by."""
    start, *others = fault("x", 20, 30)
    return [start._replace(detail={**start.detail, **detail}), *others]


def replica_ready(at, component):
    return ready(at)[0]._replace(component=component)


def replica_restart(at):
    return restart(at)._replace(detail={"process": "server-1", "cause": "exit"})


def planned(at):
    """A restart that was asked for; that at 31 is another's, after the fault."""
    return restart(at)._replace(source="stack", name="restarting", detail={"component": "server", "cause": "request"})


CASES = [
    ("a fault that leaves the service in traffic ends with its undo", (fault("x", 20, 30),), {}, Effect(20, 30, 30)),
    (
        "a hung server that was replaced before the undo is healed by its restart",
        (fault("x", 20, 40, process="server"), restart(26, "liveness")),
        {"probes": [*unready(22), *ready(29)]},
        Effect(20, 26, 29),
    ),
    (
        "a killed server is out of traffic until it is ready although no probe saw it leave",
        (fault("x", 20, 24, "kill", process="server"), restart(20.6)),
        {"probes": ready(5, 22)},
        Effect(20, 20.6, 22),
    ),
    (
        "a rollout is over with the last restart that it or its rollback made, not with the last crash before it",
        (declared(component=None, ends_with_process=True), restart(22), planned(24), planned(31), restart(23)),
        {"probes": [*unready(22), *ready(33)]},
        Effect(20, 24, 33),
    ),
    (
        "a flood goes on through a restart of its victim",
        (fault("x", 20, 40, "surge"), restart(26, "liveness")),
        {"probes": [*unready(22), *ready(29)]},
        Effect(20, 40, 40),
    ),
    (
        "a flood is over with its last arrival though its undo comes later",
        (fault("x", 20, 40, "surge"),),
        {"rows": {"surge": rows(101, start=21, rate=10)}},
        Effect(20, 31, 31),
    ),
    (
        "an effect lasts until readiness is back after the undo",
        (fault("x", 20, 30, "surge"),),
        {"probes": [*unready(22), *ready(25), *unready(26), *ready(33), *unready(50), *ready(51)]},
        Effect(20, 30, 33),
    ),
    (
        "the last of several faults counts",
        (fault("x", 20, 25, id="a"), fault("x", 22, 31, id="b"), fault("other", 22, 50, id="c")),
        {},
        Effect(20, 31, 31),
    ),
    (
        "a service that never gets ready again suffers for ever",
        (fault("x", 20, 30), restart(25)),
        {"probes": unready(22)},
        Effect(20, 30, None),
    ),
    ("a fault that is not undone is never gone", (fault("x", 20, None),), {}, Effect(20, None, None)),
    ("an undo that failed is no undo", (fault("x", 20, 30, undone="fail"),), {}, Effect(20, None, None)),
    (
        "what happens before the fault or after the phase is no effect of it, nor is an answer that changes nothing",
        (fault("x", 20, 30, process="server"), restart(15), restart(70)),
        {"probes": [*unready(16), *ready(18), *alive(20, 60), *unready(65)]},
        Effect(20, 30, 30),
    ),
    (
        "a restart of another process heals nothing",
        (fault("x", 20, 30, process="sidecar"), restart(25)),
        {"probes": ready(28)},
        Effect(20, 30, 30),
    ),
    (
        "a fault that does not end with the process of its component ends with its undo",
        (declared(component="server", ends_with_process=False, generator=None), restart(25)),
        {"probes": ready(28)},
        Effect(20, 30, 30),
    ),
    (
        "one that does ends with it",
        (declared(component="server", ends_with_process=True, generator=None), restart(25)),
        {"probes": ready(28)},
        Effect(20, 25, 28),
    ),
    (
        "one that declares its generator is over with the last arrival of that",
        (declared(component=None, ends_with_process=False, generator="flood"),),
        {"rows": {"flood": rows(51, start=21, rate=10)}},
        Effect(20, 26, 26),
    ),
    (
        "of several replicas the one that it was done to counts",
        (declared(component="server-1", ends_with_process=True, generator=None), replica_restart(21)),
        {"probes": [replica_ready(24, "server-2"), replica_ready(28, "server-1"), replica_ready(29, "server-2")]},
        Effect(20, 21, 28),
    ),
    ("no fault has no effect", (), {}, None),
]


@pytest.mark.parametrize(("events", "parts", "expected"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_effect(events, parts, expected):
    found = effect(history(PHASE, *events, **parts), "x")
    assert found == pytest.approx(expected) if expected and None not in expected else found == expected


@pytest.mark.parametrize("events", [(), (fault("x", 20, None),)], ids=["no fault began", "no fault ended"])
def test_a_check_that_needs_an_end_does_not_go_on_without(events):
    with pytest.raises(NoEvidence, match=r"is recorded to have begun|is not recorded to have ended"):
        needed_effect(history(PHASE, *events), "x")


def test_of_a_repeated_experiment_the_last_time_counts():
    twice = history(phase("hang", 10, 40), fault("hang", 15, 20), phase("hang", 50, 80), fault("hang", 55, 60))
    assert effect(twice, "hang")[:2] == (55, 60)
