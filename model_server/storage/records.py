"""Between requests and the database: requests never wait for it, and what it cannot take is counted.

One thread has the database. It looks in now and then, writes what has gathered, and between times asks whether the
database is there. While it is not, records gather up to a bound; predictions go on.
"""

from __future__ import annotations  # what is imported for type checkers only is named

import asyncio
import contextlib
import datetime
import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import structlog

from model_server.storage.stores import Stores
from model_server.telemetry import tracing
from model_server.telemetry.metrics import Metrics
from model_server.threads import LOOK_IN_S, Outbox, Repeated

if TYPE_CHECKING:
    from model_server.storage.database import Database, Row

AT_ONCE = 500  # records in a transaction
PING_S = 1.0  # between questions to an idle database
AGAIN_S = 1.0  # between tries while it is down
ANSWER_WITHIN_S = 3.0
QUESTIONS = 1000  # that wait at most

# A row, the Unix time it was made at, and the request that it is of.
Item: TypeAlias = "tuple[Row, float, tracing.Link | None]"


class Unavailable(Exception):
    """The database does not answer, or does not do what is asked."""


class Found(NamedTuple):
    """A prediction that was made."""

    prediction_id: str
    request_id: str
    predicted: int
    model_version: str
    labelled: bool = False


class Records:
    """Predictions, feedback and models on their way to the database, and the way back for late labels."""

    def __init__(
        self, url: str, metrics: Metrics, stores: Stores, *, limit: int, within_s: float, window: int,
        on_window: Callable[[list[tuple[str, int, int]]], None],
    ):  # fmt: skip
        """`on_window` is told the serving model's latest `window` labels, on the database's thread, once both the model
        is known and the database has answered."""
        self._url, self._stores, self._within_s = url, stores, within_s
        self._window, self._on_window = window, on_window
        self._outbox: Outbox[Item] = Outbox(limit)
        self._questions: deque[tuple[Callable[[Database], Any], Future]] = deque()
        self._model: Row | None = None  # the one that serves
        self._database: Database | None = None
        self._connected = self._window_told = False
        self._wrong = ""  # why the database does not work
        self._again_at = 0.0
        self.tried = threading.Event()  # set once the database has answered or failed for the first time
        self._lost = metrics.counter("database_records_lost_total", "Records that could not be kept.")
        reading = metrics.reading
        # Absent until it is known: a start is no outage.
        reading("database_up", "1 when it answers.", lambda: int(self.up) if self.tried.is_set() else None)
        reading("database_records_queued", "Records waiting to be written.", lambda: len(self._outbox))
        reading(
            "database_pool_in_use", "Connections in use.", lambda: self._database and self._database.pool.checkedout()
        )
        reading("database_pool_size", "Connections at most.", lambda: self._database and self._database.pool.size())
        stores.unwritten["database"] = lambda: self.unwritten_s
        self._looks = Repeated("database", self._look, LOOK_IN_S, last=self._look)

    @property
    def up(self) -> bool:
        """Whether the database did what it was last asked, and not too long ago."""
        return self._connected and time.monotonic() - self._database.answered <= self._within_s + PING_S

    @property
    def unwritten_s(self) -> float:
        """For how long the oldest record waits that is not in the database: what a SIGKILL now would lose."""
        oldest = self._outbox.oldest()
        return max(0.0, time.time() - oldest[1]) if oldest else 0.0

    def model(self, sha256: str, version: str, architecture: str) -> None:
        """Note the model that serves."""
        values = {"sha256": sha256, "version": version, "architecture": architecture}
        self._model = self.put("models", "first_served", **values)

    def put(self, table: str, time_column: str = "at", **values: Any) -> Row:
        """Put a row on its way; never waits."""
        at = time.time()
        row = table, {time_column: datetime.datetime.fromtimestamp(at, datetime.UTC), **values}
        if not self._outbox.put((row, at, tracing.link())):
            self._lost.inc()
        return row

    async def find(self, prediction_id: str) -> Found | None:
        """The prediction of this id, though it may be on its way. Raises Unavailable."""
        with tracing.span("database read"):
            return await self._ask(lambda database: database.find(prediction_id))

    async def of_request(self, request_id: str) -> list[Found]:
        """The predictions of a request id, those on their way included; of many only two. Raises Unavailable."""
        ids = (request_id, of_several(request_id, 0))
        with tracing.span("database read"):
            return await self._ask(lambda database: database.of_requests(ids))

    async def probe(self) -> str:
        """Store something as for a request, behind all that is on its way; says where. Raises Unavailable."""
        try:
            failed = await self._ask(lambda database: database.probe(self._model))
        except Unavailable as error:
            failed = self._wrong or str(error)
        if failed:
            raise Unavailable(failed)
        return "sqlite" if self._url.startswith("sqlite") else "postgresql"

    def close(self, within_s: float = 2.0) -> None:
        """Write what is queued; give up after `within_s` seconds, and say what is lost."""
        self._again_at = 0.0
        self._looks.close(within_s)
        if left := len(self._outbox):
            structlog.get_logger().error("Database records lost at the end", count=left)

    async def _ask(self, work: Callable[[Database], Any]) -> Any:
        """Have work done behind all that is on its way to the database. Raises Unavailable."""
        if not self.up or len(self._questions) >= QUESTIONS:
            raise Unavailable("the database does not answer")
        outcome: Future = Future()
        self._questions.append((work, outcome))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(outcome), ANSWER_WITHIN_S)
        except TimeoutError:
            raise Unavailable(f"the database gave no answer within {ANSWER_WITHIN_S:g} s") from None

    def _look(self) -> None:
        if time.monotonic() < self._again_at:
            return
        try:
            self._serve()
        except Exception as error:  # whatever it is, this thread must live
            self._connected, self._again_at = False, time.monotonic() + AGAIN_S
            while self._questions:
                with contextlib.suppress(InvalidStateError):
                    self._questions.popleft()[1].set_exception(Unavailable("the database does not answer"))
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            if reason != self._wrong:
                structlog.get_logger().error("Database does not work", reason=reason)
            self._wrong = reason
            if self._database is not None:
                self._database.forget()
        else:
            if self._wrong:
                structlog.get_logger().info("Database works again")
            self._wrong = ""
        self.tried.set()

    def _serve(self) -> None:
        """Connect if need be, write what has gathered, answer questions; else ask whether the database is there."""
        if self._database is None:
            # SQLAlchemy and Alembic take half a second to import; the server answers meanwhile.
            from model_server.storage.database import Database

            self._database = Database(self._url, functools.partial(self._stores.operation, "database"))
            if self._database.file:
                self._stores.local["database"] = self._database.file
        database = self._database
        if not self._connected:
            gone = database.gone
            if newer := database.upgrade():
                structlog.get_logger().warning("Database has the schema of a newer release", revision=newer)
            if gone := database.gone - gone:
                structlog.get_logger().error("Database file was removed or replaced; records are lost", count=gone)
                self._lost.inc(gone)
                self._outbox.put((self._model, time.time(), None))
        model = self._model  # first: a label that came before is then among those written
        self._write(database)
        if model is not None and not self._window_told:
            self._on_window(database.labelled(model[1]["version"], self._window))
            self._window_told = True
        self._connected = True
        if asked := len(self._questions):
            self._write(database)  # what came before them
        for _ in range(asked):
            work, outcome = self._questions[0]
            found = work(database)
            self._questions.popleft()
            with contextlib.suppress(InvalidStateError):  # who asked has gone
                outcome.set_result(found)
        if time.monotonic() - database.answered > PING_S:
            database.ping()

    def _write(self, database: Database) -> None:
        for batch in self._outbox.batches(AT_ONCE):
            began, count, links = time.perf_counter(), len(batch), [link for *_, link in batch if link]
            try:
                database.write([row for row, *_ in batch])
            except database.BadRow:
                while batch:  # only the row that is refused is lost
                    self._write_alone(database, batch[0][0])
                    del batch[0]
            tracing.shared("database write", links, began, time.perf_counter(), records=count)

    def _write_alone(self, database: Database, row: Row) -> None:
        try:
            database.write([row])
        except database.BadRow as error:
            self._lost.inc()
            structlog.get_logger().error("Database refuses a record", table=row[0], reason=str(error.orig)[:200])


def of_several(request_id: str, place: int) -> str:
    """The request id that a prediction is stored under whose request had several images: theirs and its place."""
    return f"{request_id}:{place}"
