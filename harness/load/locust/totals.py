"""The files of `--csv`, complete: Locust writes them once a second, so they would lack the last second of a run."""

from __future__ import annotations

import time
from typing import Any

import locust.stats

_writers: list[Totals] = []  # of this process


class Totals(locust.stats.StatsCSVFileWriter):
    """Locust's writer, which can also write at once."""

    def __init__(self, *args: Any, **more: Any):
        super().__init__(*args, **more)
        _writers.append(self)

    def write(self) -> None:
        """Write the present statistics to each file."""
        whole = (
            (self.requests_csv_filehandle, self.requests_csv_writer, self.requests_csv),
            (self.failures_csv_filehandle, self.failures_csv_writer, self.failures_csv),
            (self.exceptions_csv_filehandle, self.exceptions_csv_writer, self.exceptions_csv),
        )
        for file, writer, rows in whole:
            file.seek(0)
            rows(writer)
            file.truncate()
        self._stats_history_data_rows(self.stats_history_csv_writer, time.time())


def install() -> None:
    """Have Locust use it; to be called before Locust makes its own, which it does once the scenario is read."""
    locust.stats.StatsCSVFileWriter = Totals


def write() -> None:
    """Write the files, if there are any. To be called before Locust prints `--json`, for that empties its entries."""
    for writer in _writers:
        writer.write()
