"""What of a run's folder can be read, file by file, for a report that is made as far as it can be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from harness import signals
from harness.eventlog import Event
from harness.history import (
    BASELINE,
    GOLDEN,
    HELD,
    OF_EVERY_RUN,
    History,
    Notification,
    ProbeAnswer,
    Resources,
    Series,
    read_baseline,
    read_replays,
    read_rows,
    rows_files,
)
from harness.recordfile import document, records

Read = TypeVar("Read")
LONGEST = 300  # characters of a reason


@dataclass(frozen=True)
class Stored:
    """A run's folder, read."""

    run: Path
    history: History
    plan: Mapping[str, Any]
    environment: Mapping[str, Any]
    missing: tuple[str, ...] = ()  # what could not be read, a sentence each

    @property
    def checks(self) -> Sequence[Mapping[str, Any]]:
        """The checks of the plan, as they are stored."""
        return self._part("checks")

    @property
    def rules(self) -> Sequence[Mapping[str, Any]]:
        """The alert rules of the plan, as they are stored."""
        return [rule for rule in self._part("rules") if isinstance(rule.get("alert"), dict)]

    def _part(self, name: str) -> Sequence[Mapping[str, Any]]:
        """A list of the plan; older ones have the name of an alert in place of the alert."""
        found = self.plan.get(name)
        some = [dict(one) for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        for one in some:
            if isinstance(alert := one.get("alert"), str):
                one["alert"] = {"name": alert, "labels": [], "others": []}
            elif "alert" in one and not (isinstance(alert, dict) and isinstance(alert.get("name"), str)):
                del one["alert"]
        return some


def read(run: Path, history: History | None = None) -> Stored:
    """All that can be read of a run; `history` where that was read already."""
    missing: list[str] = []

    def attempt(what: str, of: Callable[[], Read], otherwise: Read) -> Read:
        try:
            return of()
        except Exception as error:  # whatever is wrong with one file, the others are shown
            why = str(error).replace(f"{run}/", "") or type(error).__name__
            missing.append(f"{what}: {why[:LONGEST]}")
            return otherwise

    if history is None:
        history = _history(run, attempt)
        lacking = [name for name in OF_EVERY_RUN if not (run / name).exists()]
        if (run / "requests-load.bin").exists():  # as older runs have them
            lacking = [name for name in lacking if name != "requests-load.rows"]
        missing += [f"{name}: is not there" for name in lacking if name not in ("plan.yaml", "environment.json")]
    if not history.ended:
        missing.insert(0, "the run did not come to its end: what it was to do after that is not here")
    plan = attempt("plan.yaml", lambda: _mapping(_yaml(run / "plan.yaml")), {})
    environment = attempt("environment.json", lambda: _mapping(json.loads(_text(run / "environment.json"))), {})
    return Stored(run, history, plan, environment, tuple(dict.fromkeys(missing)))


def _history(run: Path, attempt: Callable[..., Any]) -> History:
    """The history, each file of it by itself."""

    def many(name: str, kind: type) -> Sequence[Any]:
        return attempt(name, lambda: records(run / name, kind, open_end=True), ()) if (run / name).exists() else ()

    events = sorted(many("events.jsonl", Event), key=lambda event: event.at)
    rows = {p.stem.removeprefix("requests-"): attempt(p.name, lambda p=p: read_rows(p), None) for p in rows_files(run)}
    journals = {
        p.stem: attempt(f"journals/{p.name}", lambda p=p: document(p, Mapping[str, Any]), None)
        for p in sorted((run / "journals").glob("*.json"))
    }

    def optional(name: str, of: Callable[[Path], Any], otherwise: Any) -> Any:
        return attempt(name, lambda: of(run / name), otherwise) if (run / name).exists() else otherwise

    last = {event.name: i for i, event in enumerate(events) if event.source == "run"}
    made = History(
        events=events,
        rows={name: found for name, found in rows.items() if found is not None},
        probes=many("probes.jsonl", ProbeAnswer),
        notifications=many("notifications.jsonl", Notification),
        series=many("samples.jsonl.gz", Series),
        resources=many("resources.jsonl", Resources),
        journals={name: found for name, found in journals.items() if found is not None},
        replays=optional("replays.json", read_replays, {}),
        held=optional(HELD, read_replays, {}),
        types=optional("types.json", lambda path: document(path, Mapping[str, str]), {}),
        ended="ended" in last and last["ended"] > max(last.get("started", -1), last.get("phase", -1)),
        baseline=optional(BASELINE, read_baseline, None),
    )
    return replace(made, signals=attempt("signals", lambda: signals.read(run), {}))


def loads(history: History) -> list[str]:
    """The generators that sent a load, the run's own first."""
    names = [name for name in history.rows if name != GOLDEN]
    return sorted(names, key=lambda name: (name != "load", name))


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace")


def _yaml(path: Path) -> Any:
    return yaml.load(_text(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the latter takes seconds


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("does not hold what the harness writes there")
    return value
