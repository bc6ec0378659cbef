"""Between requests and the database, without a server."""

import asyncio
import threading
import time

import pytest

from model_server.storage import records as module
from model_server.storage.records import Records, Unavailable
from model_server.storage.stores import Stores
from model_server.telemetry.metrics import Metrics


@pytest.fixture
def opened(tmp_path):
    """Records on their way to a new database that answers."""
    opened = []

    def made(metrics: Metrics | None = None, **more) -> Records:
        metrics = metrics or Metrics(on=False)
        options = {"limit": 100, "within_s": 60, "window": 1, "on_window": lambda labels: None}
        opened.append(Records(f"sqlite:///{tmp_path / 'records.db'}", metrics, Stores(metrics), **(options | more)))
        assert opened[-1].tried.wait(60) and opened[-1].up
        return opened[-1]

    yield made
    for records in opened:
        records.close()


def predict(records: Records, prediction_id: str, request_id: str, predicted: int) -> None:
    about = {"model_version": "1.0.0", "predicted": predicted, "probability": 0.9}
    records.put("predictions", id=prediction_id, request_id=request_id, **about)


class Gate:
    """Holds up every write to a database until it is opened."""

    def __init__(self, records: Records):
        self.began, self.open, self._write = threading.Event(), threading.Event(), records._database.write
        records._database.write = self._held

    def _held(self, rows) -> None:
        self.began.set()
        assert self.open.wait(60)
        self._write(rows)


def test_a_question_is_answered_behind_all_that_came_before_it(opened):
    records = opened()
    gate = Gate(records)

    async def ask():
        predict(records, "p1", "r1", 1)
        assert await asyncio.to_thread(gate.began.wait, 60)
        predict(records, "p2", "r2", 0)  # in no batch yet
        predict(records, "p3", "r2", 0)
        asyncio.get_running_loop().call_later(0.05, gate.open.set)
        return await asyncio.gather(records.find("p2"), records.of_request("r2"), records.of_request("r1"))

    found, shared, alone = asyncio.run(ask())
    assert (found.prediction_id, found.request_id, found.labelled) == ("p2", "r2", False)
    assert {one.prediction_id for one in shared} == {"p2", "p3"} and [one.prediction_id for one in alone] == ["p1"]


def test_what_waits_is_written_without_being_asked_for_and_said_until_it_is(opened):
    metrics = Metrics()
    records = opened(metrics)
    gate = Gate(records)
    assert records.unwritten_s == 0
    predict(records, "p1", "r1", 1)
    assert gate.began.wait(60)
    before = records.unwritten_s
    time.sleep(0.01)
    assert records.unwritten_s > before
    assert metrics.registry.get_sample_value("storage_unwritten_seconds", {"store": "database"}) > before
    gate.open.set()
    end = time.monotonic() + 60
    while records.unwritten_s:
        assert time.monotonic() < end


def test_more_questions_than_its_bound_are_refused_at_once(opened, monkeypatch):
    monkeypatch.setattr(module, "QUESTIONS", 2)
    records = opened()
    gate = Gate(records)

    async def ask():
        predict(records, "p1", "r1", 1)
        assert await asyncio.to_thread(gate.began.wait, 60)
        asked = [asyncio.create_task(records.find("p1")) for _ in range(3)]
        await asyncio.sleep(0)
        gate.open.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    *answered, refused = asyncio.run(ask())
    assert [found.prediction_id for found in answered] == ["p1", "p1"] and isinstance(refused, Unavailable)
