"""`make torture` knows every fault, repeats a time by its number, and allows a verdict only where all was there."""

import pytest
import torture
from torture import CHAOS, GENERATOR, HARNESS, VICTIMS, WATCHDOG, allowed, draw, experiments

from harness.faults import FAULTS
from harness.faults.needs import missing


def test_every_fault_that_this_host_can_do_is_in_it():
    here = {kind for kind, fault in FAULTS.items() if not missing(fault.needs)}
    assert {kind for kinds in experiments().values() for kind in kinds} == here - set(torture.WITHOUT)


def test_the_first_of_them_have_all_faults_once():
    pool = list(experiments().values())
    kinds = {kind for some in pool for kind in some}
    assert {kind for some in pool[: len(kinds)] for kind in some} == kinds


def test_a_time_is_the_same_again_and_all_are_killed_in_some():
    names = list(experiments())
    assert [draw(n, names) for n in range(50)] == [draw(n, names) for n in range(50)]
    assert {draw(n, names).victims for n in range(200)} == set(VICTIMS)


@pytest.mark.parametrize(
    ("killed", "ran", "told_all", "verdicts"),
    [
        pytest.param([HARNESS], True, False, (3,), id="the harness"),
        pytest.param([HARNESS, WATCHDOG], True, True, (3,), id="the harness, whatever else"),
        pytest.param([HARNESS], False, True, (0, 1, 3), id="after its end"),
        pytest.param([CHAOS], True, False, (3,), id="the experiment"),
        pytest.param([CHAOS], True, True, (0, 1, 3), id="the experiment, once it had told all"),
        pytest.param([GENERATOR], True, True, (3,), id="the load"),
        pytest.param([WATCHDOG], True, False, (0, 1, 3), id="the watchdog, which nobody needed"),
        pytest.param([], True, False, (0, 1, 3), id="nobody"),
    ],
)
def test_a_verdict_rests_on_nothing_that_was_killed(killed, ran, told_all, verdicts):
    assert allowed(killed, ran, told_all) == verdicts
