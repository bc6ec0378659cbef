"""The database itself: SQLite or PostgreSQL through SQLAlchemy. Every call may wait; none is for the event loop."""

import contextlib
import datetime
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from model_server import SERVICE
from model_server.storage import schema
from model_server.storage.records import Found
from model_server.storage.stores import Operation

CONNECT_S = 3
STATEMENT_S = 5
UPGRADE_LOCK = 0x70_6E_65_75  # any number, the same for all servers
Failure = (SQLAlchemyError, CommandError)
INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
Measured = Callable[[str], AbstractContextManager[Operation]]
Row = tuple[str, dict[str, Any]]  # a table's name, and a value for each of its columns


class Gone(SQLAlchemyError):
    """What was written to, or what was written, is not there any more."""


class Database:
    """One connection at most. Raises one of `Failure`. Each `read` and `write` is `measured`, with its bytes."""

    BadRow = (DataError, IntegrityError)  # the row's own fault: to try again helps nothing

    def __init__(self, url: str, measured: Measured = lambda name: nullcontext(Operation("database", name))):
        self._measured, self.answered = measured, float("-inf")  # when it last did what was asked, as time.monotonic
        self._url = sa.make_url(url)
        if self._url.drivername in ("postgresql", "postgres"):
            self._url = self._url.set(drivername="postgresql+psycopg")
        self._engine = sa.create_engine(self._url, pool_size=1, max_overflow=0, connect_args=_ways(self._url))
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _sqlite_connected)
            sa.event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        self.file = Path(self._url.database) if self._is_sqlite and self._url.database else None
        self._inode: int | None = None  # of the file that was upgraded
        self._written, self.gone = 0, 0  # rows in that file, and in those that were there before it, written here
        # Sent again after a commit whose answer was lost, a row must not count twice.
        self._insert = INSERTS[self._engine.dialect.name]
        self._inserts = {
            table.name: self._insert(table).on_conflict_do_nothing() for table in schema.metadata.tables.values()
        }

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def pool(self) -> sa.Pool:
        return self._engine.pool

    def upgrade(self, to: str = "head") -> str:
        """Move the schema to ours, from nothing or from an older one; all of it or none. A newer release's, which is
        there after a rollback, is left as it is, and its revision is given, else "". Raises where it lacks what we
        need."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        ours = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        with self._measured("read"), self._engine.begin() as connection:
            if not self._is_sqlite:  # servers that start together wait for each other; SQLite's BEGIN already did
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(UPGRADE_LOCK)))
            newer = ", ".join({*MigrationContext.configure(connection).get_current_heads()} - ours)
            if not newer:
                config.attributes["connection"] = connection
                command.upgrade(config, to)
            elif unmet := _unmet(connection):
                raise CommandError(f"the schema {newer} is not known to this release, which cannot use it: {unmet}")
        before, self._inode, self.answered = self._inode, self._inode_now(), time.monotonic()
        if before not in (None, self._inode):
            self.gone, self._written = self.gone + self._written, 0
        return newer

    def ping(self) -> None:
        with self._transaction("read") as (connection, _):
            connection.execute(sa.select(1))

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows, all or none. One that is there already is left as it is."""
        tables: dict[str, list[dict[str, Any]]] = {}
        for table, row in rows:
            tables.setdefault(table, []).append(row)
        with self._transaction("write") as (connection, done):
            for table, together in tables.items():
                connection.execute(self._inserts[table], together)
            done.size = sum(_size(row.values()) for _, row in rows)
        self._written += len(rows)

    def find(self, prediction_id: str) -> Found | None:
        """The prediction of this id."""
        return next(iter(self._read(schema.predictions.c.id == prediction_id)), None)

    def of_requests(self, request_ids: Sequence[str]) -> list[Found]:
        """Predictions that were answered under one of these request ids; of many only two."""
        return self._read(schema.predictions.c.request_id.in_(request_ids))

    def probe(self, model: Row) -> str:
        """Store a prediction and its label as for a request, find them, and take both back; commit the row of the model
        that serves, which is there already. The step that failed and why; "" when none did."""
        step, name, now = "insert", f"{time.time_ns():032x}", datetime.datetime.now(datetime.UTC)
        version, architecture = model[1]["version"], model[1]["architecture"]
        about = {"at": now, "model_version": version, "predicted": 0}
        served = self._insert(schema.models).values(model[1])
        served = served.on_conflict_do_update(
            index_elements=[*schema.models.primary_key], set_={"architecture": architecture}
        )
        try:
            with self._transaction("write") as (connection, _):
                taken_back = connection.begin_nested()
                prediction = {"id": name, "request_id": name, "probability": 0.0, **about}
                connection.execute(self._inserts["predictions"], prediction)
                connection.execute(self._inserts["feedback"], {"prediction_id": name, "truth": 0, **about})
                step = "read back"
                found = _found(connection, schema.predictions.c.id == name)
                taken_back.rollback()
                if found != [Found(name, name, 0, version, labelled=True)]:
                    raise Gone(f"{found} is not what was inserted")
                step = "commit"
                connection.execute(served)
        except Failure as error:
            return f"{step}: {type(error).__name__}: {error}".splitlines()[0]
        return ""

    def labelled(self, model_version: str, most: int) -> list[tuple[str, int, int]]:
        """The latest `most` labels for what a model said, oldest first: (prediction id, predicted, truth)."""
        f = schema.feedback.c
        query = (
            sa.select(f.prediction_id, f.predicted, f.truth)
            .where(f.model_version == model_version)
            .order_by(f.at.desc(), f.prediction_id)
            .limit(most)
        )
        with self._transaction("read") as (connection, done):
            labels = [tuple(row) for row in reversed(connection.execute(query).all())]
            done.size = sum(map(_size, labels))
        return labels

    def forget(self) -> None:
        """Drop the connection, to begin anew."""
        self._engine.dispose()

    def _read(self, which: sa.ColumnElement[bool]) -> list[Found]:
        with self._transaction("read") as (connection, done):
            found = _found(connection, which)
            done.size = sum(map(_size, found))
        return found

    @contextlib.contextmanager
    def _transaction(self, name: str) -> Iterator[tuple[sa.Connection, Operation]]:
        """One `read` or `write`. Raises Gone when an SQLite file was removed or replaced."""
        with self._measured(name) as done:
            if self._inode_now() != self._inode:
                raise Gone(f"the file {self._url.database} was moved or removed")
            with self._engine.begin() as connection:
                yield connection, done
        self.answered = time.monotonic()

    def _inode_now(self) -> int | None:
        try:
            return self.file.stat().st_ino if self.file else None
        except FileNotFoundError:
            return None


def _found(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Found]:
    """Two of the predictions that are asked for."""
    p, f = schema.predictions.c, schema.feedback.c
    query = (
        sa.select(p.id, p.request_id, p.predicted, p.model_version, f.prediction_id.is_not(None))
        .outerjoin_from(schema.predictions, schema.feedback, f.prediction_id == p.id)
        .where(which)
        .limit(2)
    )
    return [Found(*row[:4], bool(row[4])) for row in connection.execute(query)]


def _unmet(connection: sa.Connection) -> str:
    """What this release needs of the tables that are there and does not find; "" when it finds all."""
    there = sa.inspect(connection)
    for table in schema.metadata.tables.values():
        if not there.has_table(table.name):
            return f"there is no table {table.name}"
        columns = {column["name"]: column for column in there.get_columns(table.name)}
        if missing := {*table.columns.keys()} - {*columns}:
            return f"{table.name} has no column {min(missing)}"
        for name in {*columns} - {*table.columns.keys()}:
            if not any(columns[name].get(by) for by in ("nullable", "default", "identity", "computed")):
                return f"{table.name}.{name} has to be given a value in every row"
    return ""


def _size(values: Iterable[Any]) -> int:
    """Bytes of a row's values: of text its length, of all else eight."""
    return sum([len(value) if value.__class__ is str else 8 for value in values])


def _ways(url: sa.URL) -> dict[str, Any]:
    """How to connect so that a dead, slow or locked database gives an error within seconds."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": STATEMENT_S}
    limit_ms = 1000 * STATEMENT_S
    return {
        "connect_timeout": CONNECT_S, "application_name": SERVICE, "tcp_user_timeout": limit_ms,
        "options": f"-c statement_timeout={limit_ms} -c lock_timeout={limit_ms}",
        "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
    }  # fmt: skip


def _sqlite_connected(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, and so hold schema changes too
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may lose the last records, never the database
