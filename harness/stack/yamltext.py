"""A YAML file as its nodes: every scalar the text that stands in the file, aliases and merge keys expanded.

Alertmanager reads a scalar as text wherever it wants text: `010`, `yes`, `1.10`, `2020-01-01` and `1:30` are labels.
Only an empty value, `~` and `null` are nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from harness.document import Unreadable, documents, shown, text_of
from harness.errors import PlanError

TAG = "tag:yaml.org,2002:"
NULL, MERGE, BINARY, TEXT = (f"{TAG}{name}" for name in ("null", "merge", "binary", "str"))
NOT_TEXT = {f"{TAG}{name}" for name in ("bool", "int", "float")}
RESET = {"http_config"}  # Alertmanager reads it anew; any other mapping is added to what a merge key brought


def read_nodes(path: Path, problems: list[str]) -> Node | None:
    """The file's first document, expanded, or None with the reasons appended, each with its line. Quotes no value."""
    name = shown(path)
    try:
        text = text_of(path)
        with suppress(ValueError, RecursionError):  # JSON may hold tabs between its values, which YAML may not
            json.loads(text)
            text = text.replace("\t", " ")
        return _Expansion(name, problems).root(next(iter(documents(text)), None))
    except Unreadable as error:
        problems.append(f"{name}:{error.line}: {error}" if error.line else f"{name}: {error}")
    except yaml.MarkedYAMLError as error:
        problems.append(f"{name}:{error.problem_mark.line + 1}: not YAML: {error.problem}")
    except ValueError:  # what !!binary holds
        problems.append(f"{name}:1: not YAML: a value in it cannot be read")
    return None


@dataclass
class _Expansion:
    """A tree in which no two places share a node."""

    name: str
    problems: list[str]

    def root(self, node: Node | None) -> Node | None:
        before = len(self.problems)
        expanded = None if node is None else self.node(node)
        return None if len(self.problems) > before else expanded

    def node(self, node: Node) -> Node:
        if isinstance(node, ScalarNode):
            tag, value, style = node.tag, node.value, node.style
            if tag == BINARY:
                tag, value, style = TEXT, base64.b64decode(value).decode(), '"'
            return ScalarNode(tag, value, node.start_mark, node.end_mark, style)
        if isinstance(node, SequenceNode):
            value: list = [self.node(item) for item in node.value]
        else:
            value = self.pairs(node)
        return type(node)(node.tag, value, node.start_mark, node.end_mark, flow_style=False)

    def pairs(self, node: MappingNode) -> list[tuple[Node, Node]]:
        """The keys of a mapping as Alertmanager's YAML reads them: a merge key where it stands, so that the last of
        two that set the same key wins, and a mapping is added to the one it would replace."""
        found: dict[str, tuple[Node, Node]] = {}
        own: dict[str, int] = {}
        for key, value in node.value:
            if key.tag == MERGE and not key.style:
                sources = value.value[::-1] if isinstance(value, SequenceNode) else [value]
                for source in sources:
                    if not isinstance(source, MappingNode):
                        raise _wrong("what << merges must be a mapping", key)
                    for pair in self.node(source).value:
                        _add(found, pair)
                continue
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                raise _wrong("a key must be text", key)
            if key.value in own:
                first = own[key.value]
                self.problems.append(f"{self.name}:{line}: {key.value}: written twice (first on line {first})")
            own[key.value] = line
            _add(found, (self.node(key), self.node(value)))
        return list(found.values())


def _add(found: dict[str, tuple[Node, Node]], pair: tuple[Node, Node]) -> None:
    key, value = pair
    if key.value in found and isinstance(value, MappingNode) and key.value not in RESET:
        before = found[key.value][1]
        if isinstance(before, MappingNode):
            kept = {k.value: (k, v) for k, v in before.value}
            for inner in value.value:
                _add(kept, inner)
            value.value = list(kept.values())
    found[key.value] = (key, value)


def _wrong(why: str, node: Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=why, problem_mark=node.start_mark)


def text(node: Node | None) -> str:
    """The text of a scalar; empty for nothing and for what is no scalar."""
    return node.value if isinstance(node, ScalarNode) and not absent(node) else ""


def absent(node: Node | None) -> bool:
    """Whether a value is left out, empty, `~` or `null`."""
    return node is None or (isinstance(node, ScalarNode) and node.tag == NULL)


def items(node: Node | None) -> dict[str, Node]:
    """The values of a mapping by their keys; empty for what is none."""
    return {key.value: value for key, value in node.value} if isinstance(node, MappingNode) else {}


def entries(node: Node | None) -> list[Node]:
    """The values of a list; empty for what is none."""
    return list(node.value) if isinstance(node, SequenceNode) else []


def line(node: Node) -> int:
    return node.start_mark.line + 1


class Text(str):
    """A scalar as it stands in a file: `plain` without quotes, on line `line`."""

    plain: bool
    line: int

    def __new__(cls, value: str, plain: bool = False, line: int = 0) -> Text:
        made = super().__new__(cls, value)
        made.plain, made.line = plain, line
        return made


def read(path: Path) -> Any:
    """The file as mappings, lists and Text, None for nothing; `dump` writes what reads the same. Raises PlanError."""
    problems: list[str] = []
    node = read_nodes(path, problems)
    if problems:
        raise PlanError(problems)
    return _data(node)


def dump(data: Any) -> str:
    """Data as YAML: a Text as it stood, any other text in quotes, no aliases."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))


def lines(data: Any) -> Iterator[int]:
    """The line of every key and scalar of what was read, in their order."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield key.line
            yield from lines(value)
    elif isinstance(data, list):
        for value in data:
            yield from lines(value)
    elif data is not None:
        yield data.line


def _data(node: Node | None) -> Any:
    if absent(node):
        return None
    if isinstance(node, ScalarNode):
        return _text(node)
    if isinstance(node, SequenceNode):
        return [_data(item) for item in node.value]
    return {_text(key): _data(value) for key, value in node.value}


_RESOLVER = yaml.resolver.Resolver()


def _text(node: ScalarNode) -> Text:
    as_plain = _RESOLVER.resolve(ScalarNode, node.value, (True, False))
    plain = node.tag in NOT_TEXT or (not node.style and node.tag == as_plain)
    return Text(node.value, plain, line(node))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represented(dumper: _Dumper, text: str) -> ScalarNode:
    if getattr(text, "plain", False):
        return ScalarNode(_RESOLVER.resolve(ScalarNode, text, (True, False)), str(text))
    return ScalarNode(TEXT, str(text), style='"')


for _form in (str, Text):
    _Dumper.add_representer(_form, _represented)
