"""One run of a schedule: its files, its part in Locust's statistics, and one orderly end."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import locust.log

from harness.load.locust.dispatch import MISTAKEN
from harness.load.locust.open_model import OpenModel
from harness.load.locust.statistics import merge
from harness.load.recorder import Files

logger = logging.getLogger(__name__)


class Load:
    """What a run in this process alone has in common with one over workers."""

    def __init__(self, user: OpenModel):
        """Raises HarnessError for options that make no run, OSError when its files cannot be written."""
        self.user, self.environment = user, user.environment
        options = self.environment.parsed_options
        self.schedule = user.schedule(options)
        self.for_s = getattr(options, "for_s", None) or math.inf
        self.host = self.environment.host or user.host or ""
        self.client = user.client(self.host, options)
        self.mistakes: set[str] = set()
        self.ending = False
        self.finished = gevent.event.Event()
        self.files = Files(*paths(options), getattr(options, "generator", None) or "load")

    def started(self, epoch: float, arrivals: str, **more: Any) -> None:
        self.files.event(
            "started", pid=os.getpid(), scenario=self.environment.locustfile, arrivals=arrivals, url=self.host,
            epoch=epoch, **more,
        )  # fmt: skip

    def deliver(self, rows: bytes, report: dict[str, Any]) -> None:
        """New rows, and their entries for Locust's statistics. Raises OSError."""
        merge(report, self.environment.stats)
        self.files.rows(rows)

    def mistake(self, text: str) -> None:
        """Log each once; the process then ends with MISTAKEN."""
        if text not in self.mistakes:
            self.mistakes.add(text)
            logger.error(text)

    def finish(self) -> None:
        """Let what is in flight end by its own timeout, and write the account. Later calls only wait."""
        if self.ending:
            self.finished.wait()
            return
        self.ending = True
        try:
            if account := self.settle():
                self.files.event("finished", **account, locust_requests=self.environment.stats.total.num_requests)
        finally:
            self.files.close()
            # Else Locust decides, by the failed requests, which would hide a broken listener.
            if self.mistakes or locust.log.unhandled_greenlet_exception:
                self.environment.process_exit_code = MISTAKEN
            self.finished.set()

    def settle(self) -> dict[str, Any] | None:
        """Stop the load; its account, None when it never began."""
        raise NotImplementedError

    def over(self) -> None:
        """The load has ended by itself: end Locust, with a web UI the test only."""
        if not self.ending:  # else that which ends it also ends Locust
            self.finish()
            runner = self.environment.runner
            gevent.spawn(runner.stop if self.environment.web_ui else runner.quit)


def paths(options: Any) -> tuple[Path | None, Path | None]:
    """Where rows and Events go."""
    rows, events = getattr(options, "rows", None), getattr(options, "events", None)
    return Path(rows) if rows else None, Path(events) if events else None
