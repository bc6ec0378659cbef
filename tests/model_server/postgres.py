"""A private PostgreSQL cluster from the distribution's package, on a port of its own, gone when the tests are."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import psycopg

from harness.stack.tools import apt_install

HERE = "127.0.0.1"
OWNER = "postgres"  # the server refuses to run as root


def programs() -> Path:
    """The folder of initdb and postgres; the package is installed where it is missing."""
    if not _installed():
        apt_install("postgresql")
    return _installed()[-1]


def _installed() -> list[Path]:
    return sorted(p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/postgres"))


class Cluster:
    """One server process and its data; it can be stopped, killed, held and let go."""

    def __init__(self):
        self._bin = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-test-"))
        self._as_owner = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam(OWNER)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._as_owner = {"user": OWNER, "group": owner.pw_gid, "extra_groups": []}
        with socket.socket() as s:
            s.bind((HERE, 0))
            self.port = s.getsockname()[1]
        subprocess.run(
            [self._bin / "initdb", "-D", self._folder / "data", "-A", "trust", "-U", OWNER, "--no-sync", "-E", "UTF8"],
            check=True, capture_output=True, cwd="/", timeout=120, **self._as_owner,
        )  # fmt: skip
        self._process, self._databases = None, 0
        self.start()

    def url(self, database: str) -> str:
        return f"postgresql://{OWNER}@{HERE}:{self.port}/{database}"

    def database(self) -> str:
        """A new empty database's URL."""
        self._databases += 1
        with psycopg.connect(self.url(OWNER), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE test{self._databases}")
        return self.url(f"test{self._databases}")

    def start(self) -> None:
        quick = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "jit=off")
        settings = (f"port={self.port}", f"listen_addresses={HERE}", "unix_socket_directories=", *quick)
        self._log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen(
            [self._bin / "postgres", "-D", self._folder / "data", *(x for s in settings for x in ("-c", s))],
            stdout=self._log, stderr=self._log, cwd="/", **self._as_owner,
        )  # fmt: skip
        end = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url(OWNER), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                log = (self._folder / "log").read_text()
                assert self._process.poll() is None and time.monotonic() < end, f"{error}\n{log}"
                time.sleep(0.05)

    def kill(self) -> None:
        """As the kernel's out-of-memory killer would: every process of it at once."""
        for process in self._all():
            process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def hold(self) -> None:
        """Every process stands still; connections stay open and nothing answers."""
        for process in self._all():
            process.send_signal(signal.SIGSTOP)

    def let_go(self) -> None:
        for process in self._all():
            process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _all(self) -> list[psutil.Process]:
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]
