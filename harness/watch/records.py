"""The database rows of predictions, read from the service's own database into an array, and nothing changed there."""

from __future__ import annotations

import importlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from harness.signals import LINE, Signal
from harness.telemetry import Records
from harness.watch.lines import array, mapped

AT_ONCE = 50_000
WAITS_S = 3.0  # for a locked database, or one that does not answer
POSTGRES = re.compile(r"postgres(ql)?(\+psycopg)?://")


class Unreadable(Exception):
    """Why a database cannot be read."""


def read(urls: Sequence[str], form: Records, classes: Sequence[str]) -> Signal:
    """The rows of a table, of each database in turn. A database that cannot be read is the signal's problem."""
    arrays, lacking, problems = [np.empty(0, LINE)], Counter(), []
    wanted = mapped(form)
    for number, url in enumerate(urls):
        try:
            for rows in _rows(url, form.table, list(wanted.values())):
                columns = dict(zip(wanted, zip(*rows, strict=True), strict=True))
                arrays.append(array(columns, range(len(rows)), classes, lacking, number))
        except Unreadable as why:
            problems.append(f"{shown(url)}: {why}")
    about = {
        "files": [shown(url) for url in urls],
        "counts": {"rows": sum(map(len, arrays))},
        "lacking": dict(lacking),
        "problem": "; ".join(problems),
    }
    return Signal(np.concatenate(arrays), about)


def shown(url: str) -> str:
    """A database's address without its password."""
    return re.sub(r"(//[^:/@]*):[^@/]*@", r"\1:...@", url)


def _rows(url: str, table: str, columns: Sequence[str]) -> Iterator[list[tuple]]:
    return _of_postgres(url, table, columns) if POSTGRES.match(url) else _of_sqlite(url, table, columns)


def _of_sqlite(url: str, table: str, columns: Sequence[str]) -> Iterator[list[tuple]]:
    path = Path(url.removeprefix("sqlite:///"))
    if not path.is_file():
        raise Unreadable("there was no such file" if not path.exists() else "it is no file")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=WAITS_S)) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
            there = [row[1] for row in database.execute(f"PRAGMA table_info({_quoted(table)})")]
            _has(table, columns, [name for (name,) in tables], there)
            cursor = database.execute(f"SELECT {', '.join(map(_quoted, columns))} FROM {_quoted(table)}")
            while rows := cursor.fetchmany(AT_ONCE):
                yield rows
    except sqlite3.Error as error:
        raise Unreadable(str(error)) from None  # "database is locked", "file is not a database"


def _of_postgres(url: str, table: str, columns: Sequence[str]) -> Iterator[list[tuple]]:
    try:
        psycopg = importlib.import_module("psycopg")
    except ImportError:
        raise Unreadable("to read PostgreSQL takes `pip install psycopg[binary]`") from None
    waits = int(1000 * WAITS_S)
    options = f"-c default_transaction_read_only=on -c lock_timeout={waits} -c statement_timeout=60000"
    schema, _, name = table.rpartition(".")
    try:
        address = POSTGRES.sub("postgresql://", url)
        with psycopg.connect(address, connect_timeout=int(WAITS_S), options=options) as database:
            tables = database.execute("SELECT table_schema, table_name, column_name FROM information_schema.columns")
            found = [row for row in tables if row[0] not in ("pg_catalog", "information_schema")]
            there = [column for where, one, column in found if one == name and schema in ("", where)]
            _has(table, columns, dict.fromkeys(one for _, one, _ in found), there)
            with database.cursor("harness") as cursor:
                quoted = ".".join(map(_quoted, table.split(".")))
                cursor.execute(f"SELECT {', '.join(map(_quoted, columns))} FROM {quoted}")
                while rows := cursor.fetchmany(AT_ONCE):
                    yield rows
    except psycopg.Error as error:
        raise Unreadable(" ".join(str(error).split())[:300]) from None


def _has(table: str, columns: Sequence[str], tables: Any, there: Sequence[str]) -> None:
    """Raises Unreadable where a table is not there, or lacks a column."""
    if not there:
        raise Unreadable(f"it has no table {table}; it has {', '.join(chain(tables)) or 'none'}")
    if missing := [column for column in columns if column not in there]:
        raise Unreadable(f"table {table} has no column {', '.join(missing)}; it has {', '.join(there)}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
