"""Between requests and the database: requests never wait for it, and what it cannot take is counted.

One thread has the database. It looks in now and then, writes what has gathered, and between times asks whether the
database is there. While it is not, records gather up to a bound; predictions go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from model_server.storage.stores import Stores
from model_server.telemetry import tracing
from model_server.telemetry.metrics import Metrics
from model_server.telemetry.outbox import LOOK_IN_S, Outbox

if TYPE_CHECKING:
    from model_server.storage.database import Database, Found, Row

AT_ONCE = 500  # records in a transaction
PING_S = 1.0  # between questions to an idle database
AGAIN_S = 1.0  # between tries while it is down
ANSWER_WITHIN_S = 3.0
QUESTIONS = 1000  # that wait at most
SIZE_EVERY_S = 30.0


class Unavailable(Exception):
    """The database does not answer, or does not do what is asked."""


class Question(NamedTuple):
    """Work for the database whose outcome somebody waits for."""

    operation: str
    work: Callable[[Database], Any]
    outcome: Future


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
        self._outbox: Outbox[tuple[Row, tracing.Link | None]] = Outbox(limit)
        self._questions: deque[Question] = deque()
        self._model: Row | None = None  # the one that serves
        self._batch: list[Row] = []
        self._links: list[tracing.Link] = []  # to the requests that the batch is from
        self._database: Database | None = None
        self._connected = self._window_told = self._stopping = False
        self._wrong = ""  # why the database does not work
        self._answered, self._sized = time.monotonic(), float("-inf")
        self.tried = threading.Event()  # set once the database has answered or failed for the first time
        self._lost = metrics.counter("database_records_lost_total", "Records that could not be kept.")
        up = "1 when the database answers."  # absent until it is known: a start is no outage
        metrics.reading("database_up", up, lambda: int(self.up) if self.tried.is_set() else None)
        waiting = "Records waiting to be written."
        metrics.reading("database_records_queued", waiting, lambda: len(self._outbox) + len(self._batch))
        metrics.reading("database_pool_in_use", "Connections taken out of the pool.", self._of_pool("in_use"))
        metrics.reading("database_pool_size", "Connections the pool may hold.", self._of_pool("pool_size"))
        stores.unwritten["database"] = lambda: self.unwritten_s
        self._thread = threading.Thread(target=self._run, name="database", daemon=True)
        self._thread.start()

    @property
    def up(self) -> bool:
        """Whether the database did what it was last asked, and not too long ago."""
        return self._connected and time.monotonic() - self._answered <= self._within_s + PING_S

    @property
    def unwritten_s(self) -> float:
        """For how long the oldest record waits that is not in the database: what a SIGKILL now would lose."""
        oldest = next(iter(self._batch), None) or (self._outbox.oldest() or (None,))[0]
        return max(0.0, (_now() - _made_at(oldest)).total_seconds()) if oldest else 0.0

    @property
    def kind(self) -> str:
        return "sqlite" if self._url.startswith("sqlite") else "postgresql"

    def model(self, sha256: str, version: str, architecture: str) -> None:
        """Note the model that serves."""
        values = {"sha256": sha256, "version": version, "architecture": architecture, "first_served": _now()}
        self._put("models", **values)
        self._model = ("models", values)
        self._outbox.wake()

    def prediction(
        self, prediction_id: str, request_id: str, model_version: str, predicted: int, probability: float
    ) -> None:
        """Put a prediction on its way; never waits."""
        self._put(
            "predictions", id=prediction_id, request_id=request_id, at=_now(), model_version=model_version,
            predicted=predicted, probability=probability,
        )  # fmt: skip

    def feedback(self, prediction_id: str, model_version: str, predicted: int, truth: int) -> None:
        self._put(
            "feedback", prediction_id=prediction_id, at=_now(), model_version=model_version, predicted=predicted,
            truth=truth,
        )  # fmt: skip

    async def find(self, prediction_id: str) -> Found | None:
        """The prediction of this id, though it may be on its way. Raises Unavailable."""
        with tracing.span("database read"):
            return await self._ask("read", lambda database: database.find(prediction_id))

    async def of_request(self, request_id: str) -> list[Found]:
        """The predictions of a request id, those on their way included; of many only two. Raises Unavailable."""
        ids = (request_id, of_several(request_id, 0))
        with tracing.span("database read"):
            return await self._ask("read", lambda database: database.of_requests(ids))

    async def probe(self) -> str:
        """What fails of storing as for a request, behind all that is on its way; "" when nothing does."""
        try:
            return await self._ask("write", self._probed)
        except Unavailable as error:
            return self._wrong or str(error)

    def close(self, within_s: float = 2.0) -> None:
        """Write what is queued; give up after `within_s` seconds, and say what is lost."""
        self._stopping = True
        self._outbox.wake()
        self._thread.join(within_s)
        if left := len(self._outbox) + len(self._batch):
            structlog.get_logger().error("Database records lost at the end", count=left)

    def _put(self, table: str, **values: Any) -> None:
        if not self._outbox.put(((table, values), tracing.link())):
            self._lost.inc()

    async def _ask(self, operation: str, work: Callable[[Database], Any]) -> Any:
        """Have work done behind all that is on its way to the database. Raises Unavailable."""
        if not self.up or len(self._questions) >= QUESTIONS:
            raise Unavailable("the database does not answer")
        question = Question(operation, work, Future())
        self._questions.append(question)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(question.outcome), ANSWER_WITHIN_S)
        except TimeoutError:
            raise Unavailable(f"the database gave no answer within {ANSWER_WITHIN_S:g} s") from None

    def _of_pool(self, name: str) -> Callable[[], int | None]:
        return lambda: getattr(self._database, name) if self._database is not None else None

    def _run(self) -> None:
        # SQLAlchemy and Alembic take half a second to import; the server answers meanwhile.
        database = importlib.import_module("model_server.storage.database")
        while True:
            stopping = self._stopping
            operation = "write" if self._outbox or self._batch else "read"
            try:
                self._serve(database)
            except Exception as error:  # whatever it is, this thread must live
                self._connected = False
                self._stores.failed("database", operation)
                self._refuse_questions()
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
            if stopping:
                return
            self._outbox.wait(LOOK_IN_S if self._connected else AGAIN_S)

    def _serve(self, database: Any) -> None:
        """Connect if need be, write what has gathered, answer questions; else ask whether the database is there."""
        if self._database is None:
            self._database = database.Database(self._url)
            if self._database.files:
                self._stores.local["database"] = self._database.files
        if not self._connected and (newer := self._timed("read", self._database.upgrade)):
            structlog.get_logger().warning("Database has the schema of a newer release", revision=newer)
        model = self._model  # first: a label that came before is then among those written
        self._write(database)
        if model is not None and not self._window_told:
            version = model[1]["version"]
            self._on_window(self._timed("read", lambda: self._database.labelled(version, self._window)))
            self._window_told = True
        self._connected = True
        if asked := len(self._questions):
            self._write(database)  # what came before them
        for _ in range(asked):
            question = self._questions[0]
            outcome = self._timed(question.operation, lambda work=question.work: work(self._database))
            self._questions.popleft()
            with contextlib.suppress(InvalidStateError):  # who asked has gone
                question.outcome.set_result(outcome)
        if time.monotonic() - self._answered > PING_S:
            self._timed("read", self._database.ping)
        if time.monotonic() - self._sized > SIZE_EVERY_S:
            if (size := self._database.size()) is not None:
                self._stores.sizes["database"] = size
            self._sized = time.monotonic()

    def _write(self, database: Any) -> None:
        """Write what is there: first the batch that could not be written before, if there is one."""
        self._write_batch(database)
        for taken in self._outbox.batches(AT_ONCE):
            self._batch = [row for row, _ in taken]
            self._links = [link for _, link in taken if link]
            self._write_batch(database)

    def _write_batch(self, database: Any) -> None:
        if not self._batch:
            return
        began, count = time.perf_counter(), len(self._batch)
        try:
            self._timed("write", lambda: self._database.write(self._batch))
        except database.BadRow:
            self._one_by_one(database)
        tracing.shared("database write", self._links, began, time.perf_counter(), records=count)
        self._batch = []

    def _one_by_one(self, database: Any) -> None:
        """Write a batch that holds a row the database refuses; only that row is lost."""
        for row in list(self._batch):
            try:
                self._timed("write", lambda row=row: self._database.write([row]))
            except database.BadRow as error:
                self._lost.inc()
                structlog.get_logger().error("Database refuses a record", table=row[0], reason=str(error.orig)[:200])
            self._batch = self._batch[1:]

    def _timed(self, operation: str, work: Callable[[], Any]) -> Any:
        with self._stores.operation("database", operation) as done:
            before = self._database.moved[operation]
            outcome = work()
            done.size = self._database.moved[operation] - before
        self._answered = time.monotonic()
        return outcome

    def _probed(self, database: Database) -> str:
        if failed := database.probe(self._model):
            self._stores.failed("database", "write")
        return failed

    def _refuse_questions(self) -> None:
        while self._questions:
            with contextlib.suppress(InvalidStateError):
                self._questions.popleft().outcome.set_exception(Unavailable("the database does not answer"))


def of_several(request_id: str, place: int) -> str:
    """The request id that a prediction is stored under whose request had several images: theirs and its place."""
    return f"{request_id}:{place}"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _made_at(row: Row) -> datetime.datetime:
    return next(value for value in row[1].values() if isinstance(value, datetime.datetime))
