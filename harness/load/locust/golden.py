"""Golden answers: what the service answers to each input of a scenario while nothing else is asked, before the load.

Their rows are those of a generator of their own, `golden`. They are no part of the schedule, of its account and of
Locust's statistics. Each has a connection of its own, so that behind a front door the replicas take turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.history import GOLDEN
from harness.load.arrivals import constant, poisson
from harness.load.clock import now
from harness.load.locust.dispatch import Dispatch, first_of, one_line
from harness.load.locust.load import paths
from harness.load.locust.open_model import OpenModel, Visit
from harness.load.recorder import Files
from harness.load.request import Request, picture

AT_MOST = 200  # requests; a visit may have 256
FOR_S = 6.0  # after which none is begun
PATIENCE_S = 5.0  # with one answer
EXAMINED = 1000  # of the scenario's first requests
A_FEW = 20  # requests without a new input that say that there is none


class Once:
    """The schedule of one visit, at once."""

    def times(self) -> Iterator[float]:
        yield 0.0


def take(user: OpenModel, schedule: Any, host: str) -> list[str]:
    """Ask each input alone, as often as `--golden-each` says, one request after the other; gives the scenario's
    mistakes. Rows go to the file of `--golden`; without that option nothing is done.

    Nor is anything asked before a load that varies or opens no connection beforehand: it is judged from its first
    request on, and must meet a service that has had none. Raises HarnessError for options that make no client, OSError
    where the rows cannot be written.
    """
    options = user.environment.parsed_options
    if not getattr(options, "golden", None):
        return []
    files = Files(Path(options.golden), paths(options)[1], GOLDEN)
    try:
        since, mistakes, asked, each = now(), [], [], max(1, options.golden_each or 1)
        alone = type(user)(user.environment)
        if user.predicts() and user.warm and isinstance(schedule, (constant, poisson)):
            try:
                asked = inputs(alone, max(1, AT_MOST // each))
            except Exception as error:  # as the load will meet it
                mistakes.append(one_line(error))
        if asked:
            alone.request = lambda k: _one_after_the_other(asked, each, since + FOR_S)
            client = user.client(host, options)
            client.timeout_s, client.idle_s = min(client.timeout_s, PATIENCE_S), 0.0
            dispatch = Dispatch(alone, client, Once(), lambda rows, report: files.rows(rows), since)
            dispatch.start()
            dispatch.wait()
            mistakes += sorted(dispatch.mistakes)
        files.event("golden", since=since, inputs=len(asked), each=each, took_s=round(now() - since, 3))
        return mistakes
    finally:
        files.close()


def inputs(user: OpenModel, at_most: int) -> list[Request]:
    """The distinct inputs that the scenario's first requests hold, without those that are to be refused or come from
    slow clients. The search ends where as many requests in a row hold none that is new as there are inputs. The last
    comes first: a service that spoils each n-th answer would else spoil those to the same inputs as under the load."""
    found: dict[int, Request] = {}
    without = 0
    for k in range(EXAMINED):
        request = first_of(user, user.request(k), k)
        number = picture(request) if request.pace is None and not request.expect_status else 0
        without = 0 if number and number not in found else without + 1
        if number:
            found.setdefault(number, request)
        if len(found) >= at_most or without > max(A_FEW, len(found)):
            break
    return list(found.values())[::-1]


def _one_after_the_other(asked: Sequence[Request], each: int, until: float) -> Visit:
    for request in asked:
        for _ in range(each):
            if now() >= until:
                return
            yield request._replace(after_s=0.0) if request.after_s else request
