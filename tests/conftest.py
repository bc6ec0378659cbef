"""How the tests are shared out among processes (`pytest -n 3 --dist loadgroup`)."""

import pytest

SHARES_NOTHING = {"test_red", "test_bad_input", "test_interrupted"}  # and each test goes where there is room


def pytest_itemcollected(item):
    """The tests of one file go together, for they share servers. (Later would be too late for pytest-xdist.)"""
    item.add_marker(pytest.mark.xdist_group(item.name if item.path.stem in SHARES_NOTHING else item.path.stem))
