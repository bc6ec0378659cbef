"""A seeded defect as a file: what is broken, the gate that must see it, and the result that must name it.

docs/power.md describes the format. Whatever is wrong in a file is said with its line and its key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from harness.parameters import Strict
from harness.plan import yamlfile

HERE = Path(__file__).parent
NOTHING, EVERYTHING = "nothing", "everything"
AREAS = (
    "service", "model", "telemetry", "storage", "rules", "routes", "inhibitions", "templates", "probes", "restart",
    "faults", "load generator", "harness",
)  # fmt: skip


class BadDefects(Exception):
    """Files that are no defects; each of `problems` is a line FILE:LINE: KEY: what is wrong."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    return text


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _or_nothing(value: Any) -> Any:
    return {"check": NOTHING} if value == NOTHING else value


Pattern = Annotated[str, AfterValidator(_pattern)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class Patch(Strict):
    """Text of one file of the project, of `model_server/` or of `harness/`, that is replaced: it must be there once."""

    file: Text
    find: Text
    replace: str
    copy_of: Text | None = None  # the file is new, and begins as a copy of this one


class Setting(Strict):
    """One value of a YAML file of the project."""

    file: Text
    path: Annotated[tuple[str | int, ...], Field(min_length=1)]
    value: Any


class Seed(Strict):
    """How the defect gets in; exactly one of these."""

    patch: tuple[Patch, ...] = ()
    server: Name | None = None  # of seeded_server.py
    set: Annotated[tuple[Setting, ...], BeforeValidator(_one_or_more)] = ()
    record: Name | None = None  # of edits.py: the stored run of a good gate is edited

    @model_validator(mode="after")
    def _exactly_one(self) -> Seed:
        if len(kinds := [name for name in type(self).model_fields if getattr(self, name)]) != 1:
            raise ValueError(f"must have exactly one of patch, server, set and record, has {' and '.join(kinds) or 0}")
        return self


class Gate(Strict):
    """The plan of the gate that must see it, on a small copy of the project."""

    for_s: Annotated[float, Field(gt=0, le=60)] = 7
    arrivals: dict[str, Any] = Field(default_factory=lambda: {"poisson": "45/s", "seed": 7})
    scenario: Text = "scenarios/steady.py"
    experiments: tuple[Name, ...] = ()
    checks: tuple[Any, ...] = ("slos", "contracts", "quiet")
    every_rule: bool = False  # also those that look back for days, which take seconds a phase to replay


class Seen(Strict):
    """A result, by its check, subject and verdict, and words that its reason, remedy, place or status must hold; or an
    exit code that is none of a verdict, and words that the command must say."""

    check: Text | None = None
    subject: Pattern = ""  # found anywhere in the subject
    verdict: Literal["PASS", "INCONCLUSIVE", "FAIL"] | None = None
    words: tuple[Text, ...] = ()
    exit: Literal[2, 70] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Seen:
        if (self.exit is None) == (self.check is None and not self.subject and self.verdict is None):
            raise ValueError("must name a check, a subject or a verdict, or else an exit code")
        return self

    def about(self, result: Mapping[str, Any]) -> bool:
        """Whether it is about this result, whatever that says."""
        mine = self.check in (None, result["check"]) and re.search(self.subject, result["subject"])
        return self.exit is None and bool(mine)

    def found_in(self, result: Mapping[str, Any]) -> bool:
        """Whether this is the result."""
        said = " ".join(str(result.get(key, "")) for key in ("reason", "remedy", "place", "status"))
        return self.about(result) and self.verdict in (None, result["verdict"]) and says(said, self.words)

    def __str__(self) -> str:
        what = f"exit code {self.exit}" if self.exit else f"{self.check or 'any check'} {self.subject!r} {self.verdict}"
        return what + (f" with {', '.join(map(repr, self.words))}" if self.words else "")


def says(said: str, words: Iterable[str]) -> bool:
    """Whether a text holds all words, in capitals or not."""
    return all(word.lower() in said.lower() for word in words)


class _File(Strict):
    about: Annotated[str, Field(min_length=10, max_length=200)]
    area: Literal[AREAS]
    seed: Seed | None = None
    gate: Gate = Gate()
    seen_by: Annotated[Seen | None, BeforeValidator(_or_nothing)] = None
    also: tuple[Seen, ...] = ()
    never: tuple[Seen, ...] = ()
    disturbs: Literal["nothing", "everything"] | tuple[Text, ...] = EVERYTHING
    awaits: Annotated[str, Field(pattern="^[A-Z]$")] | None = None
    why: Text | None = None
    together: tuple[Name, ...] = ()

    @property
    def unseen(self) -> bool:
        return self.seen_by is not None and self.seen_by.check == NOTHING

    @model_validator(mode="after")
    def _one_kind(self) -> _File:
        if self.together and (self.seed or self.seen_by or self.also or self.never):
            raise ValueError("together names other defects, so it has no seed and no results of its own")
        if not self.together and (self.seed is None or self.seen_by is None):
            raise ValueError("must have seed and seen_by, or together")
        if self.unseen != (self.why is not None):
            raise ValueError("why says why nothing sees it: it belongs to `seen_by: nothing`, and to nothing else")
        if self.seed and self.seed.record and "gate" in self.model_fields_set:
            raise ValueError("gate: a record's run is there already")
        return self


@dataclass(frozen=True)
class Defect:
    """One defect, or several at once."""

    name: str
    path: Path
    about: str
    area: str
    seeds: tuple[Seed, ...]
    gate: Gate
    seen_by: tuple[Seen, ...]  # each of them must be found; none: nothing sees it
    never: tuple[Seen, ...]
    disturbs: str | frozenset[str]
    awaits: str
    why: str = ""
    together: tuple[str, ...] = ()

    @property
    def unseen(self) -> bool:
        """Whether it is one of those that the gate cannot see."""
        return not self.seen_by and not self.together

    @property
    def record(self) -> str:
        """The edit of a stored run, empty where a gate has to run."""
        return self.seeds[0].record or ""

    @property
    def ends_the_gate(self) -> bool:
        """Whether no gate can be judged that has it."""
        return any(seen.exit for seen in self.seen_by)


def read(path: Path) -> Defect:
    """The defect in a file. Raises BadDefects."""
    problems: list[str] = []
    file = yamlfile.read(path, problems)
    made = file and yamlfile.validated(file, _File, problems)
    if made is None:
        raise BadDefects(problems)
    if made.together:
        return Defect(path.stem, path, made.about, made.area, (), made.gate, (), (), EVERYTHING, made.awaits or "",
                      together=made.together)  # fmt: skip
    return Defect(
        path.stem, path, made.about, made.area, (made.seed,), made.gate,
        () if made.unseen else (made.seen_by, *made.also), made.never,
        made.disturbs if isinstance(made.disturbs, str) else frozenset(made.disturbs),
        made.awaits or "", made.why or "",
    )  # fmt: skip


def read_all(folder: Path = HERE) -> tuple[list[Defect], list[Defect]]:
    """The defects in a folder, and those in its folder `unseen`. Raises BadDefects with all that is wrong in any."""
    problems: list[str] = []

    def of(paths: Iterable[Path], unseen: bool) -> list[Defect]:
        found = []
        for path in sorted(paths):
            try:
                found.append(defect := read(path))
            except BadDefects as bad:
                problems.extend(bad.problems)
                continue
            if defect.unseen != unseen:
                problems.append(f"{path}: seen_by: only files in unseen/ are seen by nothing, and all of them")
        return found

    seen, unseen = of(folder.glob("*.yaml"), False), of((folder / "unseen").glob("*.yaml"), True)
    by_name = {defect.name: defect for defect in (*seen, *unseen)}
    if len(by_name) != len(seen) + len(unseen):
        problems.append(f"{folder}: two files have one name")
    for i, defect in enumerate(seen):
        parts = [by_name.get(name) for name in defect.together]
        for name, part in zip(defect.together, parts, strict=True):
            if part is None or part.together or part.record or part.ends_the_gate or part.unseen:
                problems.append(f"{defect.path}: together: {name}: names no defect that a gate can have and go on")
        if defect.together and not problems:
            seen[i] = _combined(defect, parts)
    if problems:
        raise BadDefects(problems)
    return seen, unseen


def _combined(defect: Defect, parts: list[Defect]) -> Defect:
    """Several defects at once as one, each of which must be seen."""
    gate = defect.gate
    for part in parts:
        gate = union(gate, part.gate)
    return Defect(
        defect.name, defect.path, defect.about, defect.area, tuple(seed for part in parts for seed in part.seeds), gate,
        tuple(dict.fromkeys(seen for part in parts for seen in part.seen_by)),
        (), EVERYTHING, defect.awaits or "".join(sorted({part.awaits for part in parts})), together=defect.together,
    )  # fmt: skip


def union(one: Gate, other: Gate) -> Gate:
    """A gate that does what both do; of load and scenario that of the first."""
    checks = [*one.checks, *(check for check in other.checks if check not in one.checks)]
    return one.model_copy(
        update={
            "for_s": max(one.for_s, other.for_s),
            "experiments": tuple(dict.fromkeys((*one.experiments, *other.experiments))),
            "checks": tuple(checks),
            "every_rule": one.every_rule or other.every_rule,
        }
    )
