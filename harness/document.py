"""Files that a user wrote, read within bounds: none blocks, and no few lines become values without end.

YAML and JSON become the same tree of YAML nodes, which know their lines.
"""

from __future__ import annotations

import bisect
import os
import re
import stat
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from json.decoder import JSONDecodeError, scanstring
from pathlib import Path

import yaml

LARGEST = 16 * 2**20  # bytes of a file
DEEPEST = 100  # lists and mappings in each other; each level takes several Python frames to read
MOST = 100_000  # values of a file, each alias counted as all that it stands for

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is there
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_STR, _MAP, _SEQ = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))
_SPACE = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"(?P<int>-?(?:0|[1-9]\d*))(?P<float>(?:\.\d+)?(?:[eE][-+]?\d+)?)|true|false|null|NaN|-?Infinity")
_PLAIN = {"NaN": ".nan", "Infinity": ".inf", "-Infinity": "-.inf"}  # as YAML writes them; Python's json takes them too


class Unreadable(ValueError):
    """Why a file cannot be read, and the line of it where one shows it."""

    def __init__(self, why: str, line: int | None = None):
        self.line = line
        super().__init__(why)


def regular(path: Path | str) -> str:
    """Why a path is no regular file; empty where it is one. Opening anything else may block for ever."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:
        return "cannot be read: no file can have this name"
    return "" if stat.S_ISREG(mode) else f"is {_KINDS.get(stat.S_IFMT(mode), 'no file')}; name a regular file"


def shown(path: Path) -> str:
    """The path as its user would write it, on one line."""
    try:
        name = os.path.relpath(os.path.realpath(path))
    except (OSError, ValueError):  # no file can have this name
        name = str(path)
    name = str(path) if name.startswith("..") else name
    return name if name.isprintable() else ascii(name)


def bytes_of(path: Path | str) -> bytes:
    """The content of a regular file. Raises Unreadable."""
    if why := regular(path):
        raise Unreadable(why)
    try:  # some files of /proc block as well
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            content = file.read(LARGEST + 1) or b""
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise Unreadable(f"cannot be read: it is larger than {LARGEST // 2**20} MiB")
    return content


def text_of(path: Path | str) -> str:
    """The text of a regular file. Raises Unreadable."""
    content = bytes_of(path)
    try:
        return content.decode("utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable("cannot be read: it is not UTF-8 text; save it as UTF-8", line) from None


def compose(text: str) -> yaml.Node | None:
    """The one YAML document of a text; None where there is none. Raises Unreadable."""
    found = documents(text)
    if len(found) > 1:
        raise Unreadable("has a second document (`---`), and must be one", found[1].start_mark.line + 1)
    return found[0] if found else None


def documents(text: str) -> list[yaml.Node]:
    """The YAML documents of a text. Raises Unreadable."""
    try:
        aliases = _bound_events(text)
        found = list(yaml.compose_all(text, Loader=Loader))
    except yaml.YAMLError as error:
        raise yaml_trouble(error) from None
    except Unreadable:
        raise
    except (ValueError, OverflowError):  # such as an escape of a character that does not exist
        raise Unreadable("not YAML: a value in it cannot be read", 1) from None
    for node in found if aliases else ():
        _bound_aliases(node)
    return found


def yaml_trouble(error: yaml.YAMLError, form: str = "YAML") -> Unreadable:
    """What PyYAML has against a text."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if "end of stream" in (problem or "") and "quoted" in (error.context or ""):  # say where the quote begins
        mark, problem = error.context_mark, f"{problem} {error.context}"
    if problem == "second occurrence":  # of an anchor, whose name the context has
        problem = f"{error.context.partition(';')[0]}; give each its own name"
    why = " ".join(str(problem or str(error).partition("\n")[0]).split())
    return Unreadable(f"not {form}: {why}", mark.line + 1 if mark else 1)


def _bound_events(text: str) -> bool:
    """Refuse what would be too deep, or too much, to be composed; events themselves nest nothing. Gives whether there
    is an alias: without one these bounds are all that there are."""
    depth = values = 0
    aliases = False
    for event in yaml.parse(text, Loader=Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        values += isinstance(event, yaml.NodeEvent)
        aliases = aliases or isinstance(event, yaml.AliasEvent)
        _bound(depth, values, event.start_mark)
    return aliases


def _bound(depth: int, values: int, mark: yaml.Mark) -> None:
    if depth > DEEPEST:
        raise Unreadable(
            f"cannot be read: lists and mappings are more than {DEEPEST} deep in each other", mark.line + 1
        )
    if values > MOST:
        why = f"cannot be read: it holds more than {MOST:,} values, each alias counted as all that it stands for"
        raise Unreadable(why, mark.line + 1)


def _bound_aliases(root: yaml.Node) -> None:
    """Refuse a tree that holds itself, or that is too deep or too much once its aliases are expanded."""
    sizes: dict[yaml.Node, tuple[int, int]] = {}  # values in it, depth
    around: set[yaml.Node] = set()
    left = [(root, False)]
    while left:
        node, seen_within = left.pop()
        if seen_within:
            around.discard(node)
            inner = [sizes[child] for child in children(node)]
            sizes[node] = (1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0))
            _bound(sizes[node][1] - 1, sizes[node][0], node.start_mark)
        elif node in around:
            raise Unreadable("cannot be read: a part of it holds itself by an alias", node.start_mark.line + 1)
        elif node not in sizes:
            around.add(node)
            left.append((node, True))
            left += [(child, False) for child in children(node)]


def children(node: yaml.Node) -> Iterator[yaml.Node]:
    """The nodes in a node, keys among them."""
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def compose_json(text: str) -> yaml.Node:
    """The tree of a JSON text, as Python's own reader takes it. Raises Unreadable."""
    try:
        node, end = _Json(text).value(0, 0)
        if (end := _SPACE.match(text, end).end()) != len(text):
            raise JSONDecodeError("Extra data", text, end)
    except JSONDecodeError as error:
        raise Unreadable(
            f"not JSON: {error.msg[0].lower()}{error.msg[1:]} (column {error.colno})", error.lineno
        ) from None
    return node


class _Json:
    """One JSON text, read from left to right; each part gives its node and where it ends."""

    def __init__(self, text: str):
        self.text, self.values = text, 0
        self.lines = [i for i, character in enumerate(text) if character == "\n"]

    def value(self, at: int, depth: int) -> tuple[yaml.Node, int]:
        at = _SPACE.match(self.text, at).end()
        self.values += 1
        mark = self.mark(at)
        opening = self.text[at : at + 1]
        _bound(depth + (opening in ("{", "[")), self.values, mark)
        if opening == "{":
            pairs, end = self._items(at, "}", depth, self._pair)
            return yaml.MappingNode(_MAP, pairs, mark, mark), end
        if opening == "[":
            items, end = self._items(at, "]", depth, self.value)
            return yaml.SequenceNode(_SEQ, items, mark, mark), end
        if opening == '"':
            text, end = scanstring(self.text, at + 1, True)
            return yaml.ScalarNode(_STR, text, mark, self.mark(end)), end
        if not (word := _WORD.match(self.text, at)):
            raise JSONDecodeError("Expecting value", self.text, at)
        found = word.group()
        kind = "float" if word["float"] or found in _PLAIN else "int" if word["int"] else "bool"
        tag = f"tag:yaml.org,2002:{'null' if found == 'null' else kind}"
        return yaml.ScalarNode(tag, _PLAIN.get(found, found), mark, self.mark(word.end())), word.end()

    def mark(self, at: int) -> yaml.Mark:
        return yaml.Mark(None, at, bisect.bisect_left(self.lines, at), 0, None, None)

    def _items(self, at: int, closing: str, depth: int, part: object) -> tuple[list, int]:
        found: list = []
        at = _SPACE.match(self.text, at + 1).end()
        while self.text[at : at + 1] != closing or found:  # a comma wants a value after it
            item, at = part(at, depth + 1)
            found.append(item)
            at = _SPACE.match(self.text, at).end()
            if self.text[at : at + 1] == closing:
                break
            if self.text[at : at + 1] != ",":
                raise JSONDecodeError(f"Expecting ',' or '{closing}'", self.text, at)
            at += 1
        return found, at + 1

    def _pair(self, at: int, depth: int) -> tuple[tuple[yaml.Node, yaml.Node], int]:
        at = _SPACE.match(self.text, at).end()
        if self.text[at : at + 1] != '"':
            raise JSONDecodeError("Expecting a key in double quotes", self.text, at)
        key, at = self.value(at, depth)
        at = _SPACE.match(self.text, at).end()
        if self.text[at : at + 1] != ":":
            raise JSONDecodeError("Expecting ':'", self.text, at)
        value, at = self.value(at + 1, depth)
        return (key, value), at
