"""Databases that are locked or out of connections: what another client meets, before, meanwhile and after."""

import importlib.util
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.errors import FaultError
from harness.faults.database import Database
from harness.faults.inject import end_all, inject
from harness.history import History
from harness.stack import holder
from harness.stack.process import processes_of


def witness(stack):
    return [e for e in History.read(stack.run).of("fault") if e.detail["edge"] == "witness"][-1]


def undone(stack):
    assert end_all(stack, "heal") == ["database"]
    assert not processes_of(stack.run, "holder") and not list((stack.run / "tmp").glob("held-*"))
    return True


# -- SQLite ------------------------------------------------------------------------------------------------------

SQLITE = "sqlite:///{state}/records.db"


@pytest.fixture
def file(stack):
    stack.state.mkdir(parents=True)
    path = stack.state / "records.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (n)")
    return path


def write(file):
    with closing(sqlite3.connect(file, timeout=0.1, isolation_level=None)) as database:
        database.execute("INSERT INTO t VALUES (1)")


def test_a_locked_sqlite_file_takes_no_write_and_takes_it_again_when_undone(stack, file):
    write(file)
    inject(Database(SQLITE, "locked"), stack, "locked", 60)
    assert witness(stack).detail["evidence"] == "a client of it: database is locked"
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write(file)
    with pytest.raises(FaultError, match="it is so already"):
        inject(Database(SQLITE, "locked"), stack, "locked", 60)
    assert undone(stack)
    write(file)


def test_a_lock_that_is_not_taken_has_no_witness(stack, file):
    @dataclass(frozen=True)
    class Idle(Database):
        def start(self, stack, facts):
            pass

    inject(Idle(SQLITE, "locked"), stack, "locked", 60, witness_within_s=0.1)
    assert witness(stack).outcome == "unknown"
    assert end_all(stack, "heal") == ["database"]


@pytest.mark.parametrize(
    ("url", "becomes", "said"),
    [
        (SQLITE, "out_of_connections", "becomes: must be locked: SQLite has no number of connections"),
        ("sqlite:///{state}/other.db", "locked", "other.db: unable to open database file"),
        ("postgresql://x@127.0.0.1:9/x", "locked", "refused"),
    ],
)
def test_a_database_that_is_none_or_cannot_become_so_is_left_alone(stack, file, url, becomes, said):
    with pytest.raises(FaultError, match=said):
        inject(Database(url, becomes), stack, "locked", 60)
    assert stack.ledger.open() == [] and not processes_of(stack.run, "holder")


# -- PostgreSQL --------------------------------------------------------------------------------------------------

if importlib.util.find_spec("psycopg"):
    import psycopg


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("psycopg")
    spec = importlib.util.spec_from_file_location("postgres", Path(__file__).parents[1] / "model_server/postgres.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        started = module.Cluster()
    except (OSError, IndexError, subprocess.SubprocessError) as error:
        pytest.skip(f"PostgreSQL is not here and could not be installed, so nothing of it was tried: {error}")
    yield started
    started.close()


@pytest.fixture
def postgres(stack, cluster):
    """The URL of a database with two tables, by the placeholders of its component."""
    url = cluster.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute('CREATE TABLE t (n int); CREATE TABLE "Other" (n int)')
    here = replace(stack, addresses={"database": f"127.0.0.1:{cluster.port}"})
    by_name = f"postgresql+psycopg://postgres@{{database.host}}:{{database.port}}/{url.rpartition('/')[2]}"
    return here, url, by_name


def test_every_table_of_postgresql_is_locked_and_free_again_when_undone(postgres):
    stack, url, by_name = postgres
    inject(Database(by_name, "locked"), stack, "locked", 60)
    assert "canceling statement due to lock timeout" in witness(stack).detail["evidence"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET lock_timeout = 50")
        for table in ("t", '"Other"'):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                connection.execute(f"SELECT * FROM {table}")
    assert undone(stack)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == []


def test_postgresql_has_no_connection_for_anybody_who_had_one_or_wants_one(postgres):
    stack, url, by_name = postgres
    with psycopg.connect(url, autocommit=True) as connection:
        inject(Database(by_name, "out_of_connections"), stack, "full", 60)
        assert "clients already" in witness(stack).detail["evidence"]
        with pytest.raises(psycopg.OperationalError):  # it was ended
            connection.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="clients already"):
            psycopg.connect(url)
    assert undone(stack)
    for _ in range(100):
        try:
            return psycopg.connect(url).close()
        except psycopg.OperationalError:  # the server notices one after the other
            pass
    pytest.fail("no connection is free")


def test_a_database_without_tables_has_nothing_to_lock(stack, cluster):
    url = cluster.database()
    with pytest.raises(FaultError, match="has no table that could be locked"):
        inject(Database(url, "locked"), stack, "locked", 60)
    assert holder.is_sqlite("sqlite:///x")
