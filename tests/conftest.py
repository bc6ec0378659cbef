"""How the tests are shared out among processes (`pytest -n 3 --dist loadgroup`)."""

import pytest

SHARES_NOTHING = {"test_red", "test_bad_input", "test_interrupted"}  # and each test goes where there is room


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The tests of one file go together, for they share servers."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.name if item.path.stem in SHARES_NOTHING else item.path.stem))
