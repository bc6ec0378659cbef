"""The database itself: SQLite or PostgreSQL through SQLAlchemy. Every call may wait; none is for the event loop."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from model_server.storage import schema
from model_server.telemetry.moments import rfc3339

CONNECT_S = 3
STATEMENT_S = 5
UPGRADE_LOCK = 0x70_6E_65_75  # any number, the same for all servers
Failure = (SQLAlchemyError, CommandError)
BadRow = (DataError, IntegrityError)  # the row's own fault: to try again helps nothing
TOGETHER = 25  # rows in a statement, where there are so many
INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
Row = tuple[str, tuple[Any, ...]]  # a table's name, and a value for each of its columns; times in Unix seconds


class Gone(SQLAlchemyError):
    """The file that was written to is not there any more."""


class Found(NamedTuple):
    """A prediction that was stored."""

    prediction_id: str
    predicted: int
    model_version: str
    labelled: bool


class Database:
    """One connection at most. Raises one of `Failure` when the database does not do what is asked."""

    def __init__(self, url: str):
        self._url = sa.make_url(url)
        if self._url.drivername in ("postgresql", "postgres"):
            self._url = self._url.set(drivername="postgresql+psycopg")
        self._engine = sa.create_engine(self._url, pool_size=1, max_overflow=0, **_ways(self._url))
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _sqlite_connected)
            sa.event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        path = self._url.database if self._is_sqlite else None
        self.files = tuple(Path(path + end) for end in ("", "-wal", "-shm")) if path else ()  # the first names it
        self._inode: int | None = None  # of the file that was upgraded
        # Bytes of the rows that were read and written: their values. What the database makes of them - pages, indexes,
        # journal - it does not say.
        self.moved = {"read": 0, "write": 0}
        tables = (schema.predictions, schema.feedback, schema.models)
        self._inserts = {table.name: _Insert(table, self._engine.dialect) for table in tables}

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def in_use(self) -> int:
        """Connections taken out of the pool."""
        return self._engine.pool.checkedout()

    @property
    def pool_size(self) -> int:
        return self._engine.pool.size()

    def upgrade(self, to: str = "head") -> None:
        """Move the schema to ours, from nothing or from an older one; all of it or none."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._engine.begin() as connection:
            if not self._is_sqlite:  # servers that start together wait for each other; SQLite's BEGIN already did
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(UPGRADE_LOCK)))
            config.attributes["connection"] = connection
            command.upgrade(config, to)
        self._inode = self._inode_now()

    def ping(self) -> None:
        self._same_file()
        with self._engine.connect() as connection:
            connection.execute(sa.select(1))

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows, all or none. One that is there already is left as it is."""
        tables: dict[str, list[tuple[Any, ...]]] = {}
        for table, row in rows:
            tables.setdefault(table, []).append(row)
        self._same_file()
        with self._engine.begin() as connection:
            self._insert(connection, tables)
        self.moved["write"] += sum(_size(row) for _, row in rows)

    def find(self, request_id: str) -> Found | None:
        """The latest prediction that was answered under this request id."""
        with self._engine.connect() as connection:
            found = self._found(connection, request_id)
        self.moved["read"] += _size(found or ())
        return found

    def probe(self, model: Row) -> str:
        """Store a prediction and its label as for a request, find them, and take both back: nobody else sees them and
        nothing stays. What is committed, since only that is stored, is the row of the model that serves, which is there
        already. The step that failed and why; "" when none did."""
        step, name = "insert", f"{time.time_ns():032x}"
        _, (sha256, version, architecture, at) = model
        rows = {"predictions": [(name, name, at, version, 0, 0.0)], "feedback": [(name, at, version, 0, 0)]}
        first_served = datetime.datetime.fromtimestamp(at, datetime.UTC)
        served = (
            INSERTS[self._engine.dialect.name](schema.models)
            .values(sha256=sha256, version=version, architecture=architecture, first_served=first_served)
            .on_conflict_do_update(index_elements=[*schema.models.primary_key], set_={"architecture": architecture})
        )
        try:
            self._same_file()
            with self._engine.begin() as connection:
                taken_back = connection.begin_nested()
                self._insert(connection, rows)
                step = "read back"
                found = self._found(connection, name)
                taken_back.rollback()
                if found != Found(name, 0, version, labelled=True):
                    return f"read back: {found} is not what was inserted"
                step = "commit"
                connection.execute(served)
        except Failure as error:
            return f"{step}: {type(error).__name__}: {error}".splitlines()[0]
        return ""

    def _insert(self, connection: sa.Connection, tables: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
        for table, rows in tables.items():
            for sql, values in self._inserts[table].statements(rows):
                connection.exec_driver_sql(sql, values)

    def _found(self, connection: sa.Connection, request_id: str) -> Found | None:
        p, f = schema.predictions.c, schema.feedback.c
        query = (
            sa.select(p.id, p.predicted, p.model_version, f.prediction_id.is_not(None))
            .outerjoin_from(schema.predictions, schema.feedback, f.prediction_id == p.id)
            .where(p.request_id == request_id)
            .order_by(p.at.desc())
            .limit(1)
        )
        row = connection.execute(query).first()
        return row and Found(row[0], row[1], row[2], bool(row[3]))

    def labelled(self, model_version: str, most: int) -> list[tuple[str, int, int]]:
        """The latest `most` labels for what a model said, oldest first: (prediction id, predicted, truth)."""
        f = schema.feedback.c
        query = (
            sa.select(f.prediction_id, f.predicted, f.truth)
            .where(f.model_version == model_version)
            .order_by(f.at.desc(), f.prediction_id)
            .limit(most)
        )
        with self._engine.connect() as connection:
            labels = [tuple(row) for row in reversed(connection.execute(query).all())]
        self.moved["read"] += sum(map(_size, labels))
        return labels

    def size(self) -> int | None:
        """Bytes that the database takes; None for one in files, whose sizes anybody can see."""
        if self._is_sqlite:
            return None
        with self._engine.connect() as connection:
            return connection.execute(sa.select(sa.func.pg_database_size(sa.func.current_database()))).scalar_one()

    def _same_file(self) -> None:
        """Raises when an SQLite file was removed or replaced: what is written to it then would be gone with it."""
        if self._inode_now() != self._inode:
            raise Gone(f"the file {self._url.database} was moved or removed")

    def _inode_now(self) -> int | None:
        try:
            return self.files[0].stat().st_ino if self.files else None
        except FileNotFoundError:
            return None

    def forget(self) -> None:
        """Drop the connection, to begin anew."""
        self._engine.dispose()


class _Insert:
    """INSERTs of one row and of `TOGETHER`, compiled once by SQLAlchemy and executed by the driver itself. SQLAlchemy
    took 8 us to bring it a row. Many rows in a statement take SQLite two thirds of the time that they take one by one,
    PostgreSQL's driver a third."""

    def __init__(self, table: sa.Table, dialect: sa.Dialect):
        names = dict.fromkeys(table.columns.keys())
        # Sent again after a commit whose answer was lost, a row must not count twice.
        insert = INSERTS[dialect.name](table).on_conflict_do_nothing()
        self._one, self._many = (str(insert.values([names] * rows).compile(dialect=dialect)) for rows in (1, TOGETHER))
        self._at = [isinstance(column.type, sa.DateTime) for column in table.columns].index(True)
        self._time = TIMES[dialect.name]

    def statements(self, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
        """What writes these rows: SQL and the values to execute it with, once for each."""
        at, time = self._at, self._time
        rows = [(*row[:at], time(row[at]), *row[at + 1 :]) for row in rows]
        few = len(rows) % TOGETHER
        if few:
            yield self._one, rows[:few]
        if several := [chain.from_iterable(rows[i : i + TOGETHER]) for i in range(few, len(rows), TOGETHER)]:
            yield self._many, [*map(tuple, several)]


def _size(values: Iterable[Any]) -> int:
    """Bytes of a row's values: of text its length, of all else eight."""
    return sum([len(value) if value.__class__ is str else 8 for value in values])


def _sqlite_time(at: float) -> str:
    """A time as SQLAlchemy's DateTime keeps it in SQLite."""
    return rfc3339(at)[:-1].replace("T", " ")


TIMES: dict[str, Callable[[float], str]] = {"sqlite": _sqlite_time, "postgresql": rfc3339}


def _ways(url: sa.URL) -> dict[str, Any]:
    """How to connect so that a dead, slow or locked database gives an error within seconds."""
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": STATEMENT_S}}
    return {
        "paramstyle": "format",  # values by their place, as SQLite takes them too
        "connect_args": {
            "connect_timeout": CONNECT_S,
            "options": f"-c statement_timeout={1000 * STATEMENT_S} -c lock_timeout={1000 * STATEMENT_S}",
            "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
            "tcp_user_timeout": 1000 * STATEMENT_S,
            "application_name": "pneumonia-detector",
        }
    }  # fmt: skip


def _sqlite_connected(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, and so hold schema changes too
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may lose the last records, never the database
