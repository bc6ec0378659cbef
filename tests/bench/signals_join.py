"""How long it takes to read and judge what a service recorded of many requests.

    python tests/bench/signals_join.py [ROWS]     (1,000,000)

Makes a run's folder with a log line, an audit record, a database row and SPANS spans for each row, has the watchers
read all of it and the four checks judge it, and prints the processor's seconds for each step, and the most memory.
"""

import json
import resource
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness import signals
from harness.checks import Audited, Logged, Stored, Traced, judge_all
from harness.eventlog import Event
from harness.history import ROW, History
from harness.stack.collector import HEAD
from harness.telemetry import Lines, Records, Traces
from harness.watch import lines, records, traces

SPANS, AT_ONCE, T = 1, 2000, 1_795_891_476.0
CLASSES = ("NORMAL", "PNEUMONIA")
LINES = Lines(only={"message": "done"}, time="timestamp", trace_id="trace_id", label="context.prediction",
              confidence="context.confidence")  # fmt: skip
STORED = Records(url="sqlite:///x", table="predictions", label="predicted", probability="probability", time="at")
TRACES = Traces(environment={"X": "{otlp}"}, status="http.response.status_code", label="prediction.result")


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        rows = made(run, n)
        took = {}

        def timed(what, work):
            began = time.process_time()
            value = work()
            took[what] = time.process_time() - began
            return value

        for kind, file in (("log", "x.log"), ("audit", "x.log")):
            found = timed(f"{kind}: read", lambda file=file: lines.read(run, [file], LINES, CLASSES))
            timed(f"{kind}: write", lambda kind=kind, found=found: signals.write(run, kind, found))
        found = timed("record: read", lambda: records.read([f"sqlite:///{run}/x.db"], STORED, CLASSES))
        signals.write(run, "record", found)
        found = timed("span: read", lambda: traces.read(run, TRACES, CLASSES))
        signals.write(run, "span", found)
        del found
        known = timed("history: read", lambda: signals.read(run))
        edges = [
            Event(T + at, "run", "phase", detail={"phase": "steady", "edge": e})
            for at, e in ((0, "begin"), (9e9, "end"))
        ]
        history = History(events=edges, rows={"load": rows}, signals=known)
        maps = ("time", "trace_id", "label", "confidence")
        for check in (
            Logged(1.0, 0.0, maps, CLASSES), Audited(1.0, 0.0, maps, CLASSES),
            Stored(1.0, 0.0, ("label", "probability"), CLASSES), Traced(1.0, 0.0, ("status", "label")),
        ):  # fmt: skip
            (result,) = timed(f"{check.kind}: judge", lambda check=check: judge_all([check], history))
            assert result.verdict == 0, result
    for what, seconds in took.items():
        print(f"{what:18s}{seconds:7.1f} s")
    print(
        f"{'all':18s}{sum(took.values()):7.1f} s   {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )


def made(run: Path, n: int) -> np.ndarray:
    """The rows, and all that was recorded of them."""
    (run / "signals").mkdir()
    random = np.random.default_rng(1)
    rows = np.zeros(n, ROW)
    rows["request_id"] = [b"%032x" % i for i in (random.permutation(n) + (1 << 60)).tolist()]
    rows["status"], rows["predicted"] = 200, np.arange(n) % 2
    rows["expected"], rows["probability"] = rows["predicted"], np.where(rows["predicted"] == 1, 0.9, 0.2)
    rows["intended"] = rows["sent"] = T + np.arange(n) / 1000
    rows["done"] = rows["sent"] + 0.02
    with sqlite3.connect(run / "x.db") as database:
        database.execute("CREATE TABLE predictions (request_id TEXT, predicted INT, probability REAL, at TEXT)")
        database.executemany(
            "INSERT INTO predictions VALUES (?, ?, ?, '2026-11-28 18:44:36.05')",
            ((r["request_id"].decode(), int(r["predicted"]), float(r["probability"])) for r in rows),
        )
    with open(run / "x.log", "w") as log, open(run / signals.RECEIVED, "wb") as spans:
        request = ExportTraceServiceRequest()
        for i, row in enumerate(rows):
            name = row["request_id"].decode()
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(row["sent"])) + ".500000Z"
            said = {"timestamp": at, "level": "INFO", "service": "x",
                    "trace_id": f"{i + 1:032x}", "span_id": f"{i:016x}",
                    "request_id": name, "message": "done", "context": {"model_version": "1", "prediction":
                    CLASSES[row["predicted"]], "confidence": 0.9 if row["predicted"] else 0.8, "ms": 1.25}}  # fmt: skip
            log.write(json.dumps(said, separators=(",", ":")) + "\n")
            if not request.resource_spans:
                scope = request.resource_spans.add().scope_spans.add()
            for part in range(SPANS):
                span = scope.spans.add(
                    trace_id=(i + 1).to_bytes(16), span_id=(SPANS * i + part + 1).to_bytes(8), name="POST", kind=2,
                    parent_span_id=(SPANS * i + 1).to_bytes(8) if part else b"",
                    start_time_unix_nano=int(1e9 * row["sent"]) + 10**6,
                    end_time_unix_nano=int(1e9 * row["done"]) - 10**6,
                )  # fmt: skip
                if not part:
                    span.attributes.add(key="request.id").value.string_value = name
                    span.attributes.add(key="http.response.status_code").value.int_value = 200
                    span.attributes.add(key="prediction.result").value.string_value = CLASSES[row["predicted"]]
            if len(scope.spans) >= AT_ONCE or i == n - 1:
                message = request.SerializeToString()
                spans.write(HEAD.pack(float(row["done"]), len(message), 0) + message)
                request = ExportTraceServiceRequest()
    return rows


if __name__ == "__main__":
    main()
