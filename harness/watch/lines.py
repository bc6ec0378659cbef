"""The log lines and audit records of requests, read from files of JSON lines into an array."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from harness.signals import LINE, LONGEST_ID, UNNAMED, Signal
from harness.telemetry import Lines

LONGEST = 1 << 20  # bytes of a line that is read
AT_ONCE = 100_000  # lines made into an array together
NAMES_AT_MOST = 30  # of fields that are remembered, and of values of one


def read(run: Path, files: Sequence[Path], form: Lines, classes: Sequence[str]) -> Signal:
    """The lines that `form` says belong to requests, of all files in turn (paths below the run's folder). What is no
    JSON object is counted, and so is a line of a request that lacks a field; nothing is raised."""
    arrays, counts, lacking = [np.empty(0, LINE)], Counter(), Counter()
    names: dict[str, None] = {}
    values: dict[str, dict[str, None]] = {}
    problems = []
    getters = {field: getter(name) for field, name in mapped(form).items()}
    for number, path in enumerate(files):
        try:
            with open(run / path, "rb") as file:
                picked = _picked(file, form, counts, names, values)
                while True:
                    columns: dict[str, list] = {field: [] for field in getters}
                    places = _filled(columns, islice(picked, AT_ONCE), getters)
                    arrays.append(array(columns, places, classes, lacking, number))
                    if len(places) < AT_ONCE:
                        break
        except OSError as error:
            problems.append(f"{path}: {'there was no such file' if error.errno == 2 else error.strerror}")
    about = {
        "files": [str(path) for path in files],
        "counts": dict(counts),
        "lacking": dict(lacking),
        "names": list(names),
        "values": {name: list(found) for name, found in values.items()},
        "problem": "; ".join(problems),
    }
    return Signal(np.concatenate(arrays), about)


def _picked(
    file: BinaryIO, form: Lines, counts: Counter, names: dict[str, None], values: dict[str, dict[str, None]]
) -> Iterator[tuple[int, dict]]:
    """Each line of a request, with the byte at which it begins."""
    shapes: set[str] = set()  # fields that were looked into
    only = [(name, getter(name), _texts(value)) for name, value in form.only.items()]
    place = next_place = 0
    while line := file.readline(LONGEST):
        place, next_place = next_place, next_place + len(line)
        if len(line) == LONGEST and not line.endswith(b"\n"):
            while (rest := file.readline(LONGEST)) and not rest.endswith(b"\n"):
                next_place += len(rest)
            next_place += len(rest)
            counts["too long"] += 1
            continue
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            counts["no JSON" if line.strip() else "empty"] += 1
            continue
        if not isinstance(said, dict):
            counts["no JSON"] += 1
            continue
        counts["JSON"] += 1
        if len(names) < NAMES_AT_MOST and not said.keys() <= shapes:
            shapes.update(said)
            names.update(dict.fromkeys(named(said)))
        for name, get, wanted in only:
            value = get(said)
            if str(value) not in wanted:
                if len(known := values.setdefault(name, {})) < NAMES_AT_MOST and value is not None:
                    known[str(value)[:80]] = None
                break
        else:
            yield place, said


def _texts(value: Any) -> frozenset[str]:
    return frozenset(map(str, value if isinstance(value, list) else [value]))


def _filled(
    columns: Mapping[str, list], picked: Iterable[tuple[int, dict]], getters: Mapping[str, Callable[[dict], Any]]
) -> list[int]:
    """Append to each column what its getter finds in each line; gives the places of the lines. (No line is kept: to
    look through a hundred thousand objects again and again takes the interpreter longer than to read them.)"""
    places = []
    pairs = [(columns[field].append, get) for field, get in getters.items()]
    for place, said in picked:
        places.append(place)
        for add, get in pairs:
            add(get(said))
    return places


def named(said: dict, before: str = "") -> Iterable[str]:
    """The names of all that an object holds, those within it behind a dot."""
    for key, value in said.items():
        if isinstance(value, dict) and value:
            yield from named(value, f"{before}{key}.")
        else:
            yield f"{before}{key}"


def getter(name: str) -> Callable[[dict], Any]:
    """What gives the value of a name, which may be that of a field, or lead by its dots into objects."""
    first, *rest = name.split(".")
    if not rest:
        return lambda said: said.get(name)

    def get(said: dict) -> Any:
        if (value := said.get(name)) is not None:
            return value
        value = said.get(first)
        for part in rest:
            if not isinstance(value, dict):
                return None
            value = value.get(part)
        return value

    return get


def mapped(form: Any) -> dict[str, str]:
    """What a section of service.yaml says where to find: field of `array` -> name."""
    return {field: name for field in ("request_id", *READ_AS) if (name := getattr(form, field, None)) is not None}


def array(
    columns: Mapping[str, Sequence[Any]], places: Sequence[int], classes: Sequence[str], lacking: Counter,
    number: int = 0,
) -> np.ndarray:  # fmt: skip
    """Rows of what was found by each mapped name. What lacks its request's id is left out and counted."""
    ids = columns["request_id"]
    if None in ids or "" in ids:
        known = [i for i, request_id in enumerate(ids) if request_id not in (None, "")]
        lacking["request_id"] += len(ids) - len(known)
        places = [places[i] for i in known]
        columns = {field: [values[i] for i in known] for field, values in columns.items()}
    made = np.zeros(len(places), LINE)
    made["file"], made["place"], made["label"] = number, places, -1
    made["at"] = made["probability"] = made["confidence"] = math.nan
    made["request_id"], made["part"] = identities(columns["request_id"])
    for field, values in columns.items() if len(places) else ():
        if field == "label":
            made[field] = labels(values, classes)
        elif field in READ_AS:
            column, read_as = READ_AS[field]
            made[column] = read_as(values)
        lacking[field] += list(values).count(None)
    return made


def identities(ids: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Ids of requests as they are kept, and which of several inputs each is about: `4bf9:1` is the second of 4bf9."""
    texts = [str(one).encode(errors="replace") for one in ids]
    parts = np.zeros(len(texts), "<u2")
    for i, text in enumerate(texts):
        if b":" in text:
            request, _, part = text.rpartition(b":")
            if part.isdigit() and len(part) < 5:
                texts[i], parts[i] = request, int(part) + 1
        if len(texts[i]) > LONGEST_ID:
            texts[i] = texts[i][: LONGEST_ID - 1] + b"~"  # equal to no id of a request, which are shorter
    return np.array(texts, f"S{LONGEST_ID}"), parts


def moments(values: Sequence[Any]) -> list[float]:
    """RFC 3339, or a number of seconds, milli-, micro- or nanoseconds, as Unix seconds; nan for what is neither."""
    return list(map(_moment, values))


def _moment(value: Any) -> float:
    try:
        if type(value) is str:
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        at = float(value)
    except (ValueError, TypeError, OverflowError):
        return math.nan
    for _ in range(3):
        at = at / 1000 if abs(at) > 1e11 else at
    return at


def traces(values: Sequence[Any]) -> np.ndarray:
    """Ids of traces, 32 hexadecimal digits, as two numbers each; 0, 0 for what is none."""
    digits = "".join([v if type(v) is str and len(v) == 32 else "0" * 32 for v in values])
    try:
        return np.frombuffer(bytes.fromhex(digits), ">u8").reshape(-1, 2)
    except ValueError:  # some are no hexadecimal digits
        return np.concatenate([_trace(digits[i : i + 32]) for i in range(0, len(digits), 32)])


def _trace(digits: str) -> np.ndarray:
    try:
        return np.frombuffer(bytes.fromhex(digits), ">u8").reshape(1, 2)
    except ValueError:
        return np.zeros((1, 2), ">u8")


def statuses(values: Sequence[Any]) -> list[int]:
    return [int(v) if str(v).isdigit() and int(v) < 1000 else 0 for v in values]


def shares(values: Sequence[Any]) -> list[float]:
    return [float(v) if type(v) in (int, float) or (type(v) is str and _number(v)) else math.nan for v in values]


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def labels(values: Sequence[Any], classes: Sequence[str]) -> list[int]:
    """Classes by their names, or numbers, as numbers; -1 for nothing, UNNAMED for what is no class."""
    known = {name.upper(): i for i, name in enumerate(classes)}

    def number(value: Any) -> int:
        if value is None:
            return -1
        if type(value) is int or (type(value) is str and value.isdigit()):
            return int(value) if int(value) < (len(classes) or 127) else UNNAMED
        return known.get(str(value).upper(), UNNAMED)

    cached: dict[Any, int] = {}
    found = []
    for value in values:
        key = value if type(value) in (str, int) else str(value)
        if key not in cached:
            cached[key] = number(value)
        found.append(cached[key])
    return found


READ_AS: dict[str, tuple[str, Callable[[Sequence[Any]], Any]]] = {  # field -> column of LINE, what it is made by
    "time": ("at", moments),
    "trace_id": ("trace", traces),
    "status": ("status", statuses),
    "label": ("label", list),  # by the classes' names
    "probability": ("probability", shares),
    "confidence": ("confidence", shares),
}
