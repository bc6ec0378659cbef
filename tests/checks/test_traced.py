from dataclasses import replace

import numpy as np
import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, history, table
from joins import BATCH, N, joined, killed, load, spans

from harness.checks import Traced
from harness.eventlog import Event
from harness.history import History, Outcome

MAPS = ("status", "label", "confidence")
TRACED = Traced(1.0, 0.0, MAPS, ("model_inference",), "batch")
ALL, LINKS = spans(load())
LATER = np.r_[400:N, N + 400 : 2 * N]  # of the requests of `crash`
SKEWED = np.r_[470:535, N + 470 : N + 535]  # of those around its fault
BROKEN = [e._replace(detail=e.detail | {"component": "server"}) for e in fault("crash", 24, 26, "file")]


def run(found=ALL, *events, links=LINKS, made=None, **about):
    return joined("span", found, made, *events, links=links, **about)


def load_ended(**said) -> Event:
    return Event(50, "load", "finished", detail=said)


def without(*positions) -> np.ndarray:
    return np.delete(ALL, positions)


def changed(position, **values) -> np.ndarray:
    made = ALL.copy()
    for name, value in values.items():
        made[name][position] = value
    return made


def halves(**values) -> np.ndarray:
    return changed(slice(0, N, 2), **values)


def shed() -> np.ndarray:
    """The load, its fourth request refused."""
    made = load()
    made["status"][3], made["outcome"][3], made["predicted"][3] = 503, Outcome.REFUSED_BY_SERVICE, -1
    return made


def sent_again(*messages) -> np.ndarray:
    """All, and after them messages that bring some once more."""
    made = [ALL.copy(), *(message.copy() for message in messages)]
    for place, message in enumerate(made):
        message["place"] = 1000 * place
    return np.concatenate(made)


LOST = np.delete(ALL, [*range(490, 500), *range(N + 490, N + 500)])  # of requests 490 to 499 the whole traces
WITHOUT_ROOTS = changed(slice(N + 490, N + 500), began=ALL["began"][490] - 4, ended=ALL["began"][490] - 3)
WITHOUT_ROOTS = np.delete(WITHOUT_ROOTS, range(490, 500))  # of requests 490 to 499 only what was done for them first
SLOW = load()
SLOW["sent"][490:500] -= 5
BY_ITSELF = Traced(1.0, 0.0, MAPS)  # no span is named that must be within its parent
OTHER = ALL[5:6].copy()
OTHER["ended"] += 0.001
MORE = np.concatenate([ALL, ALL[5:6]])
TWO_TRACES = np.concatenate([ALL, ALL[5:6]])
TWO_TRACES["trace"][-1] = (77, 77)
TWO_ROOTS = np.concatenate([ALL, ALL[5:6]])
TWO_ROOTS["span"][-1], TWO_ROOTS["request_id"][-1] = 99, b""
ODD = (LINKS["to_span"] % 2) == 1

CASES = [
    ("all whole", TRACED, run(), PASS, "600 of 600 answers have their span (100 %, bound 100 %), of 1,500 spans"),
    ("none of two", TRACED, run(without(3, 4, N + 3, N + 4)), FAIL, "2 of 600 answers left no span (bound 0): 2 in"),
    (
        "a kill took them",
        TRACED,
        run(LOST, killed(25)),
        PASS,
        "10 of the 31 answered within 1 s before a kill are lost",
    ),
    (
        "a kill took their roots",
        TRACED,
        run(WITHOUT_ROOTS, killed(25), made=SLOW),
        PASS,
        "10 of the 31 answered within",
    ),
    (
        "no request took so long",
        TRACED,
        run(WITHOUT_ROOTS, killed(25)),
        FAIL,
        "10 spans outside the traces of requests",
    ),
    ("no kill took their roots", TRACED, run(WITHOUT_ROOTS, made=SLOW), FAIL, "10 of 600 answers left no span"),
    ("no kill took them", TRACED, run(LOST), FAIL, "10 of 600 answers left no span"),
    ("no parent", TRACED, run(changed(N + 5, parent=42)), FAIL, "1 request has a span whose parent never came"),
    ("a root is lost", TRACED, run(without(3)), FAIL, "1 span outside the traces of requests whose parent never"),
    ("a child is lost", TRACED, run(without(N + 3)), FAIL, "1 answered request has no span model_inference"),
    (
        "twice in one message",
        TRACED,
        run(MORE),
        FAIL,
        "1 request has two spans with one id: 1 in steady, as request 0000",
    ),
    ("sent again", TRACED, run(sent_again(ALL[5:6])), INCONCLUSIVE, "1 span came again in a later message, in nothing"),
    (
        "all sent again, with their links",
        TRACED,
        run(sent_again(ALL), links=np.concatenate([LINKS, LINKS])),
        INCONCLUSIVE,
        "whether each span was sent once cannot be said: 600 of 600 answers have their span",
    ),
    ("sent three times", TRACED, run(sent_again(ALL[5:6], ALL[5:6])), INCONCLUSIVE, "2 spans came again in a later"),
    ("its id again, and other", TRACED, run(sent_again(OTHER)), FAIL, "1 request has two spans with one id"),
    (
        "sent again, and a fault beside",
        TRACED,
        run(np.delete(sent_again(ALL[5:6]), [3, N + 3]), links=LINKS),
        FAIL,
        "1 of 600 answers left no span (bound 0): 1 in steady",
    ),
    ("in two traces", TRACED, run(TWO_TRACES), FAIL, "1 request is in more than one trace"),
    ("two roots", TRACED, run(TWO_ROOTS), FAIL, "1 request has more than one span without a parent in their trace"),
    ("its client's parent", TRACED, run(changed(5, parent=42)), PASS, "600 of 600"),
    ("its client's parent", TRACED, run(changed(5, parent=42), load_ended(traces=1)), PASS, "600 of 600"),
    (
        "a parent, and no client said one",
        TRACED,
        run(changed(5, parent=42), load_ended(traces=0)),
        FAIL,
        "1 request has a span whose parent never came",
    ),
    ("backwards", TRACED, run(changed(N + 5, ended=0)), FAIL, "1 request has a span that ends before it begins"),
    (
        "out of its parent",
        TRACED,
        run(changed(N + 5, ended=ALL["ended"][5] + 0.1)),
        FAIL,
        "1 request has a span that is not within its parent",
    ),
    ("in the background", BY_ITSELF, run(changed(N + 5, ended=ALL["ended"][5] + 9)), PASS, "600 of 600"),
    ("before its parent", BY_ITSELF, run(changed(N + 5, began=ALL["began"][5] - 1)), FAIL, "not within its parent"),
    (
        "longer than waited",
        TRACED,
        run(halves(ended=ALL["ended"][0:N:2] + 0.1)),
        FAIL,
        "300 requests have a span that is longer than their client waited (by 50 ms, bound 1 % of them)",
    ),
    ("few are longer", TRACED, run(changed(slice(5), ended=ALL["ended"][:5] + 0.1)), PASS, "600 of 600"),
    (
        "another clock",
        TRACED,
        run(changed(slice(2 * N), began=ALL["began"][: 2 * N] + 7, ended=ALL["ended"][: 2 * N] + 7)),
        FAIL,
        "600 requests have a span that began when they were not under way (by +7 s)",
    ),
    (
        "another clock, in an experiment whose fault makes it so",
        replace(TRACED, untimed=("crash",)),
        run(changed(SKEWED, began=ALL["began"][SKEWED] + 7, ended=ALL["ended"][SKEWED] + 7), *BROKEN),
        PASS,
        "600 of 600",
    ),
    (
        "another clock in that experiment, but before its fault",
        replace(TRACED, untimed=("crash",)),
        run(changed(LATER, began=ALL["began"][LATER] + 7, ended=ALL["ended"][LATER] + 7), *BROKEN),
        FAIL,
        "began when they were not under way",
    ),
    (
        "another clock where no fault made it so",
        replace(TRACED, untimed=("crash",)),
        run(changed(SKEWED, began=ALL["began"][SKEWED] + 7, ended=ALL["ended"][SKEWED] + 7)),
        FAIL,
        "began when they were not under way",
    ),
    ("no batch", TRACED, run(links=LINKS[ODD]), FAIL, "300 answered requests are linked from no batch"),
    (
        "no batch at all",
        TRACED,
        run(without(*range(2 * N, len(ALL)))),
        FAIL,
        "600 answered requests are linked from no",
    ),
    ("batches twice", TRACED, run(links=np.repeat(LINKS, 2)), FAIL, "600 answered requests are linked from more than"),
    ("another status", TRACED, run(changed(5, status=500)), FAIL, "1 span says another status: 1 in steady"),
    ("another class", TRACED, run(changed(5, label=0)), FAIL, "1 span says another class"),
    ("failed", TRACED, run(changed(5, failed=1)), FAIL, "1 answered request has a span that says it failed"),
    ("refused without one", TRACED, run(without(3, N + 3), made=shed()), PASS, "599 of 599 answers have their span"),
    (
        "refused, and traced as well",
        Traced(1.0, 0.0, MAPS, also=("5xx",)),
        run(without(3, N + 3), made=shed()),
        FAIL,
        "1 of 600 answers left no span (bound 0; each has status 503): 1 in steady, as request",
    ),
    ("of nobody", TRACED, run(changed(5, request_id=b"x")), FAIL, "1 span for requests that nobody sent, as x"),
    ("without an id", TRACED, run(counts={"without an id": 2}), FAIL, "2 spans have no valid id of a trace or span"),
    (
        "refused",
        TRACED,
        run(counts={"refused": 2}, refused=["400: no"]),
        FAIL,
        "2 messages had to be refused, the first",
    ),
    (
        "no span",
        TRACED,
        run(ALL[:0], refused=["404: no"]),
        INCONCLUSIVE,
        "not one span came; what came was refused with",
    ),
    (
        "no attribute",
        TRACED,
        run(changed(slice(N), request_id=b"")),
        INCONCLUSIVE,
        "not one of 1,500 spans has the attribute request.id; they have id and msg",
    ),
    ("no class in any", TRACED, run(lacking={"label": N}), INCONCLUSIVE, "has what telemetry.traces.label names"),
    ("nothing kept", TRACED, history(rows={"load": load()}), INCONCLUSIVE, "the run does not hold spans"),
]


@table(CASES)
def test_a_trace_for_each_answer(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_batches_are_not_judged_unless_they_are_named():
    assert (ALL["name"] == BATCH).any()
    expect(Traced(1.0, 0.0, MAPS), run(without(*range(2 * N, len(ALL)))), PASS, "600 of 600")


def test_what_came_twice_is_not_called_another_span():
    result = expect(TRACED, run(np.concatenate([ALL, ALL])), FAIL, "600 requests have two spans with one id")
    assert result.reason.startswith("600 requests have two spans with one id"), result.reason


def untaken(*requests: range, **about) -> History:
    """From 24 s to 26 s a fault is done to the receiver of spans, and those of some requests are missing."""
    gone = [i for some in requests for i in some]
    broken = [e._replace(detail=e.detail | {"component": "collector"} | about) for e in fault("crash", 24, 26)]
    return run(np.delete(ALL, gone + [N + i for i in gone]), *broken)


UNTAKEN = {  # 20 answers a second; what was sent is taken within 2.5 s
    "while nobody took them": ([range(485, 515)], {}, PASS, "lost (allowed)"),
    "just before": ([range(440, 450)], {}, PASS, "lost (allowed)"),
    "long before": ([range(400, 410)], {}, FAIL, "10 of 509 answers left no span"),
    "after it": ([range(540, 550)], {}, FAIL, "10 of 509 answers left no span"),
    "and the receiver was well": ([range(485, 515)], {"sham": True}, FAIL, "30 of 600 answers left no span"),
    "and another component was not": ([range(485, 515)], {"component": "database"}, FAIL, "30 of 600 answers left no"),
    "by the way there": (
        [range(485, 515)],
        {"component": None, "params": {"link": "collector"}},
        PASS,
        "lost (allowed)",
    ),
    "by another way": (
        [range(485, 515)],
        {"component": None, "params": {"link": "clients"}},
        FAIL,
        "30 of 600 answers",
    ),
}


@pytest.mark.parametrize(("gone", "about", "verdict", "says"), UNTAKEN.values(), ids=UNTAKEN)
def test_spans_that_nobody_could_take_are_excused_and_no_others(gone, about, verdict, says):
    expect(TRACED, untaken(*gone, **about), verdict, says)
