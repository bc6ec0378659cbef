"""Between requests and the database, without a server."""

import asyncio
import threading

from model_server.storage.records import Records
from model_server.storage.stores import Stores
from model_server.telemetry.metrics import Metrics


def test_a_question_is_answered_behind_all_that_came_before_it(tmp_path):
    metrics = Metrics(on=False)
    records = Records(
        f"sqlite:///{tmp_path / 'records.db'}", metrics, Stores(metrics), limit=100, within_s=60, window=1,
        on_window=lambda labels: None,
    )  # fmt: skip
    assert records.tried.wait(60) and records.up
    began, may_end, write = threading.Event(), threading.Event(), records._database.write

    def slow(rows):
        began.set()
        assert may_end.wait(60)
        write(rows)

    records._database.write = slow

    async def ask():
        records.prediction("p1", "r1", "1.0.0", 1, 0.9)
        assert await asyncio.to_thread(began.wait, 60)
        records.prediction("p2", "r2", "1.0.0", 0, 0.1)  # in no batch yet
        asyncio.get_running_loop().call_later(0.05, may_end.set)
        return await records.find("r2")

    assert asyncio.run(ask()).prediction_id == "p2"
    records.close()
