from dataclasses import replace

import numpy as np
import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, history, rows, table
from joins import N, joined, killed, lines, load, signal, spans

from harness.checks import Audited, Logged, Stored
from harness.checks.joined import kills
from harness.eventlog import Event
from harness.history import SLOW_CLIENT

MAPS = ("time", "trace_id", "label", "confidence")
LOGGED = Logged(1.0, 0.0, MAPS, ("NORMAL", "PNEUMONIA"), (("msg", ("done",)),), refused=False)
AUDITED = Audited(1.0, 0.0, ("time",), refused=False)
STORED = Stored(1.0, 0.0, ("label", "probability"), ("NORMAL", "PNEUMONIA"), refused=False)
ALL = lines(load())
BROKEN = [e._replace(detail=e.detail | {"component": "server"}) for e in fault("crash", 24, 26, "file")]
CUT = {"replica": "server", "code": 1, "said": "cut"}


def without(*places: slice) -> np.ndarray:
    kept = np.ones(N, bool)
    for place in places:
        kept[place] = False
    return ALL[kept]


def changed(place: slice = slice(3, 5), **values) -> np.ndarray:
    made = ALL.copy()
    for name, value in values.items():
        made[name][place] = value
    return made


def refused(status: int = 401) -> np.ndarray:
    made = load()
    made["status"][:3], made["outcome"][:3], made["predicted"][:3], made["probability"][:3] = status, 1, -1, np.nan
    return made


def read_later(place: slice) -> np.ndarray:
    """The load, some of whose answers slow clients read for four seconds."""
    made = load()
    made["step"][place] |= SLOW_CLIENT
    made["done"][place] += 4
    return made


def twice() -> np.ndarray:
    return np.concatenate([ALL, ALL[400:403]])


def moved(at: float, kind: str = "truncated", outcome: str = "unknown", signal: str = "log") -> Event:
    return Event(at, "watch", kind, outcome, detail={"signal": signal, "file": "/var/log/x"})


STRANGE = changed(slice(9, 11), request_id=b"deadbeef")
CASES = [
    ("each has one", LOGGED, joined("log", ALL), PASS, "600 of 600 answers left one (100 %, bound 100 %), once"),
    (
        "some are missing",
        LOGGED,
        joined("log", without(slice(10, 12), slice(500, 501))),
        FAIL,
        "3 of 600 answers left none (bound 0): 2 in steady and 1 in crash, as request 0000",
    ),
    (
        "times of another clock while its fault makes them so",
        replace(LOGGED, untimed=("crash",)),
        joined("log", changed(slice(470, 535), at=ALL["at"][470:535] + 120), None, *BROKEN),
        PASS,
        "600 of 600 answers left one",
    ),
    (
        "times of another clock in that experiment, but before its fault",
        replace(LOGGED, untimed=("crash",)),
        joined("log", changed(slice(440, 535), at=ALL["at"][440:535] + 120), None, *BROKEN),
        FAIL,
        "18 say a time that is not its request's: 18 in crash",
    ),
    (
        "times of another clock where no fault made them so",
        replace(LOGGED, untimed=("crash",)),
        joined("log", changed(slice(470, 535), at=ALL["at"][470:535] + 120)),
        FAIL,
        "65 say a time that is not its request's: 65 in crash",
    ),
    (
        "times of another zone",  # before the run, but of its requests
        LOGGED,
        joined("log", changed(slice(0, N), at=ALL["at"] - 5 * 3600)),
        FAIL,
        "600 say a time that is not its request's: 400 in steady and 200 in crash, as request 0000",
    ),
    (
        "several a request, and none is named",
        Logged(1.0, 0.0, ()),
        joined("log", np.concatenate([ALL, ALL])),
        INCONCLUSIVE,
        "600 of 600 answers left 2 log lines each, as request 0000",
    ),
    ("the named one twice", LOGGED, joined("log", np.concatenate([ALL, ALL])), FAIL, "600 too many, for 600 requests"),
    (
        "refusals that leave one as well",
        Logged(1.0, 0.0, (), also=("401",)),
        joined("log", without(slice(1, 3)), refused()),
        FAIL,
        "2 of 600 answers left none (bound 0; each has status 401): 2 in steady",
    ),
    (
        "a bound on what may be missing",
        Logged(1.0, 0.01, MAPS),
        joined("log", without(slice(10, 16))),
        PASS,
        "594 of 600 answers left one (99 %, bound 99 %)",
    ),
    (
        "and more than that",
        Logged(1.0, 0.01, MAPS),
        joined("log", without(slice(10, 17))),
        FAIL,
        "7 of 600 answers left none (bound 1 %)",
    ),
    (
        "what a kill took with it",  # done within [24, 25.5]
        LOGGED,
        joined("log", without(slice(490, 500)), None, killed(25)),
        PASS,
        "10 of the 31 answered within 1 s before a kill are lost (allowed)",
    ),
    (
        "what a slow client read after the kill",
        LOGGED,
        joined("log", without(slice(490, 500)), read_later(slice(490, 500)), killed(25)),
        PASS,
        "10 of the 31 answered within 1 s before a kill are lost (allowed)",
    ),
    (
        "what was written before that",
        LOGGED,
        joined("log", without(slice(470, 500)), None, killed(25)),
        FAIL,
        "8 of 569 answers left none (bound 0): 8 in crash",
    ),
    (
        "a process that was asked to end takes nothing with it",
        LOGGED,
        joined("log", without(slice(490, 500)), None, killed(25, code=0)),
        FAIL,
        "10 of 600 answers left none",
    ),
    ("some twice", LOGGED, joined("log", twice()), FAIL, "3 too many, for 3 requests: 3 in crash"),
    ("of nobody", LOGGED, joined("log", STRANGE), FAIL, "2 are of requests that nobody sent, as deadbeef"),
    (
        "of a generator that was cut off",
        LOGGED,
        joined(
            "log", np.concatenate([ALL, STRANGE[9:11]]), None, Event(1, "load", "started", detail={"generator": "x"})
        ),
        PASS,
        "2 are of requests that nobody sent, as deadbeef, but the generator x does not account for all that it sent",
    ),
    (
        "another class",
        LOGGED,
        joined("log", changed(slice(4, 5), label=1)),
        FAIL,
        "1 say another class: 1 in steady, as request 0000000000000000000000000000001d (PNEUMONIA for NORMAL)",
    ),
    ("no class", LOGGED, joined("log", changed(label=-1)), FAIL, "2 say another class"),
    (
        "another confidence",
        LOGGED,
        joined("log", changed(slice(3, 4), confidence=0.5)),
        FAIL,
        "1 say another confidence: 1 in steady, as request 00000000000000000000000000000016 (0.5 for 0.9)",
    ),
    ("rounded", LOGGED, joined("log", changed(confidence=ALL["confidence"][3:5] + 0.0005)), PASS, "600 of 600"),
    (
        "an hour off",
        LOGGED,
        joined("log", changed(slice(0, N), at=ALL["at"] + 3600)),
        FAIL,
        "600 say a time that is not its request's",
    ),
    ("of a refused one", LOGGED, joined("log", ALL, refused()), FAIL, "3 say a success for a request that was refused"),
    ("of one that came too late", LOGGED, joined("log", ALL, refused(504)), PASS, "597 of 597"),
    (
        "refused ones leave lines, too",
        Logged(1.0, 0.0, ("status",)),
        joined("log", lines(refused()), refused()),
        PASS,
        "597 of 597",
    ),
    (
        "with the wrong status",
        Logged(1.0, 0.0, ("status",)),
        joined("log", ALL, refused()),
        FAIL,
        "3 say another status: 3 in steady, as request 00000000000000000000000000000001 (200 for 401)",
    ),
    (
        "nothing logged of requests",
        LOGGED,
        joined("log", ALL[:0], counts={"JSON": 9}, values={"msg": ["started"]}),
        FAIL,
        "600 of 600 answers left none (bound 0): 400 in steady and 200 in crash, as request "
        "00000000000000000000000000000001; no line has msg done, but started",
    ),
    (
        "no such field",
        LOGGED,
        joined("log", ALL[:0], counts={"JSON": 9}, values={"msg": []}),
        INCONCLUSIVE,
        "no line in signals/x.jsonl that could be of a request has msg; they have id and msg",
    ),
    (
        "no id in any",
        LOGGED,
        joined("log", ALL[:0], lacking={"request_id": 9}),
        INCONCLUSIVE,
        "not one of 9 lines in signals/x.jsonl has what telemetry.logs.request_id names; they have id and msg",
    ),
    (
        "no class in any",
        LOGGED,
        joined("log", changed(slice(0, N), label=-1), lacking={"label": N}),
        INCONCLUSIVE,
        "has what telemetry.logs.label names",
    ),
    (
        "no JSON",
        LOGGED,
        joined("log", ALL[:0], counts={"no JSON": 7}),
        INCONCLUSIVE,
        "signals/x.jsonl holds no line of JSON; it holds 7 no JSON",
    ),
    ("an empty file", LOGGED, joined("log", ALL[:0], counts={}), INCONCLUSIVE, "it holds nothing at all"),
    (
        "some lines that are none",
        LOGGED,
        joined("log", ALL, counts={"JSON": N, "no JSON": 7, "too long": 1}),
        PASS,
        "8 lines beside 600 of JSON could not be read, 1 of them too long",
    ),
    (
        "no file",
        LOGGED,
        joined("log", ALL[:0], problem="logs/x.log: there was no such file"),
        INCONCLUSIVE,
        "log lines could not be read: logs/x.log: there was no such file",
    ),
    (
        "truncated meanwhile",
        LOGGED,
        joined("log", without(slice(10, 12)), None, moved(12)),
        INCONCLUSIVE,
        "/var/log/x was truncated meanwhile, so what is missing proves nothing: 2 of 600",
    ),
    ("and nothing lost", LOGGED, joined("log", ALL, None, moved(12)), PASS, "600 of 600"),
    ("another file was", LOGGED, joined("log", without(slice(1)), None, moved(1, signal="audit")), FAIL, "1 of 600"),
    (
        "rotated meanwhile",
        LOGGED,
        joined("log", ALL, None, moved(12, "rotated", "ok")),
        PASS,
        "rotated 1 time meanwhile, and followed",
    ),
    ("nothing kept of it", LOGGED, history(rows={"load": load()}), INCONCLUSIVE, "the run does not hold log lines"),
    (
        "none with a class",
        LOGGED,
        joined("log", ALL[:0], rows(9, status_401=9)),
        PASS,
        "none of 9 requests was answered with status 2xx and a class: nothing to judge",
    ),
    ("no request", LOGGED, history(signals={"log": signal(ALL)}), INCONCLUSIVE, "no request is recorded"),
    ("audit: each", AUDITED, joined("audit", ALL), PASS, "600 of 600 answers left one"),
    ("audit: none", AUDITED, joined("audit", without(slice(9))), FAIL, "9 of 600 answers left none"),
    (
        "audit: no file",
        AUDITED,
        joined("audit", ALL[:0], problem="x: gone"),
        INCONCLUSIVE,
        "could not be read: x: gone",
    ),
    (
        "a log that nobody verified, although there is a command",
        replace(AUDITED, verify=True),
        joined("audit", ALL),
        INCONCLUSIVE,
        "the run does not hold what the command of telemetry.audit.verify said",
    ),
    (
        "audit: whole",
        AUDITED,
        joined("audit", ALL, verified=[{"replica": "server", "code": 0, "said": "600 records, whole"}]),
        PASS,
        "once and with what was answered; verified, server: 600 records, whole",
    ),
    (
        "audit: broken",
        AUDITED,
        joined("audit", ALL, verified=[{"replica": "server", "code": 1, "said": "x:7: changed\n600 records, broken"}]),
        FAIL,
        "the log is not known to be whole (exit code 1); 600 of 600",
    ),
    (
        "audit: unclear",
        AUDITED,
        joined("audit", ALL, verified=[{"replica": "server", "code": 3, "said": "unclear"}]),
        INCONCLUSIVE,
        "the log is not known to be whole (exit code 3)",
    ),
    (
        "audit: broken by a fault that may",
        replace(AUDITED, lossy=("crash",)),
        joined("audit", ALL, None, *BROKEN, verified=[CUT]),
        PASS,
        "verified, server: cut; not whole, as the fault of crash may leave it",
    ),
    (
        "audit: broken, and the fault that may break it did not begin",
        replace(AUDITED, lossy=("crash",)),
        joined("audit", ALL, verified=[CUT]),
        FAIL,
        "the log is not known to be whole (exit code 1)",
    ),
    (
        "audit: broken, and what may break it broke nothing",
        replace(AUDITED, lossy=("crash",)),
        joined("audit", ALL, None, fault("crash", 24, 26, sham=True), verified=[CUT]),
        FAIL,
        "the log is not known to be whole (exit code 1)",
    ),
    (
        "audit: another replica's is broken",
        replace(AUDITED, lossy=("crash",)),
        joined("audit", ALL, None, *BROKEN, verified=[CUT, {**CUT, "replica": "server-2"}]),
        FAIL,
        "the log is not known to be whole (exit code 1)",
    ),
    (
        "audit: another experiment's fault broke it",
        replace(AUDITED, lossy=("crash",)),
        joined("audit", ALL, None, fault("steady", 4, 6, process="server"), verified=[CUT]),
        FAIL,
        "the log is not known to be whole (exit code 1)",
    ),
    ("database: each", STORED, joined("record", ALL), PASS, "600 of 600 answers left one"),
    ("database: an empty table", STORED, joined("record", ALL[:0]), FAIL, "600 of 600 answers left none"),
    ("database: wrong", STORED, joined("record", changed(probability=0.4)), FAIL, "2 say another probability"),
    ("database: locked", STORED, joined("record", ALL[:0], problem="x.db: locked"), INCONCLUSIVE, "x.db: locked"),
]


# 20 answers a second; in crash, from 20 s to 30 s, a fault is on from 24 s to 26 s; may_lose.within is a second
LOSSES = {
    "none": ([], PASS, "518 of 518 answers left one (100 %, bound 100 %), once and with what was answered; 82 answers"),
    "while it is on": ([slice(480, 520)], PASS, "82 answers during the fault of crash need not have left one"),
    "just before it": ([slice(464, 480)], PASS, "82 answers during the fault"),
    "just after it": ([slice(520, 535)], PASS, "82 answers during the fault"),
    "in its phase long before it": ([slice(410, 420)], FAIL, "10 of 518 answers left none (bound 0): 10 in crash"),
    "in its phase long after it": ([slice(560, 564)], FAIL, "4 of 518 answers left none (bound 0): 4 in crash"),
    "in another phase": ([slice(10, 12), slice(490, 510)], FAIL, "2 of 518 answers left none (bound 0): 2 in steady"),
}


@pytest.mark.parametrize(("places", "verdict", "says"), LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize(("check", "kind"), [(LOGGED, "log"), (AUDITED, "audit"), (STORED, "record")])
def test_a_fault_excuses_what_was_lost_while_it_was_on(check, kind, places, verdict, says):
    record = joined(kind, without(*places), None, *BROKEN)
    expect(replace(check, lossy=("crash",)), record, verdict, says)
    if places:
        expect(check, record, FAIL, "left none (bound 0)")  # without a word of it in the contract


NOT_EXCUSED = {
    "no fault began": [],
    "only a sham": [fault("crash", 24, 26, sham=True)],
    "it was another experiment's": [fault("other", 24, 26)],
}


@pytest.mark.parametrize("events", NOT_EXCUSED.values(), ids=NOT_EXCUSED)
def test_nothing_is_excused_by_a_fault_that_was_not(events):
    record = joined("log", without(slice(480, 520)), None, *events)
    expect(replace(LOGGED, lossy=("crash",)), record, FAIL, "40 of 600 answers left none")


def test_what_says_something_else_is_wrong_also_during_the_fault():
    record = joined("log", changed(slice(490, 492), label=1), None, *BROKEN)
    expect(replace(LOGGED, lossy=("crash",)), record, FAIL, "say another class: 1 in crash")


@table(CASES)
def test_a_line_for_each_answer(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_the_trace_of_a_line_is_that_of_the_span():
    other = changed(trace=(5, 5))
    record = joined("log", other)
    found, links = spans(load())
    record = history(*record.events[1:], rows=record.rows, signals={**record.signals, "span": signal(found, links)})
    expect(LOGGED, record, FAIL, "2 say another trace than its span's: 2 in steady")


def test_a_failure_shows_rows_and_lines():
    result = expect(LOGGED, joined("log", without(slice(10, 12))), FAIL, "left none")
    assert [(r.kind, r.key) for r in result.evidence[:2]] == [("row", f"{71:032x}"), ("log", f"{71:032x}")]
    assert (result.measured, result.bound, result.unit) == (598 / 600, 1.0, "share")


def test_several_inputs_of_one_request_leave_a_line_each():
    made = np.concatenate([ALL, ALL[:1]])
    made["part"][0], made["part"][-1], made["label"][-1] = 1, 2, 1
    expect(LOGGED, joined("log", made), PASS, "600 of 600")


def test_what_a_table_held_before_the_run_is_not_judged():
    older = changed(slice(9, 11), request_id=b"older", at=-5000)
    strange = changed(slice(9, 11), request_id=b"nobody", at=np.nan)
    bound = Stored(1.0, 0.01, ("label",), fresh=False)
    expect(bound, joined("record", older), PASS, "598 of 600")
    expect(bound, joined("record", strange), PASS, "598 of 600")
    expect(STORED, joined("record", strange), FAIL, "nobody sent")


@pytest.mark.parametrize("code", [-9, -11])
def test_a_hang_that_is_ended_by_force_lasts_from_the_fault_on(code):
    restart = Event(34.0, "probe", "restart", detail={"process": "server", "cause": "liveness", "code": code})
    pause = Event(25.0, "fault", "pause", detail={"edge": "start", "component": "server", "experiment": "hang"})
    sham = Event(20.0, "fault", "sham", detail={"edge": "start", "component": "server", "sham": True})
    (kill,) = kills(history(pause, sham, restart))
    assert (kill.component, kill.start, kill.end) == ("server", 25.0, 34.0)
