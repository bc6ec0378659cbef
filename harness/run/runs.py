"""The history of runs: one SQLite file, to which several gates may write, and what of it a run is compared with.

A run is one row and one transaction. Write-ahead logging lets one process write while others read, and each waits for
a lock for BUSY_S. A file of a newer version, of another program or a damaged one is refused and left as it is.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from harness.checks import BaselineAlerts, BaselineFigures, BaselineMetrics
from harness.checks.figures import figures
from harness.document import regular
from harness.errors import EvidenceError, HistoryError, PlanError, UsageError
from harness.history import BASELINE, BASELINE_VERSION, History, PastRun
from harness.plan.gatefile import HISTORY
from harness.plan.plan import Plan
from harness.plan.yamlfile import read
from harness.recordfile import document, record
from harness.verdict import Verdict

VERSION = 1
APPLICATION = 0x68726E73  # by which SQLite tells whose file it is
BUSY_S = 30.0
LOCKED = "another process has had it locked"
ANEW = "remove the file, and the baseline starts anew"
TABLE = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, -- the name of the run's folder
    started REAL NOT NULL, -- Unix seconds
    verdict TEXT NOT NULL,
    plan TEXT NOT NULL, -- harness/run/comparable.py
    machine TEXT NOT NULL,
    service TEXT NOT NULL,
    revision TEXT NOT NULL, -- commit of the working tree
    accepted INTEGER NOT NULL DEFAULT 0, -- the baseline of its plan begins with it
    kept TEXT NOT NULL -- JSON: figures, alerts and metrics of a PastRun
)
"""
COLUMNS = "id, started, verdict, plan, machine, service, revision, accepted, kept"
SINCE = "started >= coalesce((SELECT max(started) FROM runs WHERE accepted AND plan = ?1), 0)"


class Entry(NamedTuple):
    """One run in the history."""

    run: PastRun
    verdict: str
    plan: str
    machine: str
    service: str
    revision: str = ""
    accepted: bool = False


def file_of(gate: Path) -> Path:
    """The history that a gate file names. Raises PlanError where that cannot be read."""
    problems: list[str] = []
    file = read(gate, problems)
    if file is None:
        raise PlanError(problems)
    named = file.data.get("history", HISTORY) if isinstance(file.data, dict) else HISTORY
    return gate.resolve().parent / str(named)


def look(plan: Plan) -> None:
    """See before a run that its history can be read. Raises PlanError; one that is locked may be free by then."""
    try:
        with _opened(plan.workdir / plan.gate.history, busy_s=1.0) as db:
            if db is not None and (broken := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                broken = " ".join(broken.split())
                raise HistoryError(f"{plan.workdir / plan.gate.history}: is damaged: {broken}; {ANEW}")
    except HistoryError as error:
        if LOCKED not in str(error):
            file = read(plan.path, [])
            raise PlanError([f"{file.place(('history',)) if file else plan.path}: history: {error}"]) from None


def baseline(path: Path, plan: str, machine: str, last: int) -> list[PastRun]:
    """The last passing runs of a plan on a kind of machine, the latest last. Raises HistoryError."""
    with _opened(path) as db:
        if db is None:
            return []
        chosen = f"plan = ?1 AND machine = ?2 AND verdict = 'PASS' AND {SINCE}"
        rows = db.execute(
            f"SELECT {COLUMNS} FROM runs WHERE {chosen} ORDER BY started DESC LIMIT ?3", (plan, machine, last)
        ).fetchall()
        return [_entry(row, path).run for row in reversed(rows)]


def listed(path: Path) -> list[Entry]:
    """Every run, the earliest first. Raises HistoryError."""
    with _opened(path) as db:
        rows = [] if db is None else db.execute(f"SELECT {COLUMNS} FROM runs ORDER BY started, id").fetchall()
        return [_entry(row, path) for row in rows]


def add(path: Path, entry: Entry, busy_s: float = BUSY_S) -> bool:
    """Add a run; False where it is there already. Raises HistoryError."""
    kept = json.dumps(dict(zip(("figures", "alerts", "metrics"), entry.run[2:], strict=True)), separators=(",", ":"))
    values = (entry.run.id, entry.run.started, *entry[1:6], int(entry.accepted), kept)
    with _opened(path, write=True, create=True, busy_s=busy_s) as db:
        return db.execute(f"INSERT OR IGNORE INTO runs ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)", values).rowcount == 1


def accept(path: Path, id: str) -> Entry:
    """Have the baseline of a run's plan begin with it. Raises HistoryError, or UsageError where it is not there."""
    with _opened(path, write=True) as db:
        if db is None or not db.execute("UPDATE runs SET accepted = 1 WHERE id = ?", (id,)).rowcount:
            raise UsageError(f"no run {id} in {path}; `harness history` lists them")
        return _entry(db.execute(f"SELECT {COLUMNS} FROM runs WHERE id = ?", (id,)).fetchone(), path)


def entry_of(run: Path, verdict: Verdict) -> Entry:
    """A judged run as its folder tells it. Raises EvidenceError."""
    history = History.read(run)
    plan, machine = comparable(run)
    if not plan:
        raise EvidenceError(f"{run}: does not say of which plan it is, so it cannot be compared; run the gate again")
    kept = figures(history, run.resolve().name)
    return Entry(
        kept._replace(figures={phase: _finite(of_it) for phase, of_it in kept.figures.items()}),
        verdict.name,
        plan,
        machine,
        history.setting("service", ""),
        history.setting("commit", ""),
    )


def comparable(run: Path) -> tuple[str, str]:
    """The plan's digest and the kind of machine of a run; empty where an older harness did not store them."""
    about = document(run / "environment.json", Mapping[str, Any]).get("comparable")
    return (str(about["plan"]), str(about["machine"])) if isinstance(about, dict) else ("", "")


def store_baseline(plan: Plan, run: Path) -> None:
    """Copy the runs that this one is compared with into its folder, as evidence; or why they cannot be read."""
    wanted = [c.last for c in plan.checks if isinstance(c, (BaselineFigures, BaselineAlerts, BaselineMetrics))]
    if not wanted:
        return
    runs: Sequence[PastRun] = ()
    problem = ""
    try:
        runs = baseline(plan.workdir / plan.gate.history, *comparable(run), max(wanted))
    except HistoryError as error:
        problem = str(error)
    scratch = run / f"{BASELINE}.new"
    scratch.write_text(json.dumps({"version": BASELINE_VERSION, "problem": problem, "runs": runs}))
    scratch.rename(run / BASELINE)


@contextmanager
def _opened(
    path: Path, write: bool = False, create: bool = False, busy_s: float = BUSY_S
) -> Iterator[sqlite3.Connection | None]:
    """The history within one transaction; None where there is no such file and none is to be made."""
    missing = regular(path)
    if missing == "no such file" and not create:
        yield None
        return
    if missing not in ("", "no such file"):  # SQLite itself would wait for a named pipe
        raise HistoryError(f"{path}: {missing}; name another file by `history:` in gate.yaml")
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=busy_s, isolation_level=None)) as db:
            _prepare(db, path)
            db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        locked = "locked" in str(error) or "busy" in str(error)
        why = (
            f"{LOCKED} for {busy_s:g} s"
            if locked
            else f"cannot be used: {error}; name another file by `history:` in gate.yaml"
        )
        raise HistoryError(f"{path}: {why}") from error
    except sqlite3.DatabaseError as error:
        raise HistoryError(f"{path}: is damaged, or no history of runs: {error}; {ANEW}") from error
    except OSError as error:
        raise HistoryError(f"{path}: cannot be written: {error.strerror}") from error


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the table in an empty file; refuse any that is not as this harness makes it."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION:
        raise HistoryError(f"{path}: is the database of another program; name another file by `history:` in gate.yaml")
    if version > VERSION:
        known = f"this harness reads version {VERSION}"
        raise HistoryError(f"{path}: is of version {version}, and {known}; use the harness that wrote it, or {ANEW}")
    if not tables:
        # A file system without shared memory, or another process that makes the same file now: it works without.
        with suppress(sqlite3.OperationalError):
            db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute(TABLE)
        db.execute("COMMIT")


def _entry(row: Sequence[Any], path: Path) -> Entry:
    id, started, verdict, plan, machine, service, revision, accepted, kept = row
    try:
        held = json.loads(kept)
        run = record([id, started, *(held[name] for name in ("figures", "alerts", "metrics"))], PastRun, "its row")
    except KeyError as error:
        raise HistoryError(f"{path}: run {id}: is damaged: its row has no {error.args[0]}; {ANEW}") from error
    except (ValueError, TypeError, EvidenceError) as error:
        raise HistoryError(f"{path}: run {id}: is damaged: {error}; {ANEW}") from error
    return Entry(run, verdict, plan, machine, service, revision, bool(accepted))


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    """The figures that JSON can say: of a latency without an answer there is none."""
    return {name: value for name, value in values.items() if math.isfinite(value)}
