"""Signals made by hand to go with hand-made rows: a log line, an audit record, a database row and a trace for each."""

from typing import Any

import numpy as np
from handmade import fault, history, phase, rows

from harness.eventlog import Event
from harness.history import History
from harness.signals import LINE, LINK, SPAN, Signal

N = 600
NAMES = ["POST /predict", "model_inference", "batch"]
ROOT, CHILD, BATCH = range(3)


def load(n: int = N, rate: float = 20) -> np.ndarray:
    """Labelled requests, each with its id, class and probability."""
    made = rows(n, rate=rate)
    made["request_id"] = [b"%032x" % (7 * i + 1) for i in range(n)]
    made["expected"] = made["predicted"] = np.arange(n) % 2
    made["probability"] = np.where(made["predicted"] == 1, 0.9, 0.2)
    return made


def lines(made: np.ndarray) -> np.ndarray:
    found = np.zeros(len(made), LINE)
    found["request_id"], found["label"], found["status"] = made["request_id"], made["predicted"], made["status"]
    found["probability"] = made["probability"]
    found["confidence"] = np.maximum(made["probability"], 1 - made["probability"])
    found["at"] = made["done"] - 0.01
    found["trace"] = np.stack([np.arange(len(made)) + 1, np.full(len(made), 9)], axis=1)
    return found


def spans(made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each request one span and one within it, and a batch of two requests each, linked to them."""
    n = len(made)
    found = np.zeros(2 * n + n // 2, SPAN)
    root, child, batch = found[:n], found[n : 2 * n], found[2 * n :]
    said = lines(made)
    for name in ("request_id", "label", "status", "confidence", "trace"):
        root[name] = said[name]
    root["span"], root["kind"], root["began"], root["ended"] = np.arange(n) + 1, 2, made["sent"], made["done"] - 0.01
    child["trace"], child["span"], child["parent"] = root["trace"], np.arange(n) + 1_000_001, root["span"]
    child["name"], child["began"], child["ended"] = CHILD, root["began"] + 0.01, root["ended"] - 0.01
    batch["trace"] = np.stack([np.arange(n // 2) + 5_000_000, np.full(n // 2, 3)], axis=1)
    batch["span"], batch["name"] = np.arange(n // 2) + 2_000_001, BATCH
    batch["began"], batch["ended"] = child["began"][::2], child["ended"][::2]
    links = np.zeros(n, LINK)
    links["trace"], links["span"] = np.repeat(batch["trace"], 2, axis=0), np.repeat(batch["span"], 2)
    links["to_trace"], links["to_span"] = root["trace"], root["span"]
    return found, links


def signal(found: np.ndarray, links: np.ndarray | None = None, **about: Any) -> Signal:
    said = {"files": ["signals/x.jsonl"], "counts": {"JSON": len(found), "spans": len(found)}, "lacking": {}}
    said |= {"names": ["id", "msg"], "spans": NAMES, "problem": ""}
    return Signal(found, said | about, np.empty(0, LINK) if links is None else links)


def killed(at: float, code: int = -9) -> list[Event]:
    """A replica that was killed: the fault, and the restart half a second later."""
    begun = fault("crash", at, at + 5, "kill", process="server")
    begun[0].detail["component"] = "server"
    return [*begun, Event(at + 0.5, "probe", "restart", detail={"process": "server", "cause": "exit", "code": code})]


def joined(kind: str, found: np.ndarray, made: np.ndarray | None = None, *events: Any, links=None, **about) -> History:
    """A run with one signal, in `steady` from 0 to 20 and `crash` from 20 to 30."""
    known = {"load": load() if made is None else made}
    parts = {kind: signal(found, links, **about)}
    return history(phase("steady", 0, 20), phase("crash", 20, 30), *events, rows=known, signals=parts)
