"""An alarm against what it stands for: a timer that is cancelled and made anew each time."""

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_server.http import alarm

DO = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 20)),  # that long from now
        st.tuples(st.just("pass"), st.integers(0, 15)),
        st.tuples(st.just("clear"), st.just(0)),
        st.tuples(st.just("close"), st.just(0)),
    ),
    max_size=40,
)


class Loop:
    """A loop whose time passes when it is told to."""

    def __init__(self):
        self.now, self.timers, self.made = 0, [], 0

    def call_later(self, delay, callback):
        self.made += 1
        timer = SimpleNamespace(at=self.now + delay, callback=callback)
        timer.cancel = lambda: self.timers.remove(timer)
        self.timers.append(timer)
        return timer

    def run(self, until):
        while due := [timer for timer in self.timers if timer.at <= until]:
            timer = min(due, key=lambda timer: timer.at)
            self.now = max(self.now, timer.at)
            self.timers.remove(timer)
            timer.callback()
        self.now = until


@pytest.fixture
def loop(monkeypatch):
    loop = Loop()
    monkeypatch.setattr(alarm, "time", SimpleNamespace(monotonic=lambda: loop.now))
    return loop


@given(DO)
def test_it_rings_when_a_timer_made_anew_each_time_would(told):
    with pytest.MonkeyPatch.context() as patch:
        loop, rung, wanted, due = Loop(), [], [], None
        patch.setattr(alarm, "time", SimpleNamespace(monotonic=lambda: loop.now))
        made = alarm.Alarm(loop)
        names = itertools.count()
        for what, n in told:
            if what == "set":
                due = (loop.now + n, next(names))
                made.set(due[0], lambda name=due[1]: rung.append((loop.now, name)))
            elif what == "pass":
                if due and due[0] <= loop.now + n:
                    wanted.append(due)
                    due = None
                loop.run(loop.now + n)
            else:
                getattr(made, what)()
                due = None
            assert rung == wanted and made.on == (due is not None)
            assert len(loop.timers) <= 1 and (what != "close" or not loop.timers)


def test_to_set_it_again_and_again_makes_one_timer_for_all(loop):
    made = alarm.Alarm(loop)
    for _ in range(100):
        made.set(loop.now + 50, lambda: pytest.fail("it was cleared each time"))
        loop.run(loop.now + 1)
        made.clear()
    assert loop.made == 3  # one a span, not one a request
