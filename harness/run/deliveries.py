"""Delivers what no experiment of seconds can raise: alerts are posted to Alertmanager as their replay raised them.

Each is posted with the labels and annotations that its rule gave it there, at first together with what fires at the
same time in its replay and may inhibit it. What inhibits it is ended where that ends before it; then the alert itself.
Alerts that might inhibit each other, though no replay has both, are posted in turns, each to an empty Alertmanager.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from harness.checks import AlertDelivered
from harness.errors import StackError
from harness.history import History, Notification, Replay
from harness.plan.plan import Plan
from harness.plan.relabelling import relabelled
from harness.recordfile import records
from harness.rules.rendering import rendered
from harness.rules.rulefile import AlertRule
from harness.run.phases import renew_alertmanager
from harness.run.session import Session
from harness.stack.tools import Tools

ARRIVES_S = 3.0  # gate seconds that Alertmanager and the sinks have beside the waits of a route
_CLIENT = httpx.Client(trust_env=False, verify=False)


@dataclass(frozen=True, eq=False)
class Posting:
    """An alert that is to be posted, and what it came from."""

    check: AlertDelivered
    replay: Replay

    @property
    def inhibitors(self) -> list[dict[str, Any]]:
        """What fires when it begins to, and may inhibit it."""
        return [one for one in self.replay.inhibitors if one["firing_s"] <= self.replay.firing_s]

    @property
    def free_s(self) -> float:
        """When it fires and nothing inhibits it any more, in production seconds after the fault began."""
        return max([self.replay.firing_s, *(one["last_firing_s"] for one in self.inhibitors)])

    @property
    def never_free(self) -> list[str]:
        """What inhibits it for as long as it fires."""
        last = self.replay.last_firing_s
        return [one["alert"] for one in self.inhibitors if one["last_firing_s"] >= last]


def postings(plan: Plan, history: History) -> list[Posting]:
    """The alerts that are to be posted: those that fired in the replay that their contract wants."""
    found = []
    held = {(c.experiment, str(c.alert)) for c in plan.checks if getattr(c, "held_s", None) is not None}
    for check in plan.checks:
        if not isinstance(check, AlertDelivered) or not check.posted:
            continue
        kept = history.held if (check.experiment, str(check.alert)) in held else history.replays
        one = kept.get(check.experiment, {}).get(str(check.alert))
        if one is not None and not one.problem and one.firing_s is not None and one.labels:
            found.append(Posting(check, one))
    return found


def in_turns(all_: Iterable[Posting]) -> list[list[Posting]]:
    """Those that may be posted at once are together: none is of another's name, or may inhibit another."""
    turns: list[list[Posting]] = []
    for one in all_:
        turn = next((turn for turn in turns if not any(_meet(one, other) for other in turn)), None)
        if turn is None:
            turns.append([one])
        else:
            turn.append(one)
    return turns


def _meet(one: Posting, other: Posting) -> bool:
    names = [{each.check.alert.name} for each in (one, other)]
    inhibiting = [{alert.name for alert, _ in each.check.inhibiting} for each in (one, other)]
    posted = [names[i] | {source["labels"][0]["alertname"] for source in each.inhibitors if source["labels"]}
              for i, each in enumerate((one, other))]  # fmt: skip
    return bool(names[0] & names[1] or posted[0] & inhibiting[1] or posted[1] & inhibiting[0])


def deliver(session: Session, tools: Tools, history: History | None = None) -> None:
    """Post what is to be posted, and leave an event for each with its moments. history: None: as the run has it."""
    turns = in_turns(postings(session.plan, history or History.read(session.stack.run)))
    for n, turn in enumerate(turns, 1):
        stage = f"deliveries {n}/{len(turns)}"
        renew_alertmanager(session, stage, "deliveries")
        _post_turn(session, tools, turn, stage)


def _post_turn(session: Session, tools: Tools, turn: Sequence[Posting], stage: str) -> None:
    plan, run, scale = session.plan, session.stack.run, session.plan.gate.time_scale
    waits_s = max((p.check.group_wait_s or 0.0 for p in turn), default=0.0) / scale + ARRIVES_S
    changes_s = max((p.check.group_interval_s or 0.0 for p in turn), default=0.0) / scale + ARRIVES_S
    texts = {str(rule.alert): rule for rule in plan.alerts}
    mine = {p: _bodies(plan, tools, run, texts.get(str(p.check.alert)), p.replay.labels) for p in turn}
    sources = {
        p: [b for one in p.inhibitors for b in _bodies(plan, tools, run, texts.get(one["alert"]), one["labels"])]
        for p in turn
    }
    notified = run / "notifications.jsonl"

    def arrived(status: str, since: float) -> dict[Posting, bool]:
        seen = [n for n in records(notified, Notification, open_end=True) if n.at >= since and n.status == status]
        return {p: _by_all(p.check, seen, status) for p in turn}

    began = time.time()
    post(session.stack.alertmanager_url, [body for p in turn for body in (*sources[p], *mine[p])], began)
    freed, early = began, dict.fromkeys(turn, True)
    if any(sources.values()):  # they are told of first, and end only then
        session.let_pass(f"{stage}: what inhibits", waits_s)
        freed, early = time.time(), arrived("firing", began)
        over = [body for p in turn if not p.never_free for body in sources[p]]
        post(session.stack.alertmanager_url, over, freed, ends=True)

    def all_know(status: str, since: float) -> bool:
        return all(came for p, came in arrived(status, since).items() if not p.never_free)

    session.wait(f"{stage}: until receivers know", lambda: all_know("firing", began), max(waits_s, changes_s))
    ends = time.time()
    post(session.stack.alertmanager_url, [body for p in turn for body in mine[p]], ends, ends=True)
    session.wait(f"{stage}: until they know it is over", lambda: all_know("resolved", ends), changes_s)
    session.let_pass(f"{stage}: aftermath", 2 * ARRIVES_S / 6)
    ended = time.time()
    evaluation_s = plan.service.monitoring.evaluation_interval
    for p in turn:
        waited = bool(p.inhibitors) and not early[p]  # else nothing inhibited it
        session.log.event(
            "run", "posted", at=began, experiment=p.check.experiment, alert=str(p.check.alert),
            receiver=p.check.receiver, labels=list(p.replay.labels),
            inhibited=[[one["alert"], one["last_firing_s"]] for one in p.inhibitors] if waited else [],
            never_free=p.never_free if waited else [],
            firing_at=freed if waited else began, fires_s=p.free_s if waited else p.replay.firing_s,
            resolved_at=ends, ended_at=ended,
            after_effect_s=max(0.0, p.replay.last_firing_s + evaluation_s - (p.replay.fault_end_s or 0.0)),
        )  # fmt: skip


def _by_all(check: AlertDelivered, seen: Sequence[Notification], status: str) -> bool:
    """Whether each integration of its receiver was told."""
    mine = {n.integration for n in seen if n.receiver == check.receiver and check.alert.name in n.alerts}
    wanted = {name for name, sends in check.integrations if sends or status == "firing"}
    return wanted <= mine if wanted else bool(mine) or bool(check.integrations)


def _bodies(
    plan: Plan, tools: Tools, run: Any, rule: AlertRule | None, labels: Sequence[dict[str, str]]
) -> list[dict[str, Any]]:
    """What Prometheus would send of an alert, for each of its instances."""
    bodies = []
    for each in labels:
        monitoring = plan.service.monitoring
        sent = relabelled({**monitoring.external_labels, **each}, monitoring.alert_relabel_configs)
        if sent is None:  # Prometheus drops it
            continue
        annotations = {}
        if rule is not None:
            workdir = run / "replay"
            workdir.mkdir(exist_ok=True)
            made = {one.name: one.text for one in rendered(tools.promtool, [(rule, each)], workdir)}
            annotations = {k: made.get(f"annotation {k}", v) for k, v in rule.annotations.items()}
        bodies.append({"labels": sent, "annotations": annotations})
    return bodies


def post(alertmanager_url: str, alerts: Sequence[dict[str, Any]], at: float, ends: bool = False) -> None:
    """Tell Alertmanager of alerts as Prometheus does. Raises StackError."""
    moment = datetime.fromtimestamp(at, UTC).isoformat()
    bodies = [{**alert, **({"endsAt": moment} if ends else {"startsAt": moment})} for alert in alerts]
    if not bodies:
        return
    try:
        answer = _CLIENT.post(f"{alertmanager_url}/api/v2/alerts", json=bodies, timeout=5.0)
    except httpx.HTTPError as error:
        raise StackError(f"Alertmanager took no posted alerts: {error!r}") from error
    if answer.status_code != 200:
        raise StackError(f"Alertmanager took no posted alerts: {answer.status_code}: {answer.text[:300]}")
