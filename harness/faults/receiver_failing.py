"""A receiver of notifications fails: PagerDuty, Slack, a mail server, a webhook answers 5xx, late, or not at all."""

from __future__ import annotations

import json
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import failing, yamltext
from harness.stack.failing import HOWS, Failing
from harness.stack.look import look
from harness.stack.messages import coded
from harness.stack.stack import Stack
from harness.stack.undo import Undo

LOOK_S = 2.0


@dataclass(frozen=True)
class ReceiverFailing(Fault):
    """Messages of one `integration` (pagerduty, slack, email, webhook, ...; of one `receiver`), or of all, are answered
    with `status` (mail: 451), late by `delay_ms` (`how: slow`), or their connections are reset (`how: refused`).

    Alertmanager has to try again, and its message to arrive once the fault is over.
    """

    how: str = "status"
    integration: str = ""
    receiver: str = ""
    status: int = 503
    delay_ms: int = 0
    kind: ClassVar[str] = "receiver_failing"
    alone: ClassVar[str] = "receivers"
    touches: ClassVar[str] = "the stand-ins of receivers {integration}{receiver}"
    undone: ClassVar[str] = "they take messages again"
    deeds: ClassVar[tuple[str, ...]] = ()

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if self.how not in HOWS:
            yield "how", f"must be one of {', '.join(HOWS)}; got {self.how!r}"
        if self.delay_ms < 0 or (self.how == "slow" and not self.delay_ms):
            yield "delay_ms", f"must be above 0, by which each answer is late; got {self.delay_ms}"
        if not 400 <= self.status <= 599:
            yield "status", f"must be from 400 to 599, which Alertmanager takes for a failure; got {self.status}"

    def target(self, stack: Stack) -> Facts:
        known = {
            (str(receiver["name"]), key.removesuffix("_configs"))
            for receiver in yamltext.read(stack.run / "alertmanager.yaml")["receivers"]
            for key in receiver
            if key.endswith("_configs")
        }
        kind = self.integration.partition("[")[0]
        mine = sorted((r, k) for r, k in known if self.receiver in ("", r) and kind in ("", k))
        if not mine:
            has = ", ".join(f"{integration} of {receiver}" for receiver, integration in sorted(known))
            raise FaultError(f"receiver_failing: no receiver has such an integration; there is {has}")
        if failing.file_of(stack.run).exists():
            raise FaultError("receiver_failing: a receiver fails already; undo that first")
        receiver, integration = mine[0]
        return {"file": str(failing.file_of(stack.run)), "receiver": receiver, "integration": integration}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("remove", {"path": facts["file"]})]

    def start(self, stack: Stack, facts: Facts) -> None:
        failing.write(stack.run, Failing(self.how, self.integration, self.receiver, self.status, self.delay_ms))

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """Another client of the receiver, which is answered as Alertmanager is."""
        ports = json.loads((stack.run / "sinks.json").read_text())
        integration = self.integration or facts["integration"]
        if integration.startswith("email"):
            return self._by_mail(ports["smtp"])
        path = f"/{coded(integration)}/{coded(facts['receiver'])}"
        seen = look(f"127.0.0.1:{ports['http']}", path, LOOK_S + self.delay_ms / 1000)
        shows = {
            "status": seen.status == self.status,
            "slow": seen.status == 200 and seen.whole_s >= self.delay_ms / 2000,
            "refused": seen.end == "reset" and not seen.data,
        }
        if not shows[self.how]:
            return None
        got = f"status {seen.status}" if seen.status else seen.end
        return f"{integration} of {facts['receiver']}, asked by another client: {got} after {seen.whole_s:.2g} s"

    def _by_mail(self, port: int) -> str | None:
        with smtplib.SMTP("127.0.0.1", port, timeout=LOOK_S + self.delay_ms / 1000) as client:
            client.ehlo()
            code, said = client.mail("witness@localhost")
        if code == {"status": 451, "refused": 421}.get(self.how):
            return f"the mail server, asked by another client: {code} {said.decode(errors='replace')}"
        return None
