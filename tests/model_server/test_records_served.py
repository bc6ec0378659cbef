"""The real server and its database: labels count after a restart, and predictions go on whatever the database does."""

import json
import re
import sqlite3

import pytest
import sqlalchemy as sa
from real_server import serving
from test_database import NEWER, changed

from model_server.settings import WEIGHTS
from model_server.storage.database import Database
from model_server.training.radiographs import CLASSES


def predict(client, body: bytes, request_id: str) -> str:
    answer = client.post("/predict", content=body, headers={"X-Request-ID": request_id})
    assert answer.status_code == 200, answer.text
    return answer.json()["class"]


def label(client, request_id: str, truth: str):
    return client.post("/feedback", json={"request_id": request_id, "label": truth})


def failing(client) -> list[str]:
    return [name for name, good in client.get("/health/ready").json()["checks"].items() if not good]


def queued(client) -> float:
    return client.metric("database_records_queued")


def test_a_label_that_comes_after_a_restart_counts_and_so_do_those_before_it(serve, corpus, url):
    with serve("--database", url) as client:
        assert client.metric("database_up") == 1 and failing(client) == []
        for i in range(49):
            said = predict(client, corpus[7 * i % 40][0], f"p{i}")
            # of the first ten, what was said to be one thing was the other
            truth = said if i >= 10 else CLASSES[said == "NORMAL"]
            assert label(client, f"p{i}", truth).status_code == 200
        late = predict(client, corpus[0][0], "late")
        assert client.metric("ml_model_accuracy") is None  # of 50 that are needed there are 49
        client.process.terminate()
        assert client.process.wait(30) == 0
    with serve("--database", url) as client:
        assert label(client, "p1", "NORMAL").status_code == 404  # labelled before
        assert label(client, "never", "NORMAL").status_code == 404
        assert label(client, "late", late).json()["correct"] is True
        assert label(client, "late", late).status_code == 404
        assert client.metric("ml_model_accuracy") == 0.8
        assert 0 < client.metric("ml_model_precision") < 1 and 0 < client.metric("ml_model_recall") < 1
        assert client.metric("database_pool_size") == 1 and client.metric("database_pool_in_use") == 0
        client.until(lambda: client.metric("database_up") == 1)
        assert client.metric("storage_bytes_total", store="database", operation="write") > 40
        assert client.metric("storage_bytes_total", store="database", operation="read") > 40
        assert client.metric("storage_free_bytes", store="model") > 0


def test_each_prediction_has_an_id_of_its_own_and_a_request_id_of_several_names_none(serve, corpus, url):
    def feedback(client, **body):
        answer = client.post("/feedback", json=body)
        return answer.status_code, answer.json().get("reason", "")

    with serve("--database", url) as client:
        sent = {"content": corpus[0][0], "headers": {"X-Request-ID": "again"}}
        answers = [client.post("/predict", **sent).json() for _ in range(3)]
        said, names = answers[0]["class"], [answer["prediction_id"] for answer in answers]
        assert len({*names}) == 3 and all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
        assert feedback(client, request_id="again", label=said) == (409, "shared_request_id")
        assert feedback(client, prediction_id=names[1], request_id=None, label=said) == (200, "")
        assert feedback(client, prediction_id=names[1], label=said) == (404, "no_such_prediction")
        for body in ({}, {"prediction_id": names[0], "request_id": "again"}, {"prediction_id": "again"}):
            assert feedback(client, label=said, **body) == (422, "bad_feedback")
        assert client.metric("ml_feedback_total") == 1
        client.process.terminate()
        assert client.process.wait(30) == 0
    with serve("--database", url) as client:
        assert feedback(client, request_id="again", label=said) == (409, "shared_request_id")
        assert feedback(client, prediction_id=names[1], label=said) == (404, "no_such_prediction")
        assert feedback(client, prediction_id=names[2], label=said) == (200, "")


def test_a_release_that_is_rolled_back_is_ready_on_the_schema_of_the_one_after_it(serve, corpus, url):
    with serve("--database", url) as client:
        predict(client, corpus[0][0], "before")
        client.process.terminate()
        assert client.process.wait(30) == 0
    database = Database(url)
    changed(database, *NEWER)
    with serve("--database", url) as client:
        client.until(lambda: failing(client) == [])
        assert predict(client, corpus[0][0], "after") and client.metric("database_up") == 1
        assert [label(client, name, "NORMAL").status_code for name in ("before", "after")] == [200, 200]
        client.until(lambda: queued(client) == 0)
        assert client.get("/health/deep").json()["checks"]["data_path"]["healthy"]
        [said] = [line for line in client.log if line["message"] == "Database has the schema of a newer release"]
        assert (said["level"], said["context"]["revision"]) == ("WARN", "9999")
        assert client.metric("database_records_lost_total") == 0
    with database._engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
    database.forget()


def another_version(folder) -> str:
    """The weights file of the same network under another version."""
    card = json.loads(WEIGHTS.with_suffix(".json").read_text()) | {"version": "1.1.0"}
    (folder / "other.json").write_text(json.dumps(card))
    (folder / "other.safetensors").write_bytes(WEIGHTS.read_bytes())
    return str(folder / "other.safetensors")


def test_accuracy_is_of_the_version_that_serves_before_a_release_after_it_and_rolled_back(serve, corpus, url, tmp_path):
    flags = ("--state-dir", str(tmp_path / "state"), "--database", url)

    def told(client, name: str, right: bool) -> None:
        for i in range(50):
            said = predict(client, corpus[7 * i % 40][0], f"{name}{i}")
            assert label(client, f"{name}{i}", said if right else CLASSES[said == "NORMAL"]).json()["correct"] is right

    def stop(client) -> None:
        client.process.terminate()
        assert client.process.wait(30) == 0

    with serve(*flags) as client:
        told(client, "good", right=True)
        predict(client, corpus[0][0], "late")
        assert client.metric("ml_model_accuracy") == 1
        stop(client)
    with serve(*flags, "--weights", another_version(tmp_path)) as client:
        assert label(client, "late", "NORMAL").status_code == 200 and client.metric("ml_feedback_total") == 1
        assert label(client, "late", "NORMAL").status_code == 404
        told(client, "bad", right=False)
        assert client.metric("ml_model_accuracy") == 0  # not a half, as with the labels for the version before
        stop(client)
    with serve(*flags) as client:
        client.until(lambda: client.metric("ml_model_accuracy") is not None)
        assert client.metric("ml_model_accuracy") >= 50 / 51 and client.metric("ml_model_precision") > 0.9


@pytest.fixture(scope="module")
def outage(cluster, tmp_path_factory):
    """One server for the outages; each test leaves its database well."""
    flags = ("--database", cluster.database(), "--max-records", "30", "--answer-within-s", "1")
    with serving(tmp_path_factory.mktemp("outage"), *flags) as client:
        yield client


def test_killed_and_back_again_predictions_go_on_and_nothing_that_fits_is_lost(outage, corpus, cluster):
    client = outage
    client.until(lambda: queued(client) == 0)
    cluster.kill()
    client.until(lambda: failing(client) == ["database_connected"])
    assert client.metric("database_up") == 0 and client.get("/health/live").status_code == 200
    for i in range(20):
        predict(client, corpus[0][0], f"during-{i}")
    assert label(client, "during-0", "NORMAL").status_code == 200  # recent: known without the database
    unknown = label(client, "long-ago", "NORMAL")
    assert (unknown.status_code, unknown.json()["reason"]) == (503, "database_unavailable")
    assert unknown.headers["retry-after"]
    assert queued(client) == 21 and client.metric("database_records_lost_total") == 0
    for i in range(20):
        predict(client, corpus[0][0], f"too-many-{i}")
    assert queued(client) == 30 and client.metric("database_records_lost_total") == 11
    cluster.start()
    client.until(lambda: failing(client) == [] and queued(client) == 0)
    assert label(client, "during-0", "NORMAL").status_code == 404  # its label was kept
    # The first to notice is a ping (a read) or a record (a write), whichever comes first.
    errors = [client.metric("storage_errors_total", store="database", operation=name) for name in ("read", "write")]
    assert sum(errors) >= 1


def test_a_database_that_stands_still_holds_up_no_request_and_readiness_says_so(outage, corpus, cluster):
    client = outage
    lost = client.metric("database_records_lost_total")
    cluster.hold()
    try:
        for i in range(10):
            predict(client, corpus[0][0], f"held-{i}")
        client.until(lambda: failing(client) == ["database_connected"])
        assert label(client, "long-ago", "NORMAL").status_code == 503
        predict(client, corpus[0][0], "still")
        hangs = ("Storage hangs", "database")
        client.until(lambda: any((line["message"], line["context"].get("store")) == hangs for line in client.log))
        assert client.get("/health/live").status_code == 200
    finally:
        cluster.let_go()
    client.until(lambda: failing(client) == [] and queued(client) == 0)
    assert client.metric("database_records_lost_total") == lost


def test_a_database_that_was_down_at_the_start_is_found_when_it_comes(serve, corpus, cluster):
    url = cluster.database()
    cluster.kill()
    with serve("--database", url) as client:
        assert predict(client, corpus[0][0], "early") and failing(client) == ["database_connected"]
        client.until(lambda: client.metric("database_up") == 0)
        cluster.start()
        client.until(lambda: failing(client) == [] and queued(client) == 0)
        assert any(line["message"] == "Database does not work" for line in client.log)
        client.until(lambda: any(line["message"] == "Database works again" for line in client.log))


def test_a_locked_sqlite_file_is_waited_for_and_costs_no_request(serve, corpus, tmp_path):
    file = tmp_path / "records.db"
    with serve("--database", f"sqlite:///{file}", "--answer-within-s", "1") as client:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        client.until(lambda: failing(client) == ["database_connected"])
        predict(client, corpus[0][0], "during")
        other.execute("ROLLBACK")
        client.until(lambda: failing(client) == [] and queued(client) == 0)
        assert other.execute("SELECT count(*), max(request_id) FROM predictions").fetchone() == (1, "during")
        assert other.execute("SELECT version, architecture FROM models").fetchall() == [("1.0.0", "small-cnn-64")]
        other.close()
    assert sum(path.stat().st_size for path in tmp_path.glob("records.db*")) < 200_000  # no image is in there


@pytest.mark.parametrize("hostile", ["\x00", "\ud800", "x" * 200, "' OR 1=1 --", 5, None, ["p1"]])
def test_hostile_ids_in_feedback_are_refused_and_the_database_stays_up(served, hostile):
    answer = served.post("/feedback", content=json.dumps({"request_id": hostile, "label": "NORMAL"}))
    assert answer.status_code in (404, 422) and served.metric("database_up") == 1
    assert served.post("/feedback", content=b'{"request_id":' + b"[" * 50_000).status_code == 422


def test_a_database_that_has_not_been_tried_is_neither_up_nor_down(serve):
    defect = "import time, model_server.storage.records as r\nr.Records._serve = lambda *a: time.sleep(3600)"
    with serve(defect=defect, wait=False) as client:
        client.until(lambda: client.metric("ml_model_load_seconds"))
        assert client.metric("database_up") is None and "database_connected" in failing(client)
