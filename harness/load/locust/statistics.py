"""Entries for Locust's own statistics, each made of many requests at once.

Locust counts each request as it ends, which costs more than the request. Its entries can be added to each other, as
its master does with those of its workers: so one entry is made of the rows of a tenth of a second, and added.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from locust.stats import RequestStats, StatsEntry, StatsError, bucket_response_time

from harness.history import Outcome

NOT_WAITED_FOR = (Outcome.UNSENT, Outcome.ABANDONED)  # their time is no response time


class LocustStatistics:
    """The kinds (method and name) of the rows since the last report, their bodies' lengths and their failures."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], int] = {}
        self._of_row = array("I")
        self._lengths: list[int] = []
        self._failed = array("I")  # places of the rows that are failures
        self._failures: dict[tuple[int, str], int] = {}

    def kind(self, method: str, name: str) -> int:
        """The number of a kind."""
        number = self._kinds.setdefault((method, name), len(self._kinds))
        if number == len(self._lengths):
            self._lengths.append(0)
        return number

    def add(self, kind: int, length: int) -> None:
        """Count the next row."""
        self._of_row.append(kind)
        self._lengths[kind] += length

    def failed(self, kind: int, why: str) -> None:
        """The row just counted is a failure."""
        self._failed.append(len(self._of_row) - 1)
        self._failures[kind, why] = self._failures.get((kind, why), 0) + 1

    def report(self, rows: np.ndarray) -> dict[str, Any]:
        """Locust's entries for the rows counted since the last report, in the form its workers send them."""
        of_row, self._of_row = np.frombuffer(self._of_row, np.uint32), array("I")
        lengths, self._lengths = self._lengths, [0] * len(self._lengths)
        failures, self._failures = self._failures, {}
        fails = np.zeros(len(rows), bool)
        fails[np.frombuffer(self._failed, np.uint32)], self._failed = True, array("I")
        names = list(self._kinds)
        at = float(rows["done"].max()) if len(rows) else 0.0
        return {
            "stats": [
                self._entry(*names[k], rows[of_row == k], fails[of_row == k], lengths[k]) for k in np.unique(of_row)
            ],
            "total": self._entry("", "Aggregated", rows, fails, sum(lengths)) if len(rows) else None,
            "errors": [
                {"method": names[k][0], "name": names[k][1], "error": why, "occurrences": n, "at": at}
                for (k, why), n in failures.items()
            ],
        }

    def _entry(self, method: str, name: str, rows: np.ndarray, fails: np.ndarray, length: int) -> dict[str, Any]:
        waited = rows[~np.isin(rows["outcome"], NOT_WAITED_FOR)]
        took_ms = 1000 * (waited["done"] - waited["intended"])
        values, times = np.unique(np.round(took_ms, 3), return_counts=True)
        buckets: dict[int, int] = {}
        for value, n in zip(values.tolist(), times.tolist(), strict=True):
            bucket = bucket_response_time(value)
            buckets[bucket] = buckets.get(bucket, 0) + n
        return {
            "name": name,
            "method": method,
            "last_request_timestamp": float(rows["done"].max()),
            "start_time": float(rows["intended"].min()),
            "num_requests": len(rows),
            "num_none_requests": len(rows) - len(waited),
            "num_failures": int(np.count_nonzero(fails)),
            "total_response_time": float(took_ms.sum()),
            "max_response_time": float(took_ms.max()) if len(waited) else 0,
            "min_response_time": float(took_ms.min()) if len(waited) else None,
            "total_content_length": length,
            "response_times": buckets,
            "num_reqs_per_sec": _per_second(rows),
            "num_fail_per_sec": _per_second(rows[fails]),
        }


def merge(report: dict[str, Any], stats: RequestStats) -> None:
    """Add a report to Locust's statistics."""
    for data in report["stats"]:
        stats.entries[data["name"], data["method"]].extend(StatsEntry.unserialize(data, stats))
    if report["total"]:
        stats.total.extend(StatsEntry.unserialize(report["total"], stats))
    for data in report["errors"]:
        key = (data["method"], data["name"], data["error"])
        error = stats.errors.setdefault(StatsError.create_key(*key), StatsError(*key))
        error.occurrences += data["occurrences"]
        error.first_seen = min(error.first_seen or data["at"], data["at"])
        error.last_seen = max(error.last_seen or data["at"], data["at"])


def _per_second(rows: np.ndarray) -> dict[int, int]:
    seconds, n = np.unique(rows["done"].astype(np.int64), return_counts=True)
    return dict(zip(seconds.tolist(), n.tolist(), strict=True))
