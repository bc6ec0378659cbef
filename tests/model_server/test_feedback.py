"""Which prediction a label is for: the one of an id, the only one of a request id, and never one of several."""

import asyncio

import pytest

from model_server.inference.feedback import Feedback, Shared
from model_server.storage.records import Records, Unavailable, of_several
from model_server.storage.stores import Stores
from model_server.telemetry.metrics import Metrics


class Kept:
    """Feedback and the records behind it; `predict` is what a request leaves in both."""

    def __init__(self, url: str, remembered: int = 100):
        metrics = Metrics(on=False)
        self.feedback = Feedback(remembered=remembered, enough=1)
        self.feedback.serves("1.0.0")
        self.records = Records(
            url, metrics, Stores(metrics), limit=100, within_s=60, window=1, on_window=lambda labels: None
        )
        assert self.records.tried.wait(60)

    def predict(self, prediction_id: str, request_id: str, stored: bool = True) -> "Kept":
        self.feedback.records = self.records if stored else None
        self.feedback.remember(prediction_id, request_id, 1, "1.0.0", 0.9)
        self.feedback.records = self.records
        return self

    def forget(self) -> "Kept":
        """As after a restart: only the database knows."""
        self.feedback = Feedback(enough=1)
        self.feedback.serves("1.0.0")
        self.feedback.records = self.records
        return self

    def label(self, **named: str) -> bool:
        return asyncio.run(self.feedback.label(1, **named))


@pytest.fixture
def kept(tmp_path):
    kept = Kept(f"sqlite:///{tmp_path / 'records.db'}")
    yield kept
    kept.records.close()


@pytest.fixture
def unavailable(tmp_path):
    kept = Kept(f"sqlite:///{tmp_path / 'no/such/folder/records.db'}")
    yield kept
    kept.records.close()


@pytest.mark.parametrize("restarted", [False, True], ids=["", "after a restart"])
def test_each_of_several_predictions_of_a_request_id_is_labelled_by_its_own_id(kept, restarted):
    kept.predict("p1", "r").predict("p2", "r").predict("p3", "other")
    if restarted:
        kept.forget()
    with pytest.raises(Shared):
        kept.label(request_id="r")
    assert kept.label(prediction_id="p2") and kept.label(request_id="other")
    with pytest.raises(Shared):
        kept.label(request_id="r")  # of which one is labelled: the other is not meant for that
    with pytest.raises(KeyError):
        kept.label(prediction_id="p2")
    assert kept.label(prediction_id="p1")
    for unknown in ({"prediction_id": "p4"}, {"request_id": "nobody"}, {"request_id": "other"}):
        with pytest.raises(KeyError):
            kept.label(**unknown)


def test_a_request_id_that_was_used_long_ago_is_not_taken_for_the_recent_one(kept):
    kept.predict("p1", "r").forget().predict("p2", "r")
    with pytest.raises(Shared):
        kept.label(request_id="r")
    assert kept.label(prediction_id="p1") and kept.label(prediction_id="p2")


def test_what_is_no_longer_remembered_is_found_and_what_was_not_stored_is_remembered(tmp_path):
    kept = Kept(f"sqlite:///{tmp_path / 'records.db'}", remembered=2)
    for i in range(4):
        kept.predict(f"p{i}", f"r{i}", stored=i != 3)
    assert all(kept.label(request_id=f"r{i}") for i in (0, 2, 3)) and kept.label(prediction_id="p1")
    assert len(kept.feedback._recent) == 2
    kept.records.close()


@pytest.mark.parametrize("restarted", [False, True], ids=["", "after a restart"])
def test_of_several_images_each_has_a_place_and_the_request_id_alone_names_none(kept, restarted):
    for i in range(3):
        kept.predict(f"p{i}", of_several("r", i))
    if restarted:
        kept.forget()
    with pytest.raises(Shared):
        kept.label(request_id="r")
    assert kept.label(request_id="r:1") and kept.label(prediction_id="p0") and kept.label(request_id="r:2")
    with pytest.raises(KeyError):
        kept.label(request_id="r:0")


def test_while_the_database_is_away_what_is_remembered_is_all_there_is(unavailable):
    kept = unavailable.predict("p1", "r1").predict("p2", "r2").predict("p3", "r2")
    assert kept.label(request_id="r1") and kept.label(prediction_id="p2")
    with pytest.raises(Shared):
        kept.label(request_id="r2")
    for unknown in ({"prediction_id": "p4"}, {"request_id": "r3"}):
        with pytest.raises(Unavailable):
            kept.label(**unknown)


def test_memory_is_bounded_whatever_ids_clients_choose():
    feedback = Feedback(remembered=50)
    for i in range(1000):
        feedback.remember(f"p{i}", "always the same" if i % 3 else f"r{i}", 1, "1.0.0", 0.9)
    assert len(feedback._recent) == 50
