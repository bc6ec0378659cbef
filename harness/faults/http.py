"""Wrong answers on a link: a status, a delay, half a body; or metrics that are none, or others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from harness.faults.fault import Facts, Fault
from harness.faults.network import LOOK_S, SLOWER_S, asked, both, share, spoken, ways_of
from harness.faults.network import Network as Toxic
from harness.stack.http_faults import GARBAGE, OF_METRICS, WHATS
from harness.stack.look import Seen
from harness.stack.stack import Stack
from harness.stack.undo import Undo


@dataclass(frozen=True)
class Http(Fault):
    """All responses on a link, or on a share of its connections (`toxicity`), are others.

    `what`: `status` in place of each, or each late by `delay_ms`, or `truncated` to half its body; of the text that
    Prometheus scrapes: `malformed`, `empty`, `renamed` (the `series`, to `to`) or `exploded` (`series` with `values`
    more values of a `label`). `witness_query`: as of `network`, in place of a client of its own.
    """

    link: str
    what: str
    status: int = 503
    delay_ms: int = 0
    series: str = ""
    to: str = ""
    label: str = "exploded"
    values: int = 100
    toxicity: float = 1.0
    witness_query: str = ""
    kind: ClassVar[str] = "http"
    touches: ClassVar[str] = "the responses on link {link}"
    undone: ClassVar[str] = "the toxic is removed from the proxy"
    deeds: ClassVar[tuple[str, ...]] = ()

    def mistakes(self) -> Iterator[tuple[str, str]]:
        what = self.what
        if what not in WHATS:
            yield "what", f"must be one of {', '.join(WHATS)}; got {what!r}"
        if what in OF_METRICS and self.link != "scrape":
            yield "what", f"{what} is for metrics: its link must be scrape; got {self.link!r}"
        if what in ("renamed", "exploded") and not self.series:
            yield "series", f"is missing: which one is {what}?"
        if what == "exploded" and self.values < 1:
            yield "values", f"must be 1 or more; got {self.values}"
        if self.delay_ms < 0 or (what == "delay" and not self.delay_ms):
            yield "delay_ms", f"must be above 0, by which each response is late; got {self.delay_ms}"
        if not 200 <= self.status <= 599:
            yield "status", f"must be from 200 to 599; got {self.status}"
        yield from share(self.toxicity)

    def target(self, stack: Stack) -> Facts:
        ways_of(stack, self.link)
        return self._toxic.target(stack)

    def undo(self, facts: Facts) -> list[Undo]:
        return self._toxic.undo(facts)

    def start(self, stack: Stack, facts: Facts) -> None:
        self._toxic.start(stack, facts)

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """A client of the link's own, beside one that goes round the proxy; or what Prometheus says."""
        if self.witness_query:
            return asked(stack, self.witness_query)
        way = spoken(facts["ways"])
        through, past = both(way, LOOK_S + self.delay_ms / 1000)
        if through is None or not self.shows(through, past):
            return None
        took = f"{len(through.body)} bytes with status {through.status} after {through.whole_s:.3g} s"
        return f"a client of {self.link} at {way.listen} got {took}; past the proxy {len(past.body)}, {past.status}"

    def shows(self, through: Seen, past: Seen) -> bool:
        """Whether the fault is to be seen in a response through the proxy, beside one past it."""
        series = self.series.encode()
        return {
            "status": through.status == self.status != past.status,
            "delay": through.whole_s - past.whole_s >= max(SLOWER_S, self.delay_ms / 2000),
            "truncated": len(through.data) > 0 and len(through.body) < len(past.body),
            "malformed": GARBAGE in through.body and GARBAGE not in past.body,
            "empty": through.status == past.status and not through.body and bool(past.body),
            "renamed": _has(past.body, series) and not _has(through.body, series) and bool(through.body),
            "exploded": through.body.count(b"\n" + series) > past.body.count(b"\n" + series),
        }[self.what]

    @property
    def _toxic(self) -> Toxic:
        attributes = {"what": self.what, "status": self.status, "delay": self.delay_ms, "series": self.series}
        attributes |= {"to": self.to, "label": self.label, "values": self.values}
        return Toxic(self.link, "http", attributes, toxicity=self.toxicity)


def _has(exposition: bytes, series: bytes) -> bool:
    return any(b"\n" + series + after in b"\n" + exposition for after in (b" ", b"{"))
