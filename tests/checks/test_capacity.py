"""The search for capacity, on services made by hand."""

import math

from hypothesis import given
from hypothesis import strategies as st

from harness import stats
from harness.checks.capacity import TRIES, search
from harness.verdict import Step, Verdict


def service(capacity_per_s, asked=None):
    """One that keeps its SLOs up to a rate."""

    def attempt(rate_per_s):
        if asked is not None:
            asked.append(rate_per_s)
        kept = rate_per_s <= capacity_per_s
        return Step(rate_per_s, Verdict.PASS if kept else Verdict.FAIL, "", "" if kept else "processors")

    return attempt


@given(
    capacity=st.floats(0.5, 90_000),
    first=st.floats(0.2, 100_000),
    precision=st.sampled_from([0.01, 0.05, 0.5]),
)
def test_the_capacity_lies_between_two_rates_as_close_as_asked_for(capacity, first, precision):
    found = search(service(capacity), first, precision, most_per_s=100_000)
    assert found.verdict is Verdict.PASS
    assert found.kept_per_s <= capacity < found.broken_per_s <= found.kept_per_s * (1 + precision) * (1 + 1e-9)
    assert found.bottleneck == "processors" and len(found.steps) <= 40


def test_the_rate_that_is_quoted_was_kept_twice():
    asked = []
    found = search(service(730, asked), 100, 0.05, 10_000)
    assert asked.count(found.kept_per_s) == 2 and "twice" in found.reason


def test_one_that_is_kept_once_only_is_not_quoted():
    tries = {}

    def fickle(rate_per_s):
        tries[rate_per_s] = tries.get(rate_per_s, 0) + 1
        kept = rate_per_s <= 400 and tries[rate_per_s] == 1
        return Step(rate_per_s, Verdict.PASS if kept else Verdict.FAIL, "p95 0.6 s")

    found = search(fickle, 100, 0.05, 10_000)
    assert found.verdict is Verdict.INCONCLUSIVE and "p95 0.6 s" in found.reason and math.isnan(found.kept_per_s)


def test_a_step_that_decides_nothing_is_tried_again_and_then_ends_the_search():
    tried = []

    def unclear(rate_per_s):
        tried.append(rate_per_s)
        return Step(rate_per_s, Verdict.INCONCLUSIVE, "the generator was late")

    found = search(unclear, 100, 0.05, 10_000)
    assert found.verdict is Verdict.INCONCLUSIVE and "generator was late" in found.reason and tried == [100] * TRIES


def generator(most_per_s, service):
    """A generator that is not to be believed beyond a rate, whatever the service does there."""

    def attempt(rate_per_s):
        if rate_per_s > most_per_s:
            return Step(rate_per_s, Verdict.INCONCLUSIVE, "the generator was late", "the generator")
        return service(rate_per_s)

    return attempt


def test_a_generator_that_gives_in_at_twice_the_capacity_does_not_hide_it():
    found = search(generator(1000, service(730)), 100, 0.05, 10_000)
    assert found.verdict is Verdict.PASS and found.kept_per_s <= 730 < found.broken_per_s <= 1.05 * found.kept_per_s
    assert found.bottleneck == "processors"


def test_what_the_generator_cannot_do_is_never_quoted_as_what_the_service_cannot():
    found = search(generator(1000, service(5000)), 100, 0.05, 10_000)
    assert found.verdict is Verdict.INCONCLUSIVE and math.isnan(found.broken_per_s)
    assert 1000 / 1.05 <= found.kept_per_s <= 1000 and "generator was late" in found.reason
    assert found.bottleneck == "the generator" and not any(step.verdict is Verdict.FAIL for step in found.steps)


def test_a_confirmation_that_decides_nothing_is_asked_for_again():
    asked = []

    def once_late(rate_per_s):
        asked.append(rate_per_s)
        if asked.count(rate_per_s) == 2:
            return Step(rate_per_s, Verdict.INCONCLUSIVE, "the generator was late")
        return service(730)(rate_per_s)

    found = search(once_late, 100, 0.05, 10_000)
    assert found.verdict is Verdict.PASS and asked.count(found.kept_per_s) == 3


def test_the_confidence_is_that_of_the_rule_on_samples():
    assert search(service(730), 100, 0.05, 10_000).confidence == stats.CONFIDENCE == 0.99


def test_a_service_that_keeps_all_or_nothing_has_no_capacity_found():
    assert "highest rate allowed" in search(service(math.inf), 100, 0.05, 1_000).reason
    never = search(service(0), 100, 0.05, 1_000)
    assert never.verdict is Verdict.INCONCLUSIVE and "broken at 0.1/s" in never.reason
