import pytest

from harness.checks.words import count, duration, listed, percent


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"), (0.0011, "1.1 ms"), (0.2124, "212 ms"), (0.9996, "1 s"), (1, "1 s"), (4.25, "4.2 s"), (20, "20 s"),
        (59.96, "1 min"), (60, "1 min"), (150, "2 min 30 s"), (3600, "1 h"), (3900, "1 h 5 min"), (-2, "-2 s"),
        (float("inf"), "for ever"),
    ],
)  # fmt: skip
def test_durations_are_said_as_people_say_them(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("share", "said"), [(0.999, "99.9 %"), (0.15, "15 %"), (1, "100 %"), (0, "0 %"), (1 / 1800, "0.056 %")]
)
def test_shares_are_said_with_the_digits_they_need(share, said):
    assert percent(share) == said


def test_counts_and_lists_read_as_sentences():
    assert [count(1, "request"), count(1800, "request")] == ["1 request", "1,800 requests"]
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
