"""A real server on a free port, and an HTTP client for it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


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
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", start, "--port", str(port), *flags],
            cwd=ROOT, stdout=stdout or out, stderr=out, env=env,
        )  # fmt: skip
    with Served(process, port, log) as client:
        try:
            if wait:
                client.until(lambda: client.get("/health/startup").status_code == 200)
            yield client
        finally:
            process.kill()
            process.wait()
