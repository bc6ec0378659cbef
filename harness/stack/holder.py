"""Has what others want of a database, until it is ended: its locks, or all of its connections.

Usage: `python -m harness.stack.holder WHAT URL FILE`. WHAT is `locked`, for the lock of a whole SQLite file or of every
table of a PostgreSQL database, or `out_of_connections`, for all that PostgreSQL lets anybody have. FILE is made when it
has them.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

AGAIN_S, CONNECT_S = 0.02, 5


def is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:")


def sqlite(url: str, within_s: float) -> sqlite3.Connection:
    """A connection to an SQLite file that is there, which waits so long for a lock. Raises sqlite3.Error."""
    file = Path(url.removeprefix("sqlite:///")).absolute()
    return sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=within_s)


def postgres(url: str) -> Any:
    """A connection to PostgreSQL. Raises psycopg.Error."""
    import psycopg  # who has SQLite needs none

    return psycopg.connect(re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", url), connect_timeout=CONNECT_S)


def tables(connection: Any) -> list[str]:
    """Every table of a PostgreSQL database, as SQL names it."""
    found = connection.execute(
        "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
    )
    return [name for (name,) in found]


def hold_lock(url: str) -> object:
    """Take it; gives what holds it. Raises sqlite3.Error or psycopg.Error."""
    if is_sqlite(url):
        connection = sqlite(url, within_s=10)
        connection.execute("BEGIN EXCLUSIVE")
    else:
        connection = postgres(url)
        connection.execute(f"LOCK TABLE {', '.join(tables(connection))} IN ACCESS EXCLUSIVE MODE")
    return connection


def hold_connections(url: str, held: Path) -> None:
    """Take what connections there are, then those that others have, and whatever becomes free, for ever."""
    import psycopg

    mine: list[Any] = [postgres(url)]
    others = "pid <> ALL(%s) AND backend_type = 'client backend'"
    while True:
        try:
            while True:
                mine.append(postgres(url))
        except psycopg.OperationalError:  # there are none
            pids = [connection.info.backend_pid for connection in mine]
            with suppress(psycopg.Error), mine[0].transaction():  # those of others that we may not end are theirs
                mine[0].execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}", [pids])
        held.touch()
        time.sleep(AGAIN_S)


if __name__ == "__main__":
    what, url, held = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if what == "out_of_connections":
        hold_connections(url, held)
    holds = hold_lock(url)
    held.touch()
    while True:
        time.sleep(60)
