"""The folder of the server's own goes with it; that of a killed server goes at the next start."""

import os
import subprocess
import sys

import pytest

from model_server.storage.stores import State, sweep


@pytest.fixture
def temp(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def killed(temp):
    """A folder of a server that was killed."""
    code = "import os\nfrom model_server.storage.stores import State\nprint(State().path, flush=True)\nos._exit(9)"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(temp)}, capture_output=True)
    [folder] = temp.glob("pneumonia-detector-*")
    assert done.stdout.decode().strip() == str(folder)
    return folder


def test_it_goes_with_the_server(temp):
    state = State()
    (state.path / "records.db").write_bytes(b"x")
    state.close()
    assert list(temp.iterdir()) == []


def test_a_killed_servers_folder_goes_once_it_is_old_enough_to_be_nobodys(temp):
    left = killed(temp)
    sweep()
    assert left.exists()  # it could be one whose owner has not locked it yet
    os.utime(left, (0, 0))
    sweep()
    assert not left.exists()


def test_a_living_servers_folder_stays_however_old(temp):
    state = State()
    os.utime(state.path, (0, 0))
    sweep()
    assert state.path.exists()
    state.close()


def test_a_folder_that_was_given_stays_and_is_the_owners_alone(tmp_path):
    state = State(str(tmp_path / "a/b"))
    state.close()
    assert state.path.is_dir() and state.path.stat().st_mode & 0o077 == 0
