"""What one step of the search for capacity decides, on histories made by hand of the loads it asks for."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness.checks import ErrorRatio, Latency, Quiet
from harness.errors import UsageError
from harness.eventlog import Event
from harness.history import ROW, History, Outcome, Series
from harness.run import capacity as searching
from harness.verdict import Verdict

SLOS = (Latency("steady", 95, 500), ErrorRatio("steady", 0.01))
PLAN = SimpleNamespace(checks=(*SLOS, Quiet("steady")))


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    monkeypatch.setattr(searching, "REST_S", 0.0)


def service(capacity_per_s, asked, late_s=0.001, busy=0.3, busy_from=0.0):
    """Answers within 50 ms up to its capacity and sheds all beyond it; `late_s`: how late the generator is; `busy`: how
    much of its processor it uses from some rate on."""

    def load(arrivals, for_s):
        rate = float(arrivals.split(":")[1].removesuffix("/s"))
        asked.append((rate, for_s))
        n = int(rate * for_s)
        made = np.zeros(n, ROW)
        made["seq"], made["status"], made["expected"] = np.arange(n), 200, 1
        made["intended"] = np.arange(n) / rate
        made["sent"], made["done"] = made["intended"] + late_s, made["intended"] + late_s + 0.05
        if rate > capacity_per_s:
            shed = np.arange(n) % max(2, int(rate / (rate - capacity_per_s))) == 0
            made["outcome"][shed], made["status"][shed] = Outcome.REFUSED_BY_SERVICE, 503
        end = n / rate
        about = {"generator": "load"}
        cpu = [(end, end, (busy if rate >= busy_from else 0.1) * end)]
        done = about | {"planned": n, "locust_requests": n, "stalls": [], "cpu": cpu}
        events = [
            Event(-1.0, "run", "started", detail={"scrape_s": 0.25, "job": "svc"}),
            Event(-0.5, "load", "started", detail=about),
            *(Event(at, "run", "phase", detail={"phase": "load", "edge": e}) for e, at in (("begin", 0), ("end", end))),
            Event(end + 1, "load", "finished", detail=done),
        ]
        at = np.arange(0, end + 0.01, 0.25)
        counters = {"process_cpu_seconds_total": 1.5 * at, "requests_shed_total": 7 * at * (rate > capacity_per_s)}
        series = [Series({"__name__": "up", "job": "svc"}, at, np.ones(len(at)))]
        series += [Series({"__name__": name, "job": "svc"}, at, value) for name, value in counters.items()]
        return History(events=sorted(events, key=lambda e: e.at), rows={"load": made}, series=series)

    return load


def find(load, precision=0.1):
    return searching.capacity(PLAN, load, "load", first_per_s=100, precision=precision, most_per_s=4000, for_s=5)


def test_the_edge_is_found_with_what_was_short_there():
    asked = []
    found = find(service(700, asked))
    edge = 700 / 0.99  # of every hundred requests one may fail
    assert found.verdict is Verdict.PASS
    assert found.kept_per_s <= edge < found.broken_per_s <= 1.1 * found.kept_per_s + 1e-6
    assert found.bottleneck.startswith("the service's queue: ") and "refused with 503" in found.bottleneck
    assert any("failed" in step.reason for step in found.steps if step.verdict is Verdict.FAIL)


def test_a_step_lasts_as_long_as_its_claim_needs():
    asked = []
    find(service(700, asked))
    enough = 459  # 1 % at 99 % confidence, none failed
    assert all(rate * for_s >= enough and for_s >= 5 for rate, for_s in asked)


def test_a_generator_at_its_limit_hides_the_services_and_is_named():
    """It is saturated from 300/s on, and what the service does there, beside it, is not the service's limit."""
    found = find(service(280, [], busy=0.97, busy_from=270))
    assert found.verdict is Verdict.INCONCLUSIVE and found.kept_per_s < 270, found
    assert not any(step.verdict is Verdict.FAIL for step in found.steps)
    assert "the generator: the generator used 0.97 of a processor" in found.bottleneck


def test_a_step_that_was_too_short_lasts_twice_as_long_the_next_time():
    """One in two hundred is refused: to prove that no more than one in a hundred is takes more than 600 requests."""
    asked = []
    found = find(service(99.5, asked))
    assert asked[:2] == [(100, 6), (100, 12)] and "too few to claim it" in found.steps[0].reason


def test_a_late_generator_decides_nothing_and_finds_no_capacity():
    asked = []
    found = find(service(700, asked, late_s=0.2))
    assert found.verdict is Verdict.INCONCLUSIVE and "late" in found.reason
    assert {rate for rate, _ in asked} == {100}


def test_without_an_objective_there_is_nothing_to_search_by():
    with pytest.raises(UsageError, match="no latency or error objective"):
        searching.capacity(
            SimpleNamespace(checks=(Quiet("steady"),)), service(1, []), "load",
            first_per_s=1, precision=0.1, most_per_s=10, for_s=1,
        )  # fmt: skip
