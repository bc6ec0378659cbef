"""The receivers of an Alertmanager configuration: which there are, and which of them a route leads to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.plan.yamlfile import Loc, YamlFile, dotted
from harness.units import nearest


@dataclass(frozen=True)
class Receivers:
    """Names of receivers; empty where none could be read."""

    listed: tuple[str, ...] = ()
    routed: tuple[str, ...] = ()

    def complaint(self, name: str) -> str:
        """Why nobody of this name can be notified; empty where somebody can, or where nothing is known."""
        if not self.listed or name in self.routed:
            return ""
        if name in self.listed:
            return f"no route leads to the receiver {name}; {nearest(name, self.routed)}"
        return f"no receiver is called {name}; {nearest(name, self.listed)}"


def read_receivers(file: YamlFile, problems: list[str]) -> Receivers:
    """The receivers; what is wrong with their names, or with a route's, is a problem."""
    data = file.data if isinstance(file.data, dict) else {}
    listed: list[str] = []

    def wrong(loc: Loc, why: str) -> None:
        problems.append(f"{file.place(loc)}: {dotted(loc)}: {why}")

    receivers = data.get("receivers") or []
    if not isinstance(receivers, list):
        wrong(("receivers",), "must be a list of receivers, like `- name: pager`")
        return Receivers()
    for i, receiver in enumerate(receivers):
        name = receiver.get("name") if isinstance(receiver, dict) else None
        if name is None:
            wrong(("receivers", i), "must have a name")
        elif str(name) in listed:
            wrong(("receivers", i, "name"), f"another receiver is called {name}; give each its own name")
        else:
            listed.append(str(name))
    routed = []
    for loc, name in _routes(data.get("route"), ("route",)):
        if name in listed:
            routed.append(name)
        elif listed:
            wrong(loc, f"no receiver is called {name}; {nearest(name, listed)}")
    return Receivers(tuple(listed), tuple(dict.fromkeys(routed)))


def _routes(route: Any, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """The receiver that each route names itself; one that names none has that of the route around it."""
    if not isinstance(route, dict):
        return
    if route.get("receiver") is not None:
        yield (*loc, "receiver"), str(route["receiver"])
    for i, inner in enumerate(route["routes"] if isinstance(route.get("routes"), list) else ()):
        yield from _routes(inner, (*loc, "routes", i))
