"""The queue between requests and the threads that write."""

from model_server.telemetry.outbox import LOOK_IN_S, LOSS_WINDOW_S, Outbox


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
    assert outbox.oldest() is None and [outbox.put(i) for i in range(3)] == [True, True, False]
    assert outbox.oldest() == 0 and outbox.take(5) == [0, 1] and outbox.oldest() is None


def test_a_look_takes_half_of_what_may_be_lost_so_that_a_write_has_the_other():
    assert LOSS_WINDOW_S == 2 * LOOK_IN_S == 0.1
