"""A container engine of a test's own: podman with runc, its storage in a folder, its API at a socket there.

Containers run the Python of this machine, mounted read-only into an image with nothing in it, in the host's network.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import pytest

SHOP = Path(__file__).parents[2] / "docs/examples/container/shop.py"
CONF = """
[engine]
runtime = "runc"
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1000:4000"]
"""


class Podman:
    """It runs until `close`, which removes all that it has made."""

    def __init__(self, folder: Path):
        self.folder, self.socket = folder, folder / "podman.sock"
        self.url = f"unix://{self.socket}"
        (folder / "containers.conf").write_text(CONF)
        self._env = {**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")}
        self._argv = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "runroot")]
        empty = io.BytesIO()
        tarfile.open(fileobj=empty, mode="w").close()
        self.run("import", "-", "empty:latest", input=empty.getvalue())
        self._service = subprocess.Popen(
            [*self._argv, "system", "service", "--time=0", self.url], env=self._env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + 20
        while not self.socket.exists() and time.monotonic() < until:
            time.sleep(0.05)

    def run(self, *args: str, input: bytes | None = None) -> str:
        done = subprocess.run([*self._argv, *args], env=self._env, input=input, capture_output=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"podman {' '.join(args)}: {done.stderr.decode()}")
        return done.stdout.decode().strip()

    def shop(self, name: str, port: int, *options: str) -> str:
        """Start a shop; gives the container's id."""
        python = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
        folders = [at for at in ("/usr", "/bin", "/lib", "/lib64", sys.base_prefix) if os.path.exists(at)]
        mounts = [f"-v={Path(at).resolve()}:{at}:ro" for at in dict.fromkeys(folders)]
        mounts.append(f"-v={SHOP}:/shop.py:ro")
        what = ["--name", name, "--network=host", *mounts, *options]
        return self.run("run", "-d", *what, "empty:latest", str(python), "-S", "/shop.py", f"127.0.0.1:{port}")

    def state(self, name: str) -> str:
        return self.run("inspect", "-f", "{{.State.Status}}", name)

    def close(self) -> None:
        try:
            self.run("rm", "-f", "-t", "0", "--all")
            self.run("rmi", "-f", "--all")
        finally:
            self._service.terminate()
            self._service.wait(10)
            subprocess.run(["umount", "-l", str(self.folder / "root" / "overlay")], capture_output=True)


def lacking() -> str:
    """Why there is no container engine here; empty where there is one."""
    if missing := [name for name in ("podman", "runc") if not shutil.which(name)]:
        return f"there is no {' and no '.join(missing)}: apt-get install podman runc"
    return "" if os.geteuid() == 0 else "podman is tried as root only"


@pytest.fixture(scope="module")
def podman():
    if why := lacking():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="podman-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        engine = Podman(Path(folder))  # podman takes no path of more than 50 characters, and a test's own has more
        yield engine
        engine.close()
