"""Edits of a stored run of a good gate: what its files would hold, had a part of the harness, or the service, failed.

Each is a function of the folder; the run is sealed again after it, unless the edit says that it is not: what is judged
is then whether the checks see it, not whether the seal does.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.history import ROW, Outcome

CRASH, OVERLOAD = "server-crash", "overload"  # the experiments of the run
AT, SOURCE, NAME, ENDED, TOOK, DETAIL = range(6)  # of an event


class Record:
    """The files of a run, some of which are links to those of another: whatever is written is a new file."""

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, name: str, content: bytes) -> None:
        scratch = self.folder / f"{name}.scratch"
        scratch.write_bytes(content)
        scratch.replace(self.folder / name)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()

    def lines(self, name: str) -> list[Any]:
        return [json.loads(line) for line in self._text(name).splitlines()]

    def write_lines(self, name: str, lines: list[Any]) -> None:
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        self.write(name, gzip.compress(content, 1) if name.endswith(".gz") else content)

    def _text(self, name: str) -> str:
        content = (self.folder / name).read_bytes()
        return (gzip.decompress(content) if name.endswith(".gz") else content).decode()

    def rows(self, generator: str = "load") -> np.ndarray:
        return np.fromfile(self.folder / f"requests-{generator}.rows", ROW)

    def write_rows(self, rows: np.ndarray, generator: str = "load") -> None:
        self.write(f"requests-{generator}.rows", rows.tobytes())

    def phase(self, name: str) -> tuple[float, float]:
        """When a phase began and ended."""
        edges = {
            e[DETAIL]["edge"]: e[AT]
            for e in self.lines("events.jsonl")
            if e[SOURCE : NAME + 1] == ["run", "phase"] and e[DETAIL]["phase"] == name
        }
        return edges["begin"], edges["end"]

    def within(self, rows: np.ndarray, phase: str = "steady") -> np.ndarray:
        """Which rows belong to a phase."""
        begin, end = self.phase(phase)
        return (rows["intended"] >= begin) & (rows["intended"] < end)

    def change_events(self, change: Callable[[list[Any]], bool | None]) -> None:
        """Change each event in place; where it gives False the event is left out."""
        self.write_lines("events.jsonl", [e for e in self.lines("events.jsonl") if change(e) is not False])

    def change_samples(self, change: Callable[[dict[str, str], float, float], float | None]) -> None:
        """Change each sample of each series by (labels, at, value); None leaves it out."""
        found = []
        for labels, at, values in self.lines("samples.jsonl.gz"):
            kept = [(t, v) for t, v in zip(at, (change(labels, *p) for p in zip(at, values, strict=True)), strict=True)
                    if v is not None]  # fmt: skip
            if kept:
                found.append([labels, [t for t, _ in kept], [v for _, v in kept]])
        self.write_lines("samples.jsonl.gz", found)


@dataclass(frozen=True)
class Edit:
    """One edit."""

    apply: Callable[[Record], None]
    sealed_again: bool = True


EDITS: dict[str, Edit] = {}


def edit(function: Callable[[Record], None]) -> Callable[[Record], None]:
    EDITS[function.__name__.replace("_", "-")] = Edit(function)
    return function


def edit_of_sealed(function: Callable[[Record], None]) -> Callable[[Record], None]:
    EDITS[function.__name__.replace("_", "-")] = Edit(function, sealed_again=False)
    return function


def machine_of_its_own(record: Record) -> None:
    """A run is good on a machine that was busy, too, but there a FAIL would be no verdict: as in a gate with a defect,
    that others had the processors is no excuse here."""

    def allow(event: list[Any]) -> None:
        if event[SOURCE : NAME + 1] == ["run", "started"]:
            event[DETAIL] |= {"neighbours": 1.0, "starved_ms": 9000.0}

    record.change_events(allow)


def _some(n: int, share: float, seed: int = 1) -> np.ndarray:
    """Which of n, by chance but always the same."""
    return np.random.default_rng(seed).random(n) < share


# The generator


@edit
def rows_dropped(record: Record) -> None:
    rows = record.rows()
    record.write_rows(np.delete(rows, np.arange(20, len(rows), len(rows) // 5)))


@edit
def rows_twice(record: Record) -> None:
    rows = record.rows()
    rows[30]["seq"] = rows[31]["seq"]
    record.write_rows(rows)


@edit
def sent_late(record: Record) -> None:
    rows = record.rows()
    mine = record.within(rows)
    for field in ("sent", "first_byte", "done"):
        rows[field][mine] += 0.3
    record.write_rows(rows)


@edit
def rate_off(record: Record) -> None:
    rows = record.rows()
    mine = np.flatnonzero(record.within(rows))
    late = mine[-len(mine) // 8 :]
    begin, end = record.phase("steady")
    for field in ("sent", "first_byte", "done"):
        rows[field][late] += end - begin
    record.write_rows(rows)


@edit
def requests_unsent(record: Record) -> None:
    rows = record.rows()
    few = np.flatnonzero(record.within(rows))[10:14]
    rows["outcome"][few], rows["status"][few] = Outcome.UNSENT, 0
    rows["sent"][few] = rows["first_byte"][few] = np.nan
    record.write_rows(rows)


def _account(record: Record, generator: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a generator says of itself."""

    def changed(event: list[Any]) -> None:
        if event[SOURCE : NAME + 1] == ["load", "finished"] and event[DETAIL]["generator"] == generator:
            change(event[DETAIL])

    record.change_events(changed)


@edit
def counted_otherwise_by_locust(record: Record) -> None:
    _account(record, "load", lambda account: account.update(locust_requests=account["locust_requests"] - 12))


@edit
def generator_stalled(record: Record) -> None:
    begin, end = record.phase("steady")
    stalls = [[begin + share * (end - begin), 0.05 * (end - begin)] for share in (0.2, 0.4, 0.6)]
    _account(record, "load", lambda account: account.update(stalls=stalls))


@edit
def generator_busy(record: Record) -> None:
    begin, end = record.phase("steady")

    def busy(account: dict[str, Any]) -> None:
        within = [begin <= at and at - over <= end for at, over, _ in account["cpu"]]
        account["cpu"] = [
            [at, over, 0.98 * over if inside else used]
            for inside, (at, over, used) in zip(within, account["cpu"], strict=True)
        ]

    _account(record, "load", busy)


@edit
def generator_without_account(record: Record) -> None:
    _account(record, "load", lambda account: (account.pop("cpu"), account.pop("stalls")))


@edit
def worker_lost(record: Record) -> None:
    _account(record, "load", lambda account: account.update(workers=2, lost=["worker-2"]))


@edit
def generator_never_finished(record: Record) -> None:
    record.change_events(lambda e: e[SOURCE : NAME + 1] != ["load", "finished"] or e[DETAIL]["generator"] != "load")


@edit
def generator_clock_fast(record: Record) -> None:
    """Its seconds are 3 % short: all of its times, and its rate with them."""
    rows = record.rows()
    start = rows["intended"].min()
    for field in ("intended", "sent", "first_byte", "done"):
        rows[field] = start + (rows[field] - start) * 0.97
    record.write_rows(rows)

    def read(event: list[Any]) -> None:
        """What it read of its own clock, beside the monotonic one."""
        if event[1] == "load" and "clocks" in event[5]:
            wall, after, monotonic = event[5]["clocks"]
            event[5]["clocks"] = [start + (wall - start) * 0.97, after, monotonic]

    record.change_events(read)


# Prometheus and the alerts


def _gap(record: Record, phase: str, length_s: float) -> Callable[[float], bool]:
    begin, end = record.phase(phase)
    middle = (begin + end) / 2
    return lambda at: abs(at - middle) < length_s / 2


@edit
def scrapes_missing(record: Record) -> None:
    gap = _gap(record, "steady", 3)
    record.change_samples(lambda labels, at, value: None if gap(at) and labels["__name__"] != "ALERTS" else value)


@edit
def scrapes_missing_under_fault(record: Record) -> None:
    gap = _gap(record, OVERLOAD, 3)
    record.change_samples(lambda labels, at, value: None if gap(at) and labels["__name__"] != "ALERTS" else value)


@edit
def alerts_paused(record: Record) -> None:
    gap = _gap(record, "steady", 4)
    record.change_samples(lambda labels, at, value: None if gap(at) and labels["__name__"] == "ALERTS" else value)


@edit
def alerts_not_recorded(record: Record) -> None:
    record.change_samples(lambda labels, at, value: None if labels["__name__"] == "ALERTS" else value)


@edit
def alert_fires_in_steady_load(record: Record) -> None:
    begin, end = record.phase("steady")
    series = record.lines("samples.jsonl.gz")
    of = next(s for s in series if s[0]["__name__"] == "ALERTS" and s[0].get("alertname") == "Watchdog")
    labels = {
        "__name__": "ALERTS", "alertname": "QueueShedding", "alertstate": "firing", "severity": "medium",
        "job": of[0].get("job", "pneumonia-detector"), "service": "pneumonia-detector",
    }  # fmt: skip
    at = [t for t in of[1] if begin + 2 <= t <= end - 1]
    record.write_lines("samples.jsonl.gz", [*series, [labels, at, [1.0] * len(at)]])


@edit
def replay_failed(record: Record) -> None:
    replays = json.loads((record.folder / "replays.json").read_text())
    for alert, values in replays[OVERLOAD].items():
        problem = "overload could not be replayed: promtool was killed"
        replays[OVERLOAD][alert] = [None] * 5 + [False, [], False, None, problem][: len(values) - 5]
    record.write("replays.json", json.dumps(replays, indent=1).encode())


# Receivers


@edit
def notifications_lost(record: Record) -> None:
    record.write("notifications.jsonl", b"")


@edit
def resolved_not_sent(record: Record) -> None:
    record.write_lines("notifications.jsonl", [n for n in record.lines("notifications.jsonl") if n[3] != "resolved"])


@edit
def pager_refuses(record: Record) -> None:
    lines = record.lines("notifications.jsonl")
    for n in lines:
        if n[2] == "pagerduty":
            n[5] = ["severity 'urgent' is none of critical, error, warning and info"]
    record.write_lines("notifications.jsonl", lines)


@edit
def notified_late(record: Record) -> None:
    lines = record.lines("notifications.jsonl")
    begin, end = record.phase(CRASH)
    for n in lines:
        if n[2] == "pagerduty" and "ServiceDown" in n[4] and n[3] == "firing" and begin < n[0] < end:
            n[0] += 6.0
    record.write_lines("notifications.jsonl", sorted(lines, key=lambda n: n[0]))


@edit
def told_somebody_else(record: Record) -> None:
    lines = record.lines("notifications.jsonl")
    for n in lines:
        if "QueueShedding" in n[4]:
            n[1], n[2] = "default", "webhook"
    record.write_lines("notifications.jsonl", lines)


@edit
def text_with_template_error(record: Record) -> None:
    lines = record.lines("notifications.jsonl")
    for n in lines:
        if n[2] == "pagerduty":
            n[6] = n[6].replace("The service does not answer", "<error expanding template: function not defined>")
    record.write_lines("notifications.jsonl", lines)


# Faults and experiments


def _fault(record: Record, experiment: str, edge: str, change: Callable[[list[Any]], bool | None]) -> None:
    def changed(event: list[Any]) -> bool | None:
        detail = event[DETAIL]
        mine = event[SOURCE] == "fault" and detail.get("experiment") == experiment and detail.get("edge") == edge
        return change(event) if mine else None

    record.change_events(changed)


@edit
def fault_without_witness(record: Record) -> None:
    def unseen(event: list[Any]) -> None:
        event[ENDED], event[DETAIL]["evidence"] = "fail", "127.0.0.1 still accepts connections"

    _fault(record, CRASH, "witness", unseen)


@edit
def fault_witness_missing(record: Record) -> None:
    _fault(record, OVERLOAD, "witness", lambda event: False)


@edit
def fault_never_began(record: Record) -> None:
    def forget(event: list[Any]) -> bool:
        return event[SOURCE] != "fault" or event[DETAIL].get("experiment") != CRASH

    record.change_events(forget)


@edit
def fault_not_undone(record: Record) -> None:
    _fault(record, OVERLOAD, "stop", lambda event: False)


@edit
def fault_left_behind(record: Record) -> None:
    def left(event: list[Any]) -> None:
        if event[SOURCE : NAME + 1] == ["run", "ledger"] and event[DETAIL]["experiment"] == CRASH:
            event[DETAIL]["left"] = ["kill"]

    record.change_events(left)


def _journal(record: Record, experiment: str, change: Callable[[dict[str, Any]], None]) -> None:
    name = f"journals/{experiment}.json"
    journal = json.loads((record.folder / name).read_text())
    change(journal)
    record.write(name, json.dumps(journal).encode())


@edit
def experiment_interrupted(record: Record) -> None:
    _journal(record, OVERLOAD, lambda journal: journal.update(status="interrupted"))


@edit
def method_cut_off(record: Record) -> None:
    _journal(record, OVERLOAD, lambda journal: journal.update(run=journal["run"][:1]))


@edit
def baseline_not_met(record: Record) -> None:
    def unmet(journal: dict[str, Any]) -> None:
        before = journal["steady_states"]["before"]
        before["steady_state_met"], before["probes"][0]["tolerance_met"] = False, False

    _journal(record, CRASH, unmet)


@edit
def journal_missing(record: Record) -> None:
    record.remove(f"journals/{CRASH}.json")


# Probes


@edit
def restarted_in_overload(record: Record) -> None:
    begin, end = record.phase(OVERLOAD)
    detail = {"process": "server", "cause": "liveness", "code": -9, "backoff_s": 0.0, "restarts": 1}
    events = [*record.lines("events.jsonl"), [(begin + end) / 2, "probe", "restart", "ok", None, detail]]
    record.write_lines("events.jsonl", sorted(events, key=lambda e: e[AT]))


@edit
def probes_not_recorded(record: Record) -> None:
    begin, end = record.phase(OVERLOAD)
    record.write_lines("probes.jsonl", [p for p in record.lines("probes.jsonl") if not begin <= p[0] <= end])


# The evidence itself


@edit_of_sealed
def row_edited_after_sealing(record: Record) -> None:
    rows = record.rows()
    rows["done"] = rows["sent"] + 0.001
    record.write_rows(rows)


@edit_of_sealed
def bound_loosened_after_sealing(record: Record) -> None:
    text = (record.folder / "plan.yaml").read_text()
    record.write("plan.yaml", text.replace("500.0", "5000.0").replace("time_scale: 60.0", "time_scale: 6.0").encode())


@edit_of_sealed
def seal_removed(record: Record) -> None:
    record.remove("seal.json")


@edit_of_sealed
def seal_made_to_fit(record: Record) -> None:
    """A row file is exchanged and its digest in the seal with it, but not the digest of the list."""
    import hashlib

    rows = record.rows()
    rows["outcome"] = 0
    record.write_rows(rows)
    sealed = json.loads((record.folder / "seal.json").read_text())
    sealed["files"]["requests-load.rows"] = hashlib.sha256(rows.tobytes()).hexdigest()
    record.write("seal.json", json.dumps(sealed, indent=1).encode() + b"\n")


@edit_of_sealed
def log_removed_after_sealing(record: Record) -> None:
    record.remove("logs/server.log")


@edit
def cut_off(record: Record) -> None:
    """The run was killed in its last experiment."""
    _, end = record.phase(OVERLOAD)
    record.write_lines("events.jsonl", [e for e in record.lines("events.jsonl") if e[AT] < end - 1])


@edit
def probes_torn(record: Record) -> None:
    content = (record.folder / "probes.jsonl").read_bytes()
    record.write("probes.jsonl", content[: len(content) // 2])


@edit
def rows_torn(record: Record) -> None:
    content = (record.folder / "requests-load.rows").read_bytes()
    record.write("requests-load.rows", content[: -ROW.itemsize // 2])


@edit
def samples_removed(record: Record) -> None:
    record.remove("samples.jsonl.gz")


@edit
def answers_made_quicker(record: Record) -> None:
    rows = record.rows()
    for field in ("first_byte", "done"):
        rows[field] = rows["sent"] + (rows[field] - rows["sent"]) / 2
    record.write_rows(rows)


# What the service did, as its clients saw it


@edit
def one_class_in_ten_wrong(record: Record) -> None:
    rows = record.rows()
    wrong = _some(len(rows), 0.096) & (rows["predicted"] >= 0)
    rows["predicted"][wrong] = 1 - rows["predicted"][wrong]
    record.write_rows(rows)


@edit
def classes_wrong_under_overload(record: Record) -> None:
    rows = record.rows()
    wrong = record.within(rows, OVERLOAD) & _some(len(rows), 0.1) & (rows["predicted"] >= 0)
    rows["predicted"][wrong] = 1 - rows["predicted"][wrong]
    record.write_rows(rows)


@edit
def other_probabilities_after_restart(record: Record) -> None:
    rows = record.rows()
    begin, end = record.phase(CRASH)
    after = (rows["intended"] > (begin + end) / 2) & (rows["predicted"] >= 0)
    rows["probability"][after] = np.clip(rows["probability"][after] * 0.97, 0, 1)
    record.write_rows(rows)


@edit
def redirected_to_a_login(record: Record) -> None:
    rows = record.rows()
    some = record.within(rows) & _some(len(rows), 0.05)
    rows["outcome"][some], rows["status"][some], rows["predicted"][some] = Outcome.UNSERVED, 302, -1
    record.write_rows(rows)


@edit
def a_page_for_an_answer(record: Record) -> None:
    rows = record.rows()
    some = record.within(rows) & _some(len(rows), 0.05)
    rows["outcome"][some], rows["predicted"][some] = Outcome.UNSERVED, -1
    record.write_rows(rows)


@edit
def guessed_key_accepted(record: Record) -> None:
    """Some requests state the status that they expect, and got another one."""
    rows = record.rows()
    some = np.flatnonzero(record.within(rows))[5:9]
    rows["outcome"][some], rows["predicted"][some], rows["expected"][some] = Outcome.UNEXPECTED_STATUS, -1, -1
    record.write_rows(rows)


@edit
def answers_slow(record: Record) -> None:
    rows = record.rows()
    some = record.within(rows) & _some(len(rows), 0.2)
    rows["done"][some] += 0.8
    rows["first_byte"][some] += 0.8
    record.write_rows(rows)


@edit
def nothing_answered_for_two_seconds(record: Record) -> None:
    rows = record.rows()
    begin, end = record.phase("steady")
    until = (begin + end) / 2 + 1
    held = (rows["done"] > until - 2) & (rows["done"] < until)
    rows["first_byte"][held] = rows["done"][held] = until
    record.write_rows(rows)


@edit
def answers_5xx(record: Record) -> None:
    rows = record.rows()
    some = record.within(rows) & _some(len(rows), 0.08)
    rows["outcome"][some], rows["status"][some], rows["predicted"][some] = Outcome.REFUSED_BY_SERVICE, 500, -1
    record.write_rows(rows)


@edit
def connections_broken(record: Record) -> None:
    rows = record.rows()
    some = record.within(rows) & _some(len(rows), 0.08)
    rows["outcome"][some], rows["status"][some], rows["predicted"][some] = Outcome.BROKEN, 0, -1
    record.write_rows(rows)


@edit
def not_served_again(record: Record) -> None:
    """After the crash the service comes back only when the experiment is over."""
    rows = record.rows()
    begin, end = record.phase(CRASH)
    lost = (rows["intended"] > end - 0.25 * (end - begin)) & (rows["intended"] < end)
    rows["outcome"][lost], rows["status"][lost], rows["predicted"][lost] = Outcome.CONNECT_FAILED, 0, -1
    record.write_rows(rows)


def _growing(record: Record, field: int, by: float) -> None:
    """Let one field of what the processes took grow by so much in the steady load, and go on like that."""
    begin, end = record.phase("steady")
    lines = record.lines("resources.jsonl")
    for line in lines:
        line[field] += int(by * max(0.0, (line[0] - begin) / (end - begin)))
    record.write_lines("resources.jsonl", lines)


@edit
def memory_grows(record: Record) -> None:
    _growing(record, 6, 60e6)


@edit
def descriptors_grow(record: Record) -> None:
    _growing(record, 7, 300)


@edit
def threads_grow(record: Record) -> None:
    _growing(record, 9, 60)


@edit
def scrapes_slow(record: Record) -> None:
    record.change_samples(
        lambda labels, at, value: 0.9 * 15 if labels["__name__"] == "scrape_duration_seconds" else value
    )


@edit
def requests_counted_short(record: Record) -> None:
    """The service's counter of good answers misses one in ten."""

    def short(labels: dict[str, str], at: float, value: float) -> float:
        counted = labels["__name__"] == "http_requests_total" and labels.get("status") == "200"
        return float(int(value * 0.9)) if counted else value

    record.change_samples(short)


@edit
def classes_counted_otherwise(record: Record) -> None:
    def swapped() -> Iterator[Any]:
        other = {"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"}
        for labels, at, values in record.lines("samples.jsonl.gz"):
            if labels["__name__"] == "ml_predictions_total":  # all of one class
                label = other[labels["prediction"]]
                yield [labels, at, [0.0] * len(values) if label == "NORMAL" else [2 * v for v in values]]
            else:
                yield [labels, at, values]

    record.write_lines("samples.jsonl.gz", list(swapped()))


@edit
def in_flight_never_zero(record: Record) -> None:
    record.change_samples(
        lambda labels, at, value: value + 7 if labels["__name__"] == "http_requests_in_flight" else value
    )


@edit
def duration_in_milliseconds(record: Record) -> None:
    """Every answer is in the histogram's last bucket: what was observed was not seconds."""

    def wrong(labels: dict[str, str], at: float, value: float) -> float:
        bucket = labels["__name__"] == "http_request_duration_seconds_bucket" and labels.get("le") != "+Inf"
        return 0.0 if bucket else value

    record.change_samples(wrong)


def _signal(record: Record, name: str, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """Change what was read of one signal, by its rows and which tenth of them, always the same."""
    from harness import signals

    rows = np.fromfile(record.folder / f"signals/{name}.rows", signals.KINDS[name])
    changed = change(rows, _some(len(rows), 0.1))
    record.write(f"signals/{name}.rows", changed.tobytes())
    _count(record, name, rows=len(changed))


def _count(record: Record, name: str, **counts: int) -> None:
    """Have a signal's file say how many rows there are, as it does where the service left that many."""
    about = json.loads((record.folder / f"signals/{name}.json").read_text())
    record.write(f"signals/{name}.json", json.dumps({**about, **counts}).encode())


def _others_id(rows: np.ndarray, tenth: np.ndarray) -> np.ndarray:
    rows["request_id"][tenth] = [f"{random.Random(int(i)).getrandbits(128):032x}" for i in np.flatnonzero(tenth)]
    return rows


def _other_class(rows: np.ndarray, tenth: np.ndarray) -> np.ndarray:
    tenth &= rows["label"] >= 0
    rows["label"][tenth] = 1 - rows["label"][tenth]
    return rows


@edit
def log_lines_lost(record: Record) -> None:
    _signal(record, "log", lambda rows, tenth: rows[~tenth])


@edit
def log_ids_of_others(record: Record) -> None:
    _signal(record, "log", _others_id)


@edit
def log_lines_twice(record: Record) -> None:
    _signal(record, "log", lambda rows, tenth: np.concatenate([rows, rows[tenth]]))


@edit
def log_names_the_wrong_class(record: Record) -> None:
    _signal(record, "log", _other_class)


@edit
def audit_records_lost(record: Record) -> None:
    _signal(record, "audit", lambda rows, tenth: rows[~tenth])


@edit
def audit_records_exchanged(record: Record) -> None:
    """Each two records that follow each other within a tenth of a second have each other's request."""

    def exchanged(rows: np.ndarray, tenth: np.ndarray) -> np.ndarray:
        first = np.flatnonzero(np.diff(rows["at"]) < 0.1)
        first = first[np.concatenate([[True], np.diff(first) > 1])]
        ids = rows["request_id"].copy()
        rows["request_id"][first], rows["request_id"][first + 1] = ids[first + 1], ids[first]
        return rows

    _signal(record, "audit", exchanged)


@edit
def database_rows_missing(record: Record) -> None:
    _signal(record, "record", lambda rows, tenth: rows[~tenth])


@edit
def database_rows_of_another_class(record: Record) -> None:
    _signal(record, "record", _other_class)


@edit
def spans_without_a_parent(record: Record) -> None:
    def orphaned(rows: np.ndarray, tenth: np.ndarray) -> np.ndarray:
        rows["parent"][tenth & (rows["parent"] != 0)] = 12345
        return rows

    _signal(record, "span", orphaned)


@edit
def spans_of_refusals_lost(record: Record) -> None:
    _signal(record, "span", lambda rows, tenth: rows[rows["status"] != 503])


@edit
def log_times_of_another_zone(record: Record) -> None:
    def earlier(rows: np.ndarray, tenth: np.ndarray) -> np.ndarray:
        rows["at"] -= 5 * 3600
        return rows

    _signal(record, "log", earlier)


@edit
def in_flight_never_changes(record: Record) -> None:
    record.change_samples(lambda labels, at, value: 3 if labels["__name__"] == "http_requests_in_flight" else value)


@edit
def links_of_batches_lost(record: Record) -> None:
    record.write("signals/links.rows", b"")
    _count(record, "span", links=0)


def _sent_again(rows: np.ndarray, tenth: np.ndarray) -> np.ndarray:
    more = rows[tenth].copy()
    more["place"] += rows["place"].max() + 1
    return np.concatenate([rows, more])


@edit
def spans_sent_again(record: Record) -> None:
    _signal(record, "span", _sent_again)


@edit
def spans_with_one_id(record: Record) -> None:
    def ended_twice(rows: np.ndarray, tenth: np.ndarray) -> np.ndarray:
        rows = _sent_again(rows, tenth)
        rows["ended"][len(tenth) :] += 0.001
        return rows

    _signal(record, "span", ended_twice)
