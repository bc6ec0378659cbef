"""The prober: its state machine by tables, and what it does without a supervisor."""

import pytest
from steered import PROBES, Files, wait

from harness.stack.component import Component
from harness.stack.prober import Prober
from harness.stack.process import end_all, free_ports
from harness.streak import Streak

T, F = True, False


@pytest.mark.parametrize(
    ("initial", "failures", "successes", "answers", "changes"),
    [
        pytest.param(True, 3, 1, [F, F, T, F, F], [], id="two failures are not three, and a success starts again"),
        pytest.param(True, 3, 1, [F, F, F], [(2, F)], id="the third failure in a row decides"),
        pytest.param(False, 2, 1, [T], [(0, T)], id="one success makes ready"),
        pytest.param(False, 2, 2, [T, F, T, T], [(3, T)], id="two successes in a row where two are asked"),
        pytest.param(False, 2, 1, [T, F, F, F, T], [(0, T), (2, F), (4, T)], id="out of traffic and back"),
        pytest.param(None, 30, 1, [F, F, T], [(2, T)], id="startup is undecided until it succeeds"),
        pytest.param(False, 1, 1, [F, F], [], id="not ready stays not ready without a change"),
    ],
)
def test_the_streak_decides_as_the_kubelet_does(initial, failures, successes, answers, changes):
    streak = Streak(failures, successes, initial)
    assert [(i, streak.decision) for i, ok in enumerate(answers) if streak.feed(ok)] == changes


@pytest.fixture
def unsupervised(tmp_path):
    """A prober over a real server, and nobody who carries its decisions out."""
    files, port = Files(tmp_path), free_ports(1)[0]
    component = Component("server", tmp_path, lambda added: files.spawn("server", port))
    prober = Prober(component, port, PROBES, tmp_path, files.emit)
    component.start()
    prober.start()
    yield files, component
    prober.stop()
    component.end(0.5)
    end_all(tmp_path)


def decided(files):
    return [(detail["probe"], detail["decision"]) for detail in files.of("decision")]


def test_without_a_supervisor_decisions_are_recorded_and_nothing_is_done(unsupervised):
    files, component = unsupervised
    pid = component.child.pid
    assert wait(lambda: decided(files) == [("readiness", "ready")])
    files.respond("readiness", 503)
    assert wait(lambda: len(decided(files)) == 2)
    files.respond("liveness", 500)
    assert wait(lambda: len(decided(files)) == 4), "it goes on asking, and decides again"
    assert decided(files)[1:] == [("readiness", "unready")] + 2 * [("liveness", "restart")]
    assert component.alive() and (component.child.pid, component.generation) == (pid, 1)
    assert {name for name, _ in files.events} == {"decision"}, "no restart and no traffic is claimed"
    results = [one[2] for one in files.recorded("liveness") if one[6] == "restart"]
    assert results == [False, False] and files.recorded("liveness")[0][7] == "server"


def test_without_a_supervisor_the_end_of_the_process_is_the_decision_unready(unsupervised):
    files, component = unsupervised
    assert wait(lambda: decided(files) == [("readiness", "ready")])
    component.child.popen.kill()
    assert wait(lambda: decided(files)[1:] == [("readiness", "unready")])
    assert not component.alive() and component.generation == 1
