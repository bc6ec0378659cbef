"""Distributed load: one schedule over several workers, by `locust --processes N`, or `--master` and `--worker`.

The master gives each worker that is there when the load begins its share of one schedule (worker i of n sends the
arrivals k with k mod n = i) and their common epoch. Workers send their rows, and the entries for Locust's statistics,
to the master ten times a second; it writes the one file of rows and the one account. So a row exists once, whatever
becomes of the worker: what a lost one has not reported is marked UNSENT by the master, and one that comes late or comes
back has nothing to add.
"""

from __future__ import annotations

import logging
import math
import uuid
from typing import Any

import gevent
import gevent.event
import numpy as np
from locust import events
from locust.rpc.protocol import Message
from locust.runners import STATE_MISSING, MasterRunner

from harness.history import ROW, Outcome
from harness.load.arrivals import parse
from harness.load.clock import now
from harness.load.locust import golden
from harness.load.locust.dispatch import MISTAKEN, Dispatch, make_ready, one_line
from harness.load.locust.load import Load
from harness.load.locust.open_model import OpenModel

logger = logging.getLogger(__name__)

LEAD_S = 1.5  # from the order to its epoch: connections are opened meanwhile
READY_WITHIN_S = 10.0  # how long a worker that Locust counts may take to be ready
SKEW_S = 0.5  # how far a worker's clock may be off; the latency of its message is part of that
STOP_S = 0.25  # from the order to stop to the common moment of stopping
PATIENCE_S = 5.0  # beyond the timeout of a request: how long a live worker may take with its account

_member: _Master | _Worker | None = None  # of this process


def join(environment: Any, user_class: type[OpenModel]) -> None:
    """Take this process' part, as master or worker."""
    global _member
    if isinstance(environment.runner, MasterRunner):
        _member = _Master(environment, user_class)
    else:
        _member = _Worker(environment, user_class)


def finish() -> None:
    """End the load in an orderly way, if there is one; returns when its account is written."""
    if _member is not None:
        _member.finish()


class _Worker:
    """Sends its share, and reports everything to the master."""

    def __init__(self, environment: Any, user_class: type[OpenModel]):
        self._environment, self._user_class = environment, user_class
        self._dispatch: Dispatch | None = None
        self._reported = gevent.event.Event()
        self._reported.set()
        runner = environment.runner
        runner.register_message("load-share", self._begin)
        runner.register_message("load-stop", self._stop)
        runner.send_message("load-ready", {"clock": now()})

    def finish(self) -> None:
        if self._dispatch is not None:
            self._dispatch.stop()
        self._reported.wait()

    def _begin(self, environment: Any, msg: Any, **_: Any) -> None:
        if self._dispatch is None:
            self._reported.clear()
            gevent.spawn(self._run, msg.data)

    def _stop(self, environment: Any, msg: Any, **_: Any) -> None:
        if self._dispatch is not None:
            self._dispatch.stop(msg.data["at"])

    def _run(self, order: dict[str, Any]) -> None:
        """One run, from the master's order to this worker's account."""
        send, run = self._environment.runner.send_message, order["run"]
        account, mistakes = {}, ["it could not begin"]
        try:
            options = self._environment.parsed_options
            user = self._user_class(self._environment)
            client = user.client(order["host"], options)
            make_ready(user, client)

            def deliver(rows: bytes, report: dict[str, Any]) -> None:
                if rows:
                    send("load-rows", {"run": run, "rows": rows, "report": report})

            self._dispatch = Dispatch(
                user, client, parse(order["arrivals"]) if order["arrivals"] else user.schedule(options), deliver,
                order["epoch"], for_s=order["for_s"] or math.inf, share=tuple(order["share"]),
            )  # fmt: skip
            self._dispatch.start()
            self._dispatch.wait()
            account, mistakes = self._dispatch.account, sorted(self._dispatch.mistakes)
        except Exception as error:
            mistakes = [one_line(error)]
            logger.error(mistakes[0])
        finally:
            send("load-account", {"run": run, "account": account, "mistakes": mistakes})
            self._dispatch = None
            self._reported.set()


class _Share:
    """What the master has of one worker's share: which of its arrivals have rows, and its account."""

    def __init__(self, i: int, n: int):
        self.i, self.n = i, n
        self.account: dict[str, Any] | None = None
        self.mistakes: list[str] = []
        self.rows = self.visits = self.unsent = 0
        self._below = i  # every arrival of the share before this one has its row
        self._beyond = np.empty(0, np.int64)  # further ones that have; few, for rows come nearly in order

    def saw(self, rows: np.ndarray) -> None:
        seqs = rows["seq"][rows["turn"] == 0].astype(np.int64)
        self.rows += len(rows)
        self.visits += len(seqs)
        self.unsent += int(np.count_nonzero(rows["outcome"] == Outcome.UNSENT))
        beyond = np.sort(np.concatenate([self._beyond, seqs]))
        in_order = beyond == self._below + self.n * np.arange(len(beyond))
        known = len(beyond) if in_order.all() else int(np.argmin(in_order))
        self._below += self.n * known
        self._beyond = beyond[known:]

    def so_far(self) -> dict[str, int]:
        """The account of a worker that sent none."""
        counted = {"rows": self.rows, "unsent": self.unsent, "sent": self.rows - self.unsent}
        return {"planned": self.rows, "visits": self.visits, **counted}

    def lacks(self, seq: int) -> bool:
        at = int(np.searchsorted(self._beyond, seq))
        return (
            seq % self.n == self.i and seq >= self._below and not (at < len(self._beyond) and self._beyond[at] == seq)
        )


class _Master:
    """Gives out the shares and writes the results."""

    def __init__(self, environment: Any, user_class: type[OpenModel]):
        self._environment, self._user_class = environment, user_class
        self._ready: dict[str, float] = {}  # how far each worker's clock is ahead of ours, in seconds
        self._load: _Shared | None = None
        runner = environment.runner
        runner.register_message("load-ready", self._is_ready)
        runner.register_message("load-rows", lambda environment, msg, **_: self._load and self._load.rows(msg))
        runner.register_message("load-account", lambda environment, msg, **_: self._load and self._load.accounted(msg))
        events.test_start.add_listener(self._begin)

    def finish(self) -> None:
        if self._load is not None:
            self._load.finish()

    def _is_ready(self, environment: Any, msg: Any, **_: Any) -> None:
        self._ready[msg.node_id] = msg.data["clock"] - now()

    def _begin(self, **_: Any) -> None:
        """The test starts: share the schedule between the workers that are there."""
        clients = self._environment.runner.clients
        until = now() + READY_WITHIN_S
        while not all(c.id in self._ready for c in clients.ready) and now() < until:
            gevent.sleep(0.02)
        workers = {c.id: self._ready[c.id] for c in clients.ready if c.id in self._ready}
        try:
            user = self._user_class(self._environment)
            host = self._environment.host or user.host or ""
            mistakes = golden.take(user, user.schedule(self._environment.parsed_options), host)
            self._load = _Shared(user, workers)
            for mistake in mistakes:
                self._load.mistake(mistake)
        except Exception as error:  # only the web UI gets this far with such a mistake
            logger.error(f"{self._user_class.__name__}: {one_line(error)}")
            self._environment.process_exit_code = MISTAKEN


class _Shared(Load):
    """One run of the schedule over the workers it began with: worker -> how far its clock is ahead."""

    def __init__(self, user: OpenModel, workers: dict[str, float]):
        super().__init__(user)
        self._run = uuid.uuid4().hex
        self._shares = {worker: _Share(i, len(workers)) for i, worker in enumerate(workers)}
        self._stopped_at = math.inf
        self._epoch = now() + LEAD_S
        self.started(self._epoch, str(self.schedule), workers=len(workers))
        for worker, ahead_s in workers.items():
            if abs(ahead_s) > SKEW_S:
                self.mistake(f"{worker}: its clock is {ahead_s:+.1f} s off, so its schedule would be shifted; set it")
        for worker, share in self._shares.items():
            order = {
                "run": self._run,
                "host": self.host,
                "arrivals": getattr(self.environment.parsed_options, "arrivals", None),
                "for_s": None if math.isinf(self.for_s) else self.for_s,
                "epoch": self._epoch,
                "share": [share.i, share.n],
            }
            self.environment.runner.send_message("load-share", order, client_id=worker)
        gevent.spawn(self._watch)

    def rows(self, message: Message) -> None:
        if (share := self._share_of(message)) is not None:
            share.saw(np.frombuffer(message.data["rows"], ROW))
            try:
                self.deliver(message.data["rows"], message.data["report"])
            except OSError as error:
                self.mistake(one_line(error))

    def accounted(self, message: Message) -> None:
        if (share := self._share_of(message)) is not None:
            share.account = message.data["account"]
            share.mistakes += message.data["mistakes"]

    def _share_of(self, message: Message) -> _Share | None:
        """Whose message it is; None when it belongs to another run, or comes after the account."""
        late = message.data["run"] != self._run or self.finished.is_set()
        return None if late else self._shares.get(message.node_id)

    def settle(self) -> dict[str, Any]:
        """Stop all workers, wait for their accounts, and mark what the lost ones left undone."""
        self._stopped_at = now() + (STOP_S if self._waiting() else 0)
        for worker in filter(self._lives, self._shares):
            self.environment.runner.send_message("load-stop", {"at": self._stopped_at}, client_id=worker)
        latest = now() + self.user.timeout_s + PATIENCE_S
        while self._waiting() and now() < latest:
            gevent.sleep(0.05)
        return self._account()

    def _watch(self) -> None:
        """The load is over when every worker has accounted for its share or is gone."""
        while self._waiting():
            gevent.sleep(0.1)
        self.over()

    def _waiting(self) -> bool:
        return any(share.account is None and self._lives(worker) for worker, share in self._shares.items())

    def _lives(self, worker: str) -> bool:
        client = self.environment.runner.clients.get(worker)
        return client is not None and client.state != STATE_MISSING

    def _account(self) -> dict[str, Any]:
        """Of all, after what no account covers is marked. What a lost worker reported was planned and counted; the
        stalls and the processor use of marking the rest are not those of the load."""
        lost = {worker: share for worker, share in self._shares.items() if not share.account}
        rest = Dispatch(self.user, self.client, self.schedule, self.deliver, self._epoch)
        end = min(self._epoch + self.for_s, self._stopped_at)
        if lost:
            for seq, at in enumerate(self.schedule.times()):
                if self._epoch + at >= end:
                    break
                if any(share.lacks(seq) for share in lost.values()):
                    rest.mark(seq, self._epoch + at)
        rest.close()
        accounts = [rest.account | {"stalls": [], "cpu": []}]
        accounts += [share.account or share.so_far() for share in self._shares.values()]
        for worker, share in self._shares.items():
            for mistake in share.mistakes:
                self.mistake(f"{worker}: {mistake}")
        self.mistakes |= rest.mistakes
        until = None if math.isinf(end) else end
        return _together(accounts) | {"workers": len(self._shares), "lost": sorted(lost), "until": until}


def _together(accounts: list[dict[str, Any]]) -> dict[str, Any]:
    """The account of all: counts are sums, lags and durations those of the worst worker; stalls and processor use stay
    apart, each with the number of its worker."""
    worst = ("duration_s", "lag_p99_ms", "lag_max_ms")
    together: dict[str, Any] = {}
    for key in accounts[0]:
        values = [account[key] for account in accounts if account.get(key) is not None]
        if key == "excerpts":
            together[key] = sorted(pair for pairs in values for pair in pairs)
        elif key in ("stalls", "cpu"):
            together[key] = sorted((*span, i) for i, spans in enumerate(values) for span in spans)
        else:
            together[key] = (max(values) if values else None) if key in worst else round(sum(values), 3)
    return together
