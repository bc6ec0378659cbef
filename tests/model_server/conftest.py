"""The fixtures of all tests of the service."""

import gc
import sys
import tempfile
import time
from pathlib import Path

import pytest
from collector import Collector
from real_server import ROOT, serving

CORPUS = ROOT / "scenarios/radiographs"
sys.path.insert(0, str(ROOT))  # else this folder, of the same name, is taken for the package when tests/ is on the path


@pytest.fixture(autouse=True)
def background(monkeypatch):
    """What a test sets going in the background of its own process ends with it. Metrics and stores have a thread each,
    and hundreds of those would take the time of the tests that follow."""
    from model_server.threads import Repeated  # here, for the path above

    going, begin, noted = [], Repeated.__init__, gc.callbacks[:]

    def began(self, *args, **more):
        begin(self, *args, **more)
        going.append(self)

    monkeypatch.setattr(Repeated, "__init__", began)
    yield going
    gc.callbacks[:] = noted
    for one in going:
        one._stop.set()
    end = time.monotonic() + 60
    assert all(one.close(end - time.monotonic()) for one in going), "a thread hangs"


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


@pytest.fixture(scope="module")
def collector():
    """A receiver of traces for the tests of one file."""
    collector = Collector()
    yield collector
    collector.close()


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
