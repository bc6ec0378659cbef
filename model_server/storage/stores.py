"""What the service keeps on disks and in databases, measured the same way for each; and the folder for it."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from model_server import SERVICE
from model_server.telemetry.metrics import Metrics
from model_server.threads import Repeated

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EVERY_S = 0.5  # between looks at what is under way
WATCH_EVERY_S = 1.0
FOLDERS = f"{SERVICE}-{os.geteuid()}-"  # how temporary ones are called
YOUNG_S = 60.0  # a folder younger than this may be about to be locked by its owner
READ_BYTES = 65536  # of the model each time: enough to see that its storage answers
OPERATIONS = "model read, state write, keys read, audit write, database read, database write"


@dataclass(eq=False, slots=True)
class Operation:
    """One `read` or `write` of a store that is under way."""

    store: str
    name: str
    began: float = field(default_factory=time.perf_counter)
    size: int | None = None  # bytes, where they are known
    late: int = 0  # how often it was found silent


class Stores:
    """The metrics of all stores; `local` maps a store to its file on this machine. A disk or database may hang, and
    with it the thread that asks. So another one looks at what is under way."""

    def __init__(self, metrics: Metrics, within_s: float = 5.0):
        labels = ("store", "operation")
        self._seconds = metrics.histogram("storage_operation_seconds", "One read or write.", SECONDS, *labels)
        self._bytes = metrics.counter("storage_bytes_total", "Bytes read and written.", *labels)
        self._errors = metrics.counter("storage_errors_total", "Operations that failed, or hang.", *labels)
        for operation in OPERATIONS.split(", "):
            self._errors.labels(*operation.split())  # from 0, so that a rate sees the first
        self._within_s = within_s
        self._under_way: dict[Operation, None] = {}
        self.local: dict[str, Path] = {}
        self.free: dict[str, int] = {}  # as last seen by who may wait for it; a scrape may not
        self.unwritten: dict[str, Callable[[], float]] = {}  # store: for how many seconds its oldest record waits
        metrics.reading("storage_free_bytes", "Bytes free on the disk of a local store.", _each(self.free), "store")
        waits = "For how long the oldest record waits to be written; 0 when none does."
        metrics.reading("storage_unwritten_seconds", waits, _each(self.unwritten), "store")
        self.close = Repeated("stores", self._judge, EVERY_S).close

    @contextlib.contextmanager
    def operation(self, store: str, name: str) -> Iterator[Operation]:
        """What happens inside is one `read` or `write`, and may say its size; one that raises is counted as failed."""
        operation = Operation(store, name)
        self._under_way[operation] = None
        try:
            yield operation
            self._seconds.labels(store, name).observe(time.perf_counter() - operation.began)
            if operation.size is not None:
                self._bytes.labels(store, name).inc(operation.size)
        except Exception:
            self._errors.labels(store, name).inc()
            raise
        finally:
            del self._under_way[operation]
            if operation.late:
                took_s = round(time.perf_counter() - operation.began, 1)
                structlog.get_logger().info("Storage hangs no more", store=store, operation=name, seconds=took_s)

    def look(self) -> None:
        """Read free space anew. Raises OSError; may wait as long as the disks do."""
        for store, file in dict(self.local).items():
            self.free[store] = shutil.disk_usage(file.parent).free

    def _judge(self) -> None:
        """Log each operation that takes too long, once; count it, once for each time that it may take."""
        for operation in [*self._under_way]:
            silent_s = time.perf_counter() - operation.began
            if silent_s < self._within_s * (operation.late + 1):
                continue
            operation.late += 1
            self._errors.labels(operation.store, operation.name).inc()
            if operation.late == 1:
                log, took_s = structlog.get_logger(), round(silent_s, 1)
                log.error("Storage hangs", store=operation.store, operation=operation.name, seconds=took_s)


class Watch:
    """Looks in a thread of its own at what may hang to look at. `up` says whether the weights could be read and the
    state folder written, and not too long ago."""

    def __init__(self, weights: Path, state: Path, stores: Stores, within_s: float):
        self._weights, self._state, self._stores = weights, state, stores
        self._within_s = within_s
        self._wrong: str | None = None  # "": nothing; None: not looked yet
        self._seen = time.monotonic()
        self.close = Repeated("watch", self._look, WATCH_EVERY_S).close

    @property
    def up(self) -> bool:
        return self._wrong == "" and time.monotonic() - self._seen <= self._within_s + WATCH_EVERY_S

    def _look(self) -> None:
        was, wrong = self._wrong, ""
        for store, operation, try_it in (("state", "write", self._write_state), ("model", "read", self._read_model)):
            try:
                with self._stores.operation(store, operation) as done:
                    done.size = try_it()
            except OSError as error:
                wrong = str(error)
        self._wrong, self._seen = wrong, time.monotonic()
        if wrong and wrong != was:
            structlog.get_logger().error("Storage does not work", reason=wrong)
        elif was and not wrong:
            structlog.get_logger().info("Storage works again")

    def _read_model(self) -> int:
        with self._weights.open("rb") as file:
            return len(file.read(READ_BYTES))

    def _write_state(self) -> int:
        self._stores.look()  # first: of a full disk it must be known how full it is
        probe = self._state / f".probe-{os.getpid()}"
        size = probe.write_bytes(b"\0" * 4096)  # a full disk takes an empty file
        probe.unlink()
        return size


class State:
    """The folder for what the server writes: `path`, the given one or, `temporary`, one that goes with the process.
    Raises OSError."""

    def __init__(self, given: str = ""):
        self.temporary = not given
        if self.temporary:
            sweep()
            self.path = Path(tempfile.mkdtemp(prefix=FOLDERS))
            self._lock = locked(self.path / "lock")
        else:
            self.path = Path(given).absolute()
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        """Remove the folder if it was temporary."""
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)


def sweep() -> None:
    """Remove the folders of servers that were killed: theirs are the locks that nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.geteuid() or time.time() - folder.stat().st_mtime < YOUNG_S:
                continue
            lock = locked(folder / "lock")
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def locked(file: Path, how: int = os.O_RDWR) -> int:
    """A descriptor with the file's lock, which is held until it is closed; the file is made where there is none. Raises
    BlockingIOError when another process holds it, and OSError."""
    descriptor = os.open(file, how | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _each(stores: Mapping[str, Any]) -> Callable[[], dict[tuple[str], float]]:
    """A reading of a figure of each store, or of what gives it."""
    return lambda: {(store,): told() if callable(told) else told for store, told in [*stores.items()]}
