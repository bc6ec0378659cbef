"""The queue between requests and the threads that write."""

from model_server.telemetry.outbox import Outbox


def test_what_comes_while_the_last_batch_is_written_waits_for_the_next_look():
    outbox, seen = Outbox(100), []
    for i in range(25):
        outbox.put(i)
    for batch in outbox.batches(10):
        seen.append(batch)
        outbox.put("late")
    assert [len(batch) for batch in seen] == [10, 10, 7] and len(outbox) == 1
    assert list(outbox.batches(10)) == [["late"]] and list(outbox.batches(10)) == []


def test_beyond_its_bound_nothing_is_taken():
    outbox = Outbox(2)
    assert [outbox.put(i) for i in range(3)] == [True, True, False] and outbox.take(5) == [0, 1]
