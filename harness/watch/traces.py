"""The spans that the service sent, read from what the receiver of the run stored into an array."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.signals import LINK, RECEIVED, SPAN, Signal
from harness.telemetry import Traces
from harness.watch.lines import READ_AS, identities, labels, mapped

HEAD = struct.Struct("<dIB")  # before each message: when it came, its length, whether it was taken (0)
REASONS_AT_MOST = 5
NAMES_AT_MOST = 30
MOST_NAMES = 60_000  # of spans that are told apart


def read(run: Path, form: Traces, classes: Sequence[str]) -> Signal:
    """Every span, and every link of one to another; nothing is raised."""
    counts, lacking, refused = Counter(), Counter(), []
    names: dict[str, int] = {}
    keys: dict[str, None] = {}
    arrays, links = [np.empty(0, SPAN)], [np.empty(0, LINK)]
    problem = ""
    try:
        for place, received, taken, message in messages(run / RECEIVED):
            counts["messages" if taken else "refused"] += 1
            if taken:
                made, linked = _array(message, form, classes, names, keys, counts, lacking)
                made["received"], made["place"] = received, place
                arrays.append(made)
                links.append(linked)
            elif len(refused) < REASONS_AT_MOST:
                refused.append(message.decode(errors="replace"))
    except OSError as error:
        problem = f"{RECEIVED}: {'nothing was stored' if error.errno == 2 else error.strerror}"
    about = {
        "files": [RECEIVED],
        "counts": dict(counts),
        "lacking": dict(lacking),
        "refused": refused,
        "spans": list(names),
        "names": list(keys),
        "problem": problem,
    }
    return Signal(np.concatenate(arrays), about, np.concatenate(links))


def messages(path: Path) -> Iterator[tuple[int, float, bool, bytes]]:
    """Each message that is whole: where it begins, when it came (Unix seconds), whether it was taken, and itself or why
    not. Raises OSError."""
    with open(path, "rb") as file:
        while len(head := file.read(HEAD.size)) == HEAD.size:
            place = file.tell() - HEAD.size
            received, length, kind = HEAD.unpack(head)
            if len(message := file.read(length)) < length:
                return  # the receiver was killed as it wrote
            yield place, received, kind == 0, message


def _array(
    message: bytes, form: Traces, classes: Sequence[str], names: dict[str, int], keys: dict[str, None],
    counts: Counter, lacking: Counter,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    spans = [
        span
        for resource in request_of(message).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    whole = [span for span in spans if len(span.trace_id) == 16 and len(span.span_id) == 8]
    counts["spans"] += len(spans)
    counts["without an id"] += len(spans) - len(whole)
    made = np.zeros(len(whole), SPAN)
    if not whole:
        return made, np.empty(0, LINK)
    made["trace"] = np.frombuffer(b"".join([s.trace_id for s in whole]), ">u8").reshape(-1, 2)
    made["span"] = np.frombuffer(b"".join([s.span_id for s in whole]), ">u8")
    parents = [s.parent_span_id for s in whole]
    made["parent"] = np.frombuffer(b"".join([p if len(p) == 8 else bytes(8) for p in parents]), ">u8")
    for column, field in (("began", "start_time_unix_nano"), ("ended", "end_time_unix_nano")):
        made[column] = np.array([getattr(s, field) for s in whole], "<u8") / 1e9
    made["kind"] = [s.kind for s in whole]
    made["failed"] = [s.status.code == 2 for s in whole]
    made["name"] = [names.setdefault(s.name, min(len(names), MOST_NAMES)) for s in whole]
    made["probability"] = made["confidence"] = math.nan
    made["label"] = -1
    _attributes(made, whole, form, classes, keys, lacking)
    linked = [(s, link) for s in whole for link in s.links if len(link.trace_id) == 16 and len(link.span_id) == 8]
    links = np.zeros(len(linked), LINK)
    if linked:
        links["trace"] = np.frombuffer(b"".join([s.trace_id for s, _ in linked]), ">u8").reshape(-1, 2)
        links["span"] = np.frombuffer(b"".join([s.span_id for s, _ in linked]), ">u8")
        links["to_trace"] = np.frombuffer(b"".join([link.trace_id for _, link in linked]), ">u8").reshape(-1, 2)
        links["to_span"] = np.frombuffer(b"".join([link.span_id for _, link in linked]), ">u8")
    return made, links


def _attributes(
    made: np.ndarray, spans: Sequence[Any], form: Traces, classes: Sequence[str], keys: dict[str, None],
    lacking: Counter,
) -> None:  # fmt: skip
    """Fill in what spans say of requests: those that have a request's id."""
    wanted = mapped(form)
    asked, names = form.request_id, {*wanted.values()}
    rows, found = [], []
    for i, span in enumerate(spans):
        for one in span.attributes:
            if one.key == asked:
                rows.append(i)
                found.append({a.key: value_of(a.value) for a in span.attributes if a.key in names})
                break
        else:
            if len(keys) < NAMES_AT_MOST:
                keys.update(dict.fromkeys(a.key for a in span.attributes))
    if not rows:
        return
    made["request_id"][rows], made["part"][rows] = identities([said[asked] for said in found])
    for field, name in wanted.items():
        if field == "request_id":
            continue
        values = [said.get(name) for said in found]
        column, read_as = READ_AS[field]
        if column in made.dtype.names:
            made[column][rows] = labels(values, classes) if field == "label" else read_as(values)
            lacking[field] += values.count(None)


def request_of(message: bytes) -> Any:
    """A message, read. Raises DecodeError."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return ExportTraceServiceRequest.FromString(message)


def value_of(value: Any) -> Any:
    """An AnyValue as the plain value that it holds."""
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind in ("string_value", "int_value", "double_value", "bool_value") else None
