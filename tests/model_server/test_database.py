"""The same on SQLite and on PostgreSQL: the schema moves from any version, rows are written once, and found again."""

import contextlib
import datetime
import subprocess
import sys
import time

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from model_server.storage import schema
from model_server.storage.database import Database, Failure, Found
from model_server.storage.stores import Operation


@pytest.fixture
def database(url):
    database = Database(url)
    yield database
    database.forget()


def moment(at: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at, datetime.UTC)


def prediction(prediction_id: str, request_id: str = "r1", at: float = 1000.0, predicted: int | None = 1):
    row = {"id": prediction_id, "request_id": request_id, "at": moment(at), "model_version": "1.0.0"}
    return "predictions", row | {"predicted": predicted, "probability": 0.9}


def label(prediction_id: str, at: float = 2000.0, predicted: int = 1, truth: int = 1, version: str = "1.0.0"):
    row = {"prediction_id": prediction_id, "at": moment(at), "model_version": version}
    return "feedback", row | {"predicted": predicted, "truth": truth}


def rows(database: Database, table: sa.Table) -> list:
    with database._engine.connect() as connection:
        return connection.execute(sa.select(table).order_by(*table.primary_key)).all()


def stored(database: Database) -> list:
    return rows(database, schema.predictions)


def utc(at: datetime.datetime) -> datetime.datetime:
    """What SQLite gives back without its zone."""
    return at if at.tzinfo else at.replace(tzinfo=datetime.UTC)


def test_from_nothing_to_the_schema_and_again_is_no_change(database):
    database.upgrade()
    database.upgrade()
    with database._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_an_older_database_keeps_its_rows(database):
    database.upgrade("0001")
    database.write([prediction("p1"), label("p1")])
    database.upgrade()
    assert database.find("p1").labelled and database.labelled("1.0.0", 5) == [("p1", 1, 1)]
    with database._engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == "0003"


NEWER = [
    "UPDATE alembic_version SET version_num = '9999'",
    "CREATE TABLE wards (id INTEGER PRIMARY KEY)",
    "ALTER TABLE predictions ADD COLUMN ward VARCHAR(64)",
    "ALTER TABLE feedback ADD COLUMN source VARCHAR(64) NOT NULL DEFAULT 'report'",
]


def changed(database: Database, *statements: str) -> None:
    with database._engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def test_a_newer_releases_database_is_used_as_it_is(database):
    """After a release that moved the schema was rolled back."""
    assert database.upgrade() == ""
    changed(database, *NEWER)
    database.forget()
    assert database.upgrade() == "9999"
    database.write([prediction("p1"), label("p1"), MODEL])
    assert database.find("p1").labelled and database.labelled("1.0.0", 5) == [("p1", 1, 1)]
    assert database.probe(MODEL) == "" and len(stored(database)) == 1
    with database._engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == "9999"
        assert sa.inspect(connection).has_table("wards")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DROP TABLE feedback", "there is no table feedback"),
        ("ALTER TABLE predictions RENAME COLUMN predicted TO label", "predictions has no column predicted"),
        ("ALTER TABLE models ADD COLUMN ward VARCHAR(64) NOT NULL", "models.ward has to be given a value"),
    ],
)
def test_a_newer_releases_database_that_lacks_what_is_needed_is_refused_and_left_alone(database, statement, said):
    database.upgrade()
    if "NOT NULL" in statement and database._is_sqlite:  # which adds no such column
        columns = "sha256 TEXT, version TEXT, architecture TEXT, first_served TEXT, ward TEXT NOT NULL"
        changed(database, NEWER[0], "DROP TABLE models", f"CREATE TABLE models ({columns})")
    else:
        changed(database, NEWER[0], statement)
    with pytest.raises(Failure, match=f"9999 .*{said}"):
        database.upgrade()
    with database._engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == "9999"


def test_an_upgrade_that_fails_halfway_leaves_nothing(database):
    with database._engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE feedback (x int)"))  # in the way of the last table of the first step
    with pytest.raises(Failure):
        database.upgrade()
    with database._engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["feedback"]


def test_servers_that_start_together_do_not_get_in_each_others_way(url):
    upgrade = "import sys\nfrom model_server.storage.database import Database\nDatabase(sys.argv[1]).upgrade()"
    together = [
        subprocess.Popen([sys.executable, "-c", upgrade, url], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [(p.communicate(timeout=120)[1], p.returncode) for p in together] == [("", 0)] * 3


def test_rows_sent_twice_count_once(database):
    database.upgrade()
    batch = [prediction("p1"), prediction("p2", "r2"), label("p1")]
    database.write(batch)
    database.write([*batch, prediction("p3", "r3")])
    assert [row.id for row in stored(database)] == ["p1", "p2", "p3"]
    assert len(rows(database, schema.feedback)) == 1


def test_a_batch_with_a_bad_row_is_written_whole_or_not_at_all(database):
    database.upgrade()
    for good in (1, 30):
        with pytest.raises(Database.BadRow):
            database.write([*(prediction(f"p{i}") for i in range(good)), prediction("bad", predicted=None)])
        assert stored(database) == []


def test_a_prediction_is_found_by_its_id_with_whether_it_was_labelled(database):
    database.upgrade()
    database.write([prediction("p1"), prediction("p2", predicted=0), label("p1")])
    assert database.find("p1") == Found("p1", "r1", 1, "1.0.0", labelled=True)
    assert database.find("p2") == Found("p2", "r1", 0, "1.0.0", labelled=False)
    assert database.find("p3") is None and database.find("r1") is None


def test_of_the_predictions_of_a_request_id_so_many_are_found_as_tell_whether_it_is_one(database):
    database.upgrade()
    database.write([prediction(f"p{i}") for i in range(3)] + [prediction("p3", "r2"), prediction("p4", "r2:0")])
    assert len(database.of_requests(["r1"])) == 2
    assert [found.prediction_id for found in database.of_requests(["r2"])] == ["p3"]
    assert {found.prediction_id for found in database.of_requests(["r2", "r2:0"])} == {"p3", "p4"}
    assert database.of_requests(["r3"]) == []


ABOUT = {"sha256": "0" * 64, "version": "1.0.0", "architecture": "small-cnn-64", "first_served": moment(1000)}
MODEL = ("models", ABOUT)


def everything(database: Database) -> list:
    return [rows(database, table) for table in (schema.predictions, schema.feedback, schema.models)]


def test_a_probe_goes_the_way_of_a_record_and_leaves_nothing(database):
    database.upgrade()
    database.write([prediction("p1"), label("p1"), MODEL])
    before = everything(database)
    assert [database.probe(MODEL) for _ in range(3)] == [""] * 3
    assert everything(database) == before


@pytest.mark.parametrize(("table", "step"), [("predictions", "insert"), ("feedback", "insert"), ("models", "commit")])
def test_a_probe_says_what_cannot_be_stored(database, table, step):
    database.upgrade()
    database.write([MODEL])
    before = everything(database)
    refuse_inserts(database, table)
    assert database.probe(MODEL).startswith(f"{step}: ") and everything(database) == before


def refuse_inserts(database: Database, table: str) -> None:
    with database._engine.begin() as connection:
        if database._is_sqlite:
            refuse = f"CREATE TRIGGER refuse BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END"
        else:
            refuse = f"ALTER TABLE {table} ADD CONSTRAINT refused CHECK (false) NOT VALID"
        connection.execute(sa.text(refuse))


def test_a_probe_misses_what_an_insert_does_not_store(database):
    database.upgrade()
    with database._engine.begin() as connection:
        if database._is_sqlite:
            connection.execute(sa.text("CREATE TRIGGER lose AFTER INSERT ON feedback BEGIN DELETE FROM feedback; END"))
        else:
            connection.execute(sa.text("CREATE RULE lose AS ON INSERT TO feedback DO INSTEAD NOTHING"))
    assert database.probe(MODEL).startswith("read back: ") and everything(database) == [[], [], []]


def test_what_is_written_and_read_is_counted_as_the_bytes_of_its_values(url):
    measured = []

    def operation(name: str):
        measured.append(Operation("database", name))
        return contextlib.nullcontext(measured[-1])

    database = Database(url, operation)
    database.upgrade()
    database.write([prediction("p1"), label("p1")])
    database.find("p1")
    database.find("nobody")
    # id, request id, version and class, probability, time of the one; id, version and three numbers of the other
    written = (2 + 2 + 5 + 3 * 8) + (2 + 5 + 3 * 8)
    assert [(it.name, it.size) for it in measured] == [
        ("read", None), ("write", written), ("read", 2 + 2 + 5 + 2 * 8), ("read", 0),
    ]  # fmt: skip
    database.forget()


@pytest.mark.parametrize("hostile", ["' OR 1=1 --", "r1'; DROP TABLE predictions; --", "%", "é" * 30])
def test_an_id_is_data_whatever_it_says(database, hostile):
    database.upgrade()
    database.write([prediction("p1")])
    assert database.find(hostile) is None and database.of_requests([hostile]) == []
    assert database.find("p1") and len(stored(database)) == 1


def test_labels_come_back_latest_and_in_order_of_time(database):
    database.upgrade()
    database.write([label(f"p{i}", at=2000 + i, predicted=i % 2, truth=1) for i in (3, 1, 4, 2)])
    assert database.labelled("1.0.0", 3) == [("p2", 0, 1), ("p3", 1, 1), ("p4", 0, 1)]


def test_labels_of_one_model_are_not_another_models(database):
    database.upgrade()
    database.write([label("p1"), label("p2", at=2001, truth=0, version="1.1.0"), label("p3", at=2002)])
    assert database.labelled("1.0.0", 5) == [("p1", 1, 1), ("p3", 1, 1)]
    assert database.labelled("1.1.0", 5) == [("p2", 1, 0)] and database.labelled("2.0.0", 5) == []


@pytest.mark.parametrize("count", [1, 2, 600])
def test_many_rows_are_written_each_as_it_is(database, count):
    database.upgrade()
    database.write([prediction(f"p{i:03}", f"r{i}", at=1000 + i, predicted=i % 2) for i in range(count)])
    found = [(row.id, row.request_id, row.model_version, row.predicted, row.probability) for row in stored(database)]
    assert found == [(f"p{i:03}", f"r{i}", "1.0.0", i % 2, 0.9) for i in range(count)]
    assert [utc(row.at) for row in stored(database)] == [moment(1000 + i) for i in range(count)]


def test_a_database_that_is_not_there_is_a_failure_within_seconds(tmp_path):
    began = time.monotonic()
    for url in ("postgresql://nobody@127.0.0.1:1/none", f"sqlite:///{tmp_path / 'no/such/folder/x.db'}"):
        with pytest.raises(Failure):
            Database(url).ping()
    assert time.monotonic() - began < 60


def test_a_file_that_is_removed_is_missed_and_made_anew(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'records.db'}")
    database.upgrade()
    database.write([prediction("p1")])
    (tmp_path / "records.db").unlink()
    for ask in (database.ping, lambda: database.write([prediction("p2")])):
        with pytest.raises(Failure, match="moved or removed"):
            ask()
    database.forget()
    database.upgrade()
    database.write([prediction("p2")])
    assert [row.id for row in stored(database)] == ["p2"]
    database.forget()


def test_a_file_that_is_no_database_is_a_failure_and_left_alone(tmp_path):
    (tmp_path / "records.db").write_bytes(b"not a database, but " * 500)
    with pytest.raises(Failure, match="not a database"):
        Database(f"sqlite:///{tmp_path / 'records.db'}").upgrade()
    assert (tmp_path / "records.db").read_bytes().startswith(b"not a database")
