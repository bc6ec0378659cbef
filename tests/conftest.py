"""How the tests are shared out among processes (`pytest -n 2`)."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from harness.stack.tools import apt_install

# Several threads of torch's wait for each other and keep the processors, which the other tests need.
os.environ.setdefault("OMP_NUM_THREADS", "1")
SHARES_NOTHING = {"test_red", "test_bad_input", "test_interrupted"}  # and each test goes where there is room


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The tests of one file go together, for they share servers. (Of pytest-xdist's own ways --dist loadgroup does
    nothing under pytest 9.2, and loadfile knows no exceptions.)"""
    from xdist.scheduler import LoadScopeScheduling  # here, for it may not be installed

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if Path(file).stem in SHARES_NOTHING else file

    config.option.loadscopereorder = False  # whole gates come early: they take longest, and have few tests
    return ByFile(config, log)


@pytest.fixture
def pushgateway(tmp_path):
    """The address of a Pushgateway of the test's own; the package is installed where it is missing."""
    if not shutil.which("prometheus-pushgateway"):
        apt_install("prometheus-pushgateway")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    with (tmp_path / "pushgateway.log").open("w") as log:
        process = subprocess.Popen(["prometheus-pushgateway", f"--web.listen-address={address}"], stderr=log)
    end = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://{address}/-/ready", timeout=5).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "pushgateway.log").read_text()
            time.sleep(0.05)
    yield f"http://{address}"
    process.kill()
    process.wait()
