"""A real server on a free port, and an HTTP client for it.

Most are forked from a process that has imported what they need: a start takes half a second instead of four.
"""

import contextlib
import functools
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import forkserver
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
ONE_CORE = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"  # a defect that breaks nothing
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["imported"])


class Served(httpx.Client):
    """A client of one server process; `process` is the server, `log` its lines so far."""

    def __init__(self, process: "subprocess.Popen | Fork", port: int, log_path: Path):
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


class Connection:
    """Bytes to a server, and the answers that come back."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._file = self.socket.makefile("rb")

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def answer(self, has_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body. Raises IndexError when the server has closed."""
        status = int(self._file.readline().split()[1])
        lines = iter(lambda: self._file.readline().strip().decode(), "")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return status, headers, self._file.read(int(headers.get("content-length", 0))) if has_body else b""

    def ended(self) -> bool:
        """Whether the server sends nothing more; waits until it has closed."""
        return self._file.read() == b""

    def leave(self) -> None:
        """Close, for certain: nothing of it is kept open here."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self.socket.close()


class Fork:
    """A server forked from a process that has imported everything; to be handled like subprocess.Popen."""

    def __init__(self, start: str, flags: Sequence[str], log: Path, env: dict[str, str]):
        _import_once()
        self._process = FORKS.Process(target=_serve, args=(start, flags, log, env), daemon=True)
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("server", timeout)
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            # The process that forks reaps an ended server a moment before it says so: to poll it still lives.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@functools.cache
def _import_once() -> None:
    """Start the process that servers are forked from. It says nothing of an import that fails, and is then useless."""
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{ROOT}:{Path(__file__).parent}"  # it knows no other way to find modules
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if path is None else os.environ.update(PYTHONPATH=path)


def _serve(start: str, flags: Sequence[str], log: Path, env: dict[str, str]) -> None:
    """What a fork does: become what `python -c START FLAGS` is."""
    with log.open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    assert "torch" in sys.modules, "nothing was imported before the fork: run tests/model_server/imported.py by itself"
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # by the environment again
    os.chdir(ROOT)
    os.setsid()
    sys.argv = ["-c", *flags]
    exec(start, {"__name__": "__main__"})


@contextlib.contextmanager
def serving(
    folder: Path, *flags: str, defect: str = "", wait: bool = True, stdout: int | None = None, fresh: bool = False
):  # fmt: skip
    """A running server, open to all unless the flags name keys; `defect` is Python run in it before it starts, to break
    something inside on purpose. Its log goes to the file `log_path`, or to the descriptor `stdout`. A `fresh` one is
    started from nothing, as one with a descriptor is."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    if "--keys" not in flags:
        flags = ("--auth", "off", *flags)
    start = f"{defect}\nimport sys\nfrom model_server.__main__ import main\nsys.exit(main())"
    log = folder / "server.log"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    flags = ("--port", str(port), *map(str, flags))
    log.write_bytes(b"")
    if fresh or stdout is not None:
        with log.open("ab") as out:
            argv = [sys.executable, "-c", start, *flags]
            process = subprocess.Popen(argv, cwd=ROOT, stdout=stdout or out, stderr=out, env=env)
    else:
        process = Fork(start, flags, log, env)
    with Served(process, port, log) as client:
        try:
            if wait:
                client.until(lambda: client.get("/health/startup").status_code == 200)
            yield client
        finally:
            process.kill()
            process.wait()
