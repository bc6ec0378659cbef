import json
import sys

import pytest

from harness.stack.process import end_all, identify, spawn
from harness.stack.stack import Stack


@pytest.fixture
def stack(tmp_path):
    """A stack of one process called server that sleeps."""
    (tmp_path / "pids").mkdir()
    (tmp_path / "journals").mkdir()
    pid = identify(spawn("server", [sys.executable, "-c", "import time; time.sleep(120)"], tmp_path).pid)
    (tmp_path / "pids" / "server").write_text(json.dumps(pid._asdict()))
    here = Stack(tmp_path, "sleeper", "http://127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9", 60)
    here.write()
    yield here
    end_all(tmp_path)
