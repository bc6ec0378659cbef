"""Reads a file of a run's record back whole, or says in one line which place of it is damaged."""

from __future__ import annotations

import gzip
import json
import math
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from harness.errors import EvidenceError

LATEST = 253_402_300_799  # Unix seconds: the last moment that has a date
Record = TypeVar("Record", bound=tuple)


def records(path: Path, kind: type[Record], open_end: bool = False) -> list[Record]:
    """The lines of a JSON-lines file (gzip by its suffix) as records of a NamedTuple. Raises EvidenceError.

    open_end: its writer may be at work or may have been killed, so that there may be no such file, its last line may be
    cut short (it is left out), and a compressed one may lack its end.
    """
    if open_end and not path.exists():
        return []
    return [_record(line, kind, f"{path}:{number}") for number, line in _lines(path, open_end)]


def document(path: Path, form: Any) -> Any:
    """The whole of a JSON file that has this form, a type as in an annotation. Raises EvidenceError."""
    regular(path)
    try:
        value = _parsed(path.read_bytes(), str(path))
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}") from None
    if not _fits(value, form):
        raise EvidenceError(f"{path}: does not hold what the harness writes there")
    return value


def parts(values: Mapping[str, Any], forms: Mapping[str, Any], place: Path) -> None:
    """See that each part of a document that has a form, a type as in an annotation, is as it says. Raises
    EvidenceError."""
    for name, form in forms.items():
        if name in values and not _fits(values[name], form):
            raise EvidenceError(f"{place}: does not hold what the harness writes there: {name} is of another form")


def record(values: Any, kind: type[Record], place: str) -> Record:
    """A list of JSON as a record of a NamedTuple, whose annotations say what it may hold; those with defaults may be
    missing at its end. Raises EvidenceError."""
    names, hints = kind._fields, _hints(kind)
    least = len(names) - len(kind._field_defaults)
    if type(values) is not list or not least <= len(values) <= len(names):
        raise EvidenceError(f"{place}: is no {kind.__name__}: a list of {least} to {len(names)} values is expected")
    for name, value in zip(names, values, strict=False):
        moment = name == "at" and type(value) in (int, float)
        if not _fits(value, hints[name]) or (moment and not 0 <= value <= LATEST):
            raise EvidenceError(f"{place}: is no {kind.__name__}: its {name} is {json.dumps(value)[:60]}")
    return kind(*map(_held, values, (hints[name] for name in names)))


def regular(path: Path) -> int:
    """The size of a file. Raises EvidenceError where there is none, or something that is not read as one (a FIFO)."""
    try:
        about = path.stat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise EvidenceError(f"{path}: {'is missing' if missing else f'cannot be read: {error.strerror}'}") from None
    if not stat.S_ISREG(about.st_mode):
        raise EvidenceError(f"{path}: cannot be read: it is no regular file")
    return about.st_size


def _record(line: bytes, kind: type[Record], place: str) -> Record:
    return record(_parsed(line, place), kind, place)


def _parsed(text: bytes, place: str) -> Any:
    try:
        return json.loads(text.decode())
    except UnicodeDecodeError:
        raise EvidenceError(f"{place}: is not UTF-8") from None
    except (ValueError, RecursionError):  # also a number of too many digits
        raise EvidenceError(f"{place}: is not JSON") from None


def _lines(path: Path, open_end: bool) -> Iterator[tuple[int, bytes]]:
    """Each line with its number."""
    number, packed = 0, path.suffix == ".gz"
    if regular(path) == 0 and packed and not open_end:
        raise EvidenceError(f"{path}: is empty")
    try:
        with gzip.open(path) if packed else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    if not open_end:
                        raise EvidenceError(f"{path}:{number}: is cut short")
                    return
                yield number, line
    except EOFError:
        if not open_end:
            raise EvidenceError(f"{path}: is cut short after line {number}") from None
    except (OSError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise EvidenceError(f"{path}: cannot be read after line {number}: {why}") from None


def _held(value: Any, form: Any) -> Any:
    return tuple(value) if get_origin(form) is tuple else value


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, form: Any) -> bool:
    """Whether a value of JSON is what an annotation says."""
    origin, inner = get_origin(form), get_args(form)
    if origin is Literal:
        return type(value) is str and value in inner
    if origin is UnionType:
        return any(_fits(value, one) for one in inner)
    if origin is Mapping:
        return type(value) is dict and all(_fits(one, inner[1]) for one in value.values())
    if origin in (Sequence, tuple):
        if type(value) is not list:
            return False
        return {*map(type, value)} <= {int, float} if inner[0] is float else all(_fits(one, inner[0]) for one in value)
    if form is float:
        return type(value) is float or (type(value) is int and math.isfinite(_as_float(value)))
    return form is Any or type(value) is (NoneType if form is None else form)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
