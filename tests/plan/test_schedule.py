"""Which schedules must be judged from their begin, and when they are over."""

import math

import pytest

from harness.load.arrivals import parse
from harness.plan.schedule import lasts_s, varies


@pytest.mark.parametrize(
    ("text", "changes", "ends_s"),
    [
        ("constant:60/s", False, math.inf),
        ("poisson:60/s:seed=7", False, math.inf),
        ("ramp:10/s..100/s:over=60s", True, math.inf),
        ("ramp:100/s..0/s:over=60s", True, 60),
        ("step:10/s,50/s:every=30s", True, math.inf),
        ("step:10/s,50/s,0/s:every=30s:seed=7", True, 60),
        ("spike:20/s..200/s:at=30s:for=10s", True, math.inf),
        ("spike:0/s..200/s:at=30s:for=10s", True, 40),
        ("sine:0/s..100/s:over=60s", True, math.inf),
        ("replay:{times}:speed=2", True, 4.75),
    ],
)
def test_a_schedule(tmp_path, text, changes, ends_s):
    (tmp_path / "times").write_text("100.5\n110\n101\n")
    text = text.format(times=tmp_path / "times")
    assert (varies(text), lasts_s(parse(text))) == (changes, ends_s)
    if ends_s < math.inf:
        assert max(parse(text).times()) <= ends_s


@pytest.mark.parametrize("text", ["TheirOwn(rate=7)", "replay:gone.times", ""])
def test_a_schedule_that_cannot_be_read_is_judged_from_its_begin(text):
    assert varies(text)
