"""Somebody else has what is needed of a database: its locks, or all of its connections."""

from __future__ import annotations

import sqlite3
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import holder, prometheus
from harness.stack.process import Pid, identify, spawn
from harness.stack.spec import filled
from harness.stack.stack import Stack
from harness.stack.undo import Undo

HELD_WITHIN_S, PATIENCE_S, POLL_S = 15.0, 0.5, 0.02
LOCK_NOT_AVAILABLE, TOO_MANY_CONNECTIONS = "55P03", "53300"


@dataclass(frozen=True)
class Database(Fault):
    """What becomes of the database at `url`, which may hold {state}, {database.host} and {database.port}:

    locked              a transaction has SQLite's file, or every table of PostgreSQL, for itself
    out_of_connections  PostgreSQL's are all taken; those that others had were ended

    A password is left to PGPASSWORD: parameters are recorded. `witness_query`: PromQL that gives a result only while
    the service itself says so, where it does.
    """

    url: str
    becomes: Literal["locked", "out_of_connections"]
    witness_query: str = ""
    component: ClassVar[str | None] = None  # it is done to what the database keeps, and to no process
    kind: ClassVar[str] = "database"
    touches: ClassVar[str] = "the database {url}"
    undone: ClassVar[str] = "what holds it is ended"

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if self.becomes == "out_of_connections" and holder.is_sqlite(self.url):
            yield "becomes", "must be locked: SQLite has no number of connections that could be used up"

    def target(self, stack: Stack) -> Facts:
        url = filled(self.url, stack.values)
        if not holder.is_sqlite(url) and find_spec("psycopg") is None:
            raise FaultError("database: PostgreSQL takes `pip install psycopg[binary]`")
        try:
            if already := self._refused(url, holder.CONNECT_S):
                raise FaultError(f"database: it is so already: {already}")
        except OSError as error:
            raise FaultError(f"database: {error}") from error
        held = (stack.run / "tmp").resolve() / f"held-{uuid.uuid4().hex[:8]}"
        return {"url": url, "held": str(held), "at": time.time()}

    def undo(self, facts: Facts) -> list[Undo]:
        has_them = [Undo("end", {key: facts[key] for key in Pid._fields})] if "pid" in facts else []
        return [*has_them, Undo("remove", {"path": facts["held"]})]

    def start(self, stack: Stack, facts: Facts) -> Facts:
        argv = [sys.executable, "-m", "harness.stack.holder", self.becomes, facts["url"], facts["held"]]
        child = spawn("holder", argv, stack.run)
        until = time.monotonic() + HELD_WITHIN_S
        while not Path(facts["held"]).exists():
            child.check()
            if time.monotonic() > until:
                child.end()
                raise FaultError(f"database: it could not be {self.becomes} within {HELD_WITHIN_S:g} s")
            time.sleep(POLL_S)
        return {**facts, **identify(child.pid)._asdict()}

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """A client of the database, which gets no lock or no connection; and the service itself, as Prometheus stored
        it."""
        evidence = self._refused(facts["url"], PATIENCE_S)
        if not evidence or not self.witness_query:
            return evidence or None
        result = prometheus.query(stack.prometheus_url, self.witness_query)
        return f"{evidence}; {prometheus.shown(self.witness_query, result)}" if result else None

    def _refused(self, url: str, within_s: float) -> str:
        """What a client is told who wants the same; empty where it gets it. Raises OSError where it is told something
        else."""
        if not holder.is_sqlite(url):
            return self._refused_by_postgres(url, within_s)
        try:
            connection = holder.sqlite(url, within_s)
            try:
                connection.execute("BEGIN IMMEDIATE")
            finally:
                connection.close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise OSError(f"{url}: {error}") from error
            return f"a client of it: {error}"
        return ""

    def _refused_by_postgres(self, url: str, within_s: float) -> str:
        import psycopg

        wanted = LOCK_NOT_AVAILABLE if self.becomes == "locked" else TOO_MANY_CONNECTIONS
        try:
            with holder.postgres(url) as connection:
                if self.becomes == "locked":
                    found = holder.tables(connection)
                    if not found:
                        raise OSError(f"{url} has no table that could be locked")
                    connection.execute(f"SET lock_timeout = {int(1000 * within_s)}")
                    connection.execute(f"LOCK TABLE {', '.join(found)} IN ACCESS SHARE MODE")
        except psycopg.Error as error:
            text = " ".join(str(error).split())
            refused = error.sqlstate == wanted or (wanted == TOO_MANY_CONNECTIONS and _says_too_many(text))
            if not refused:
                raise OSError(f"{url}: {text}") from error
            return f"a client of it: {text[-160:]}"
        return ""


def _says_too_many(text: str) -> bool:
    """psycopg gives no code for a connection that was refused."""
    return "too many clients" in text or "connection slots are reserved" in text or "too many connections" in text
