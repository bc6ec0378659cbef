"""Where an Alertmanager configuration leads an alert: routes, waiting times, integrations, inhibition.

Read from the file, without a process: `read` gives the same answers as `amtool config routes test`, and more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from yaml import MappingNode, Node, ScalarNode, SequenceNode

from harness.document import shown
from harness.stack.matchers import Matcher, parse
from harness.stack.yamltext import absent, entries, items, line, read_nodes, text
from harness.units import nearest, prometheus_seconds

NOT_RESOLVED = {"email", "slack", "wechat", "rocketchat"}  # kinds that say nothing of the end unless they are told to
TRUE = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"}


@dataclass(frozen=True)
class Route:
    """One route that an alert takes, with everything it inherits."""

    receiver: str
    group_by: tuple[str, ...] = ()  # ("...",): by all labels
    group_wait_s: float = 30.0
    group_interval_s: float = 300.0
    repeat_interval_s: float = 14400.0
    mute_intervals: tuple[str, ...] = ()  # of this route alone: they are not inherited
    active_intervals: tuple[str, ...] = ()
    place: str = ""  # file:line


@dataclass(frozen=True)
class Integration:
    """One way by which a receiver is notified."""

    name: str  # as Notification.integration has it: "slack"; "slack[1]" where the receiver has several of the kind
    kind: str
    send_resolved: bool
    place: str
    texts: tuple[tuple[str, str, str], ...] = field(default=(), compare=False, repr=False)  # (setting, text, place)


@dataclass(frozen=True)
class Inhibition:
    """A rule by which some alerts keep others from being notified while they fire."""

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...]
    place: str

    def chooses(self, source: Mapping[str, str]) -> bool:
        """Whether a firing alert with these labels inhibits any."""
        return _all(self.source, source)

    def inhibits(self, source: Mapping[str, str], target: Mapping[str, str]) -> bool:
        """Whether a firing alert with the labels `source` inhibits one with the labels `target`."""
        both = _all(self.source, target) and _all(self.target, source)  # alerts of both sides do not inhibit each other
        same = all(source.get(name, "") == target.get(name, "") for name in self.equal)
        return same and not both and _all(self.source, source) and _all(self.target, target)


@dataclass(frozen=True)
class _Branch:
    """A route of the tree, and the routes below it."""

    route: Route
    matchers: tuple[Matcher, ...]
    goes_on: bool
    below: tuple[_Branch, ...]

    def taken(self, labels: Mapping[str, str]) -> list[Route]:
        if not _all(self.matchers, labels):
            return []
        found: list[Route] = []
        for branch in self.below:
            more = branch.taken(labels)
            found += more
            if more and not branch.goes_on:
                break
        return found or [self.route]

    def all(self) -> Iterator[Route]:
        yield self.route
        for branch in self.below:
            yield from branch.all()


@dataclass(frozen=True)
class Routing:
    """An Alertmanager configuration, as far as it decides who is notified of what and when."""

    name: str  # the file, as its user would write it
    receivers: Mapping[str, tuple[Integration, ...]]
    inhibitions: tuple[Inhibition, ...] = ()
    templates: tuple[str, ...] = ()  # patterns of files
    _top: _Branch = field(default=_Branch(Route(""), (), False, ()), repr=False)

    def routes(self, labels: Mapping[str, str]) -> list[Route]:
        """The routes that an alert with these labels takes, in the order in which Alertmanager finds them."""
        return self._top.taken(labels)

    def all_routes(self) -> list[Route]:
        """Every route of the tree, from its top."""
        return list(self._top.all())

    def integrations(self, receiver: str) -> tuple[Integration, ...]:
        """By what a receiver is notified; () where it is none, or nobody."""
        return self.receivers.get(receiver, ())

    def unreached(self, receiver: str) -> str:
        """Why nobody of this name is ever notified; empty where somebody may be."""
        routed = dict.fromkeys(route.receiver for route in self.all_routes())
        if receiver in routed:
            return ""
        if receiver in self.receivers:
            return f"no route leads to the receiver {receiver}; {nearest(receiver, list(routed))}"
        return f"no receiver is called {receiver}; {nearest(receiver, list(self.receivers))}"


def read(path: Path, problems: list[str]) -> Routing | None:
    """The routing of a configuration file, or None with everything that is wrong with it appended, by file and line."""
    top = read_nodes(path, problems)
    if top is None:
        if not problems or not problems[-1].startswith(shown(path)):
            problems.append(f"{shown(path)}:1: route: is missing, so no alert would reach anybody")
        return None
    return _Reader(shown(path), problems).routing(top)


def integrations(receiver: Node) -> Iterator[tuple[str, str, Node]]:
    """Of a receiver in the file each integration: its name, its kind, its settings."""
    for key, settings in items(receiver).items():
        kind = key.removesuffix("_configs")
        if kind == key:
            continue
        several = len(entries(settings)) > 1
        for i, setting in enumerate(entries(settings)):
            yield (f"{kind}[{i}]" if several else kind), kind, setting


def _texts(node: Node, under: str = "") -> Iterator[tuple[str, Node]]:
    """Every text in the settings of an integration, with the name of the setting that it is in."""
    if isinstance(node, ScalarNode):
        yield under, node
    for key, value in items(node).items() if isinstance(node, MappingNode) else ():
        yield from _texts(value, under or key)
    for value in entries(node) if isinstance(node, SequenceNode) else ():
        yield from _texts(value, under)


def sends_resolved(kind: str, told: str) -> bool:
    """Whether an integration of a kind notifies of the end, where `send_resolved` is this text, or empty."""
    return told in TRUE if told else kind not in NOT_RESOLVED


def _all(matchers: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    return all(matcher.matches(labels) for matcher in matchers)


def _line(problem: str) -> int:
    return int(re.search(r":(\d+): ", problem)[1])


@dataclass
class _Reader:
    """Reads the nodes of a configuration; what is of another form than Alertmanager reads is a problem."""

    name: str
    problems: list[str]

    def routing(self, top: Node) -> Routing | None:
        before = len(self.problems)
        parts = self.mapping(top, "the file")
        receivers: dict[str, tuple[Integration, ...]] = {}
        for i, node in enumerate(self.list(parts.get("receivers"), "receivers")):
            named = self.mapping(node, f"receivers[{i}]")
            receiver = self.text(named.get("name"), f"receivers[{i}].name")
            if receiver in receivers:
                self.wrong(node, f"receivers[{i}]", f"there is another receiver called {receiver!r}")
            for key, settings in named.items():
                if key.endswith("_configs"):
                    for j, setting in enumerate(self.list(settings, f"receivers[{i}].{key}")):
                        self.mapping(setting, f"receivers[{i}].{key}[{j}]")
            receivers[receiver] = tuple(
                Integration(
                    name,
                    kind,
                    sends_resolved(kind, text(items(setting).get("send_resolved"))),
                    self.place(setting),
                    tuple((key, node.value, self.place(node)) for key, node in _texts(setting)),
                )
                for name, kind, setting in integrations(node)
            )
        if absent(route := parts.get("route")):
            self.wrong(top, "route", "is missing, so no alert would reach anybody")
            return None
        if not text(items(route).get("receiver")):
            self.wrong(route, "route", "the top route needs a receiver")
        tree = self.branch(route, "route", Route(""), list(receivers))
        rules = self.list(parts.get("inhibit_rules"), "inhibit_rules")
        inhibitions = tuple(
            self.inhibition(node, f"inhibit_rules[{i}]")
            for i, node in enumerate(rules)
            if "sources" not in items(node)  # of a newer Alertmanager: the run is without it
        )
        templates = self.texts(parts.get("templates"), "templates")
        if len(self.problems) > before:
            self.problems[before:] = sorted(self.problems[before:], key=_line)
            return None
        return Routing(self.name, receivers, inhibitions, templates, tree)

    def branch(self, node: Node, at: str, parent: Route, receivers: list[str]) -> _Branch:
        parts = self.mapping(node, at)
        route = replace(parent, place=self.place(node), mute_intervals=(), active_intervals=())
        if receiver := self.text(parts.get("receiver"), f"{at}.receiver"):
            route = replace(route, receiver=receiver)
            if receiver not in receivers:
                hint = nearest(receiver, receivers)
                self.wrong(parts["receiver"], f"{at}.receiver", f"there is no receiver {receiver!r}; {hint}")
        if group_by := self.texts(parts.get("group_by"), f"{at}.group_by"):
            route = replace(route, group_by=group_by)
        for key in ("group_wait", "group_interval", "repeat_interval"):
            if not absent(value := parts.get(key)):
                route = replace(route, **{f"{key}_s": self.seconds(value, f"{at}.{key}")})
        route = replace(
            route,
            mute_intervals=self.texts(parts.get("mute_time_intervals"), f"{at}.mute_time_intervals"),
            active_intervals=self.texts(parts.get("active_time_intervals"), f"{at}.active_time_intervals"),
        )
        below = self.list(parts.get("routes"), f"{at}.routes")
        return _Branch(
            route,
            self.matchers(parts, at, ""),
            text(parts.get("continue")) in TRUE,
            tuple(self.branch(child, f"{at}.routes[{i}]", route, receivers) for i, child in enumerate(below)),
        )

    def inhibition(self, node: Node, at: str) -> Inhibition:
        parts = self.mapping(node, at)
        return Inhibition(
            self.matchers(parts, at, "source_"),
            self.matchers(parts, at, "target_"),
            self.texts(parts.get("equal"), f"{at}.equal"),
            self.place(node),
        )

    def matchers(self, parts: Mapping[str, Node], at: str, side: str) -> tuple[Matcher, ...]:
        """All of `match`, `match_re` and `matchers` of a route, or of a side of an inhibition."""
        found: list[Matcher] = []
        for key, operator in ((f"{side}match", "="), (f"{side}match_re", "=~")):
            for label, value in self.mapping(parts.get(key), f"{at}.{key}").items():
                wanted = self.text(value, f"{at}.{key}.{label}")
                found += self.sure(value, f"{at}.{key}.{label}", lambda: [Matcher(label, operator, wanted)])  # noqa: B023
        for i, value in enumerate(self.list(parts.get(f"{side}matchers"), f"{at}.{side}matchers")):
            written = self.text(value, f"{at}.{side}matchers[{i}]")
            found += self.sure(value, f"{at}.{side}matchers[{i}]", lambda: parse(written))  # noqa: B023
        return tuple(found)

    def sure(self, node: Node, at: str, make: Callable[[], list[Matcher]]) -> list[Matcher]:
        try:
            return make()
        except ValueError as error:
            self.wrong(node, at, str(error))
            return []

    def seconds(self, node: Node, at: str) -> float:
        try:
            return prometheus_seconds(self.text(node, at))
        except ValueError as error:
            self.wrong(node, at, str(error))
            return 0.0

    def mapping(self, node: Node | None, at: str) -> dict[str, Node]:
        return items(node) if self.of(node, MappingNode, at, "a mapping") else {}

    def list(self, node: Node | None, at: str) -> list[Node]:
        return entries(node) if self.of(node, SequenceNode, at, "a list") else []

    def text(self, node: Node | None, at: str) -> str:
        return text(node) if self.of(node, ScalarNode, at, "text") else ""

    def texts(self, node: Node | None, at: str) -> tuple[str, ...]:
        return tuple(self.text(value, f"{at}[{i}]") for i, value in enumerate(self.list(node, at)))

    def of(self, node: Node | None, form: type[Node], at: str, what: str) -> bool:
        """Whether a node is there; one of another form is a problem."""
        if absent(node):
            return False
        if not isinstance(node, form):
            self.wrong(node, at, f"must be {what}")
        return isinstance(node, form)

    def wrong(self, node: Node, at: str, why: str) -> None:
        self.problems.append(f"{self.place(node)}: {at}: {why}")

    def place(self, node: Node) -> str:
        return f"{self.name}:{line(node)}"
