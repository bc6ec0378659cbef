"""A real server on a free port, and an HTTP client for it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "scenarios/radiographs"
sys.path.insert(0, str(ROOT))  # else this folder, of the same name, is taken for the package when tests/ is on the path


class Served(httpx.Client):
    """A client of one server process; `process` is the server, `log` its lines so far."""

    def __init__(self, process: subprocess.Popen, port: int, log_path: Path):
        super().__init__(base_url=f"http://127.0.0.1:{port}", timeout=20)
        self.process, self.port, self.log_path = process, port, log_path

    @property
    def log(self) -> list[dict]:
        return [json.loads(line) for line in self.log_path.read_text().split("\n")[:-1]]  # whole lines

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of one series; None when it is absent."""
        for line in self.get("/metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
                return float(value)
        return None

    def until(self, said, within_s: float = 60):
        """The first true answer of `said()`; fails when none comes. Connection errors are an answer not yet given."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if answer := said():
                    return answer
            assert self.process.poll() is None, self.log_path.read_text()
            time.sleep(0.02)
        raise AssertionError(f"nothing after {within_s} s; log: {self.log_path.read_text()[-2000:]}")


@contextlib.contextmanager
def serving(folder: Path, *flags: str, defect: str = "", wait: bool = True, stdout: int | None = None):
    """A running server, open to all unless the flags name keys; `defect` is Python run in it before it starts, to break
    something inside on purpose. Its log goes to the file `log_path`, or to the descriptor `stdout`."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    if "--keys" not in flags:
        flags = ("--auth", "off", *flags)
    start = f"{defect}\nimport sys\nfrom model_server.__main__ import main\nsys.exit(main())"
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", start, "--port", str(port), *flags],
            cwd=ROOT, stdout=stdout or out, stderr=out, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    with Served(process, port, log) as client:
        try:
            if wait:
                client.until(lambda: client.get("/health/startup").status_code == 200)
            yield client
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """One good server for all tests that leave it as it was."""
    with serving(tmp_path_factory.mktemp("served")) as client:
        yield client


@pytest.fixture
def serve(tmp_path):
    """Starts a server of the test's own: `with serve("--max-queue", "1") as client`."""
    return lambda *flags, **options: serving(Path(tempfile.mkdtemp(dir=tmp_path)), *flags, **options)


@pytest.fixture(scope="session")
def corpus() -> list[tuple[bytes, str]]:
    """(JPEG, class) of every image in the repository's corpus."""
    return [(path.read_bytes(), path.parent.name) for path in sorted(CORPUS.glob("*/*.jpg"))]


@pytest.fixture(scope="session")
def cluster():
    """A PostgreSQL of the tests' own; who stops it starts it again."""
    from postgres import Cluster  # here, for most tests need none

    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> str:
    """A new empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'records.db'}"
    return request.getfixturevalue("cluster").database()
