"""The servers that are compared: how each is started, what it is asked, and what it used. All run on one core."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
IMAGES = ROOT / "scenarios/radiographs"
PEERS = ROOT / ".cache/peers"
SERVER_CORE, CLIENT_CORE = "0", "1"
BOUNDARY = "radiograph"
TICKS = os.sysconf("SC_CLK_TCK")
RUNNING: list[Server] = []  # to be ended whatever happens, for a server that is left uses the next one's core


class Server:
    """A running server, and the requests it is asked; `form` says in which form the images come. A server that is not
    asked is frozen, for idle ones use the core too."""

    def __init__(self, name: str, argv: list[str | Path], scratch: Path, form: str = "raw", cwd: Path = ROOT):
        self.name = name
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.bodies, self.content_type = _bodies(scratch, form)
        self.log = scratch / f"{name.replace(' ', '-')}.log"
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                ["taskset", "-c", SERVER_CORE, *[str(part).replace("{port}", str(self.port)) for part in argv]],
                cwd=cwd, stdout=out, stderr=out, start_new_session=True,
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{cwd}", "OMP_NUM_THREADS": "1", "BENTOML_DO_NOT_TRACK": "1"},
            )  # fmt: skip
        try:
            self.answer = self._first_answer()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                self.stop()
            raise
        RUNNING.append(self)
        os.killpg(self._process.pid, signal.SIGSTOP)

    def url(self, path: str = "/predict") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def cpu_s(self) -> float:
        """Processor seconds so far, of all its processes."""
        used = 0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used += int(fields[11]) + int(fields[12])
        return used / TICKS

    @property
    def resident_mb(self) -> float:
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._pids())
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        os.killpg(self._process.pid, signal.SIGCONT)
        time.sleep(0.2)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGSTOP)

    def stop(self) -> None:
        """End it and all that it started: some leave workers behind."""
        with contextlib.suppress(ValueError):
            RUNNING.remove(self)
        started = [psutil.Process(pid) for pid in self._pids()[1:]]
        os.killpg(self._process.pid, signal.SIGCONT)
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(started, 10)

    def _pids(self) -> list[int]:
        pids = [self._process.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        return pids

    def _first_answer(self, within_s: float = 120) -> dict:
        """What it says to the first image, so that all are seen to say the same."""
        body = next(iter(sorted(self.bodies.iterdir()))).read_bytes()
        request = urllib.request.Request(self.url(), body, {"Content-Type": self.content_type})
        end = time.monotonic() + within_s
        while True:
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    said = json.load(answer)
                    return said[0] if isinstance(said, list) else said
            except (OSError, ValueError) as error:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"{self.name} does not answer: {error}\n{self.log.read_text()[-2000:]}") from None
            time.sleep(0.2)


def ours(scratch: Path, *flags: str, name: str = "ours") -> Server:
    """The bundled server, with what comes from the flags."""
    argv = [sys.executable, "-m", "model_server", "--port", "{port}", *flags]
    return Server(name, argv, scratch)


def litserve(scratch: Path) -> Server:
    return Server("LitServe", [PEERS / "bin/python", HERE / "peers/lit.py", "{port}"], scratch, "json")


def bentoml(scratch: Path) -> Server:
    argv = [PEERS / "bin/bentoml", "serve", "bento:Classifier", "--host", "127.0.0.1", "--port", "{port}"]
    return Server("BentoML", argv, scratch, "form", cwd=HERE / "peers")


def peers() -> None:
    """Make the peers' own environment, once."""
    ready, wanted = PEERS / "ready", HERE / "peers/requirements.txt"
    if ready.exists() and ready.stat().st_mtime >= wanted.stat().st_mtime:
        return
    print("setting up the peers' environment (once; some minutes)", flush=True)
    subprocess.run(["python3", "-m", "venv", PEERS], check=True)
    # Without looking at what they demand of each other: what is pinned was seen to work together.
    pip = [PEERS / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--requirement", wanted], check=True)
    ready.touch()


def _bodies(scratch: Path, form: str) -> tuple[Path, str]:
    """A folder of request bodies, one an image, and their content type."""
    make, content_type = FORMS[form]
    folder, images = scratch / f"bodies-{form}", sorted(IMAGES.glob("*/*.jpg"))
    assert images, f"no images in {IMAGES}"
    if not folder.exists():
        folder.mkdir()
        for number, path in enumerate(images):
            (folder / f"{number:04}").write_bytes(make(path.read_bytes()))
    return folder, content_type


def _form(image: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="image.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


FORMS = {
    "raw": (bytes, "image/jpeg"),
    "json": (lambda image: json.dumps({"image": base64.b64encode(image).decode()}).encode(), "application/json"),
    "form": (_form, f"multipart/form-data; boundary={BOUNDARY}"),
}
