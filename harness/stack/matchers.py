"""What selects alerts in an Alertmanager configuration: matchers in all their forms, with Go's regular expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

_CLASSIC = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.S | re.A)
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_UTF8 = re.compile(rf"\s*({_QUOTED}|[^\s{{}}!=~,\\\"'`]+)\s*(=~|!~|!=|=)\s*({_QUOTED}|[^\s{{}}!=~,\\\"'`]+)\s*", re.S)
_GO_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.S)
_GO_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip


@dataclass(frozen=True)
class Matcher:
    """One condition on a label. A label that an alert lacks is the empty text."""

    label: str
    operator: str  # = != =~ !~
    value: str

    def __post_init__(self) -> None:
        if self.operator.endswith("~"):
            _ = self.pattern  # one that is none is an error now

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return go_regex(self.value)

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.label, "")
        equal = bool(self.pattern.fullmatch(value)) if self.operator.endswith("~") else value == self.value
        return equal != self.operator.startswith("!")

    def __str__(self) -> str:
        return f'{self.label}{self.operator}"{self.value}"'


def parse(text: str) -> list[Matcher]:
    """The matchers in one string of `matchers:`: `a=b`, `a="b"`, `a=~"b|c",d!="e"`, `{a="b"}`, and since 0.27 any name
    in quotes. Raises ValueError.

    As Alertmanager does, the older grammar is tried first.
    """
    try:
        return [_classic(part) for part in _parts(text.removeprefix("{").removesuffix("}"))]
    except ValueError as error:
        found = _utf8(text)
        if found is None:
            raise error from None
        return found


def _parts(text: str) -> list[str]:
    """Split at the commas outside quotes; the end may be empty, a part before it not."""
    parts, part, quoted, escaped = [], "", False, False
    for character in text:
        if character == "," and not quoted:
            parts.append(part)
            part = ""
            continue
        if character == '"' and not escaped:
            quoted = not quoted
        escaped = character == "\\" and not escaped
        part += character
    return [*parts, part] if part.strip() else parts


def _classic(text: str) -> Matcher:
    found = _CLASSIC.fullmatch(text)
    if not found:
        raise ValueError(f'not a matcher, like severity="critical": {text.strip()!r}')
    label, operator, raw = found.groups()
    quoted = raw.startswith('"')
    inner = re.fullmatch(r'"((?:[^"\\]|\\.)*)"' if quoted else r'((?:[^"\\]|\\.|\\$)*)', raw, re.S)
    if not inner:
        raise ValueError(f"a double quote in a matcher must be escaped or at both ends of the value: {text.strip()!r}")
    value = re.sub(r'\\([n"\\])', lambda m: "\n" if m[1] == "n" else m[1], inner[1])
    return Matcher(label, operator, value)


def _utf8(text: str) -> list[Matcher] | None:
    """In the grammar since 0.27; None where it is none."""
    text = text.strip()
    if text.startswith("{") != text.endswith("}"):
        return None
    text = text[1:-1] if text.startswith("{") else text
    found, at = [], 0
    while text[at:].strip():
        one = _UTF8.match(text, at)
        if not one or (one.end() < len(text) and text[one.end()] != ","):
            return None
        label, operator, value = (unquoted(part) for part in one.groups())
        found.append(Matcher(label, operator, value))
        at = one.end() + 1
    return found


def unquoted(text: str) -> str:
    """A text without its double quotes and with Go's escapes undone; one that is not quoted as it is. Raises
    ValueError."""
    if not text.startswith('"'):
        return text

    def character(escape: re.Match[str]) -> str:
        what = escape[1]
        if what in _GO_ESCAPES:
            return _GO_ESCAPES[what]
        if what[0] in "xuU" and len(what) > 1:
            return chr(int(what[1:], 16))
        if what.isdigit() and len(what) == 3:
            return chr(int(what, 8))
        raise ValueError(f"no such escape in a matcher: \\{what}")

    return _GO_ESCAPE.sub(character, text[1:-1])


def go_regex(text: str) -> re.Pattern[str]:
    """A regular expression of Go's, to be matched in full. Raises ValueError.

    Python's dialect differs: flags may stand anywhere and hold to the end of their group, `\\z`, `\\Q..\\E`, `{,n}` and
    POSIX classes, and \\d, \\w, \\s and \\b know ASCII only.
    """
    try:
        return re.compile(_python(text), re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression that can be read here: {text!r}: {error}") from None


def _python(text: str) -> str:
    out: list[str] = []
    open_flags: list[list[str]] = [[]]  # for each group around, the flags that were set in it
    multiline = bool(re.search(r"\(\?[a-zA-Z]*m", text))
    at = 0
    while at < len(text):
        rest = text[at:]
        if quoted := re.match(r"\\Q(.*?)(?:\\E|\Z)", rest, re.S):
            out.append(re.escape(quoted[1]))
            at += quoted.end()
        elif rest[0] == "[":
            part, length = _class(rest)
            out.append(part)
            at += length
        elif flags := re.match(r"\(\?([imsU]*)(?:-([imsU]+))?([:)])", rest):
            on, off = flags[1].replace("U", ""), (flags[2] or "").replace("U", "")  # greed does not change what matches
            start = f"(?{on}{'-' + off if off else ''}:"
            out.append(start)
            if flags[3] == ")":
                open_flags[-1].append(start)
            else:
                open_flags.append([])
            at += flags.end()
        elif rest[0] == "(":
            out.append("(?P<" if re.match(r"\(\?<\w", rest) else "(")
            at += 3 if out[-1] == "(?P<" else 1
            open_flags.append([])
        elif rest[0] == ")":
            out.append(")" * (len(open_flags[-1]) + 1))
            open_flags = open_flags[:-1] or [[]]
            at += 1
        elif rest[0] == "|":
            out.append(")" * len(open_flags[-1]) + "|" + "".join(open_flags[-1]))
            at += 1
        elif rest[0] == "$" and not multiline:
            out.append(r"\Z")
            at += 1
        elif rest.startswith("{,"):
            out.append(r"\{,")
            at += 2
        elif rest[0] == "\\":
            part, length = _escape(rest)
            out.append(part)
            at += length
        else:
            out.append(rest[0])
            at += 1
    return "".join(out) + ")" * len(open_flags[0])


def _class(rest: str) -> tuple[str, int]:
    """A class in brackets as Python has it, and its length in the text."""
    at = 2 if rest.startswith("[^") else 1
    out, first = rest[:at], True
    while at < len(rest) and (first or rest[at] != "]"):
        if named := re.match(r"\[:(\w+):\]", rest[at:]):
            if named[1] not in _POSIX:
                raise ValueError(f"no such class: {named[0]}")
            out, at = out + _POSIX[named[1]], at + named.end()
        elif rest[at] == "\\":
            part, length = _escape(rest[at:])
            out, at = out + part, at + length
        else:
            out, at = out + (r"\[" if rest[at] == "[" else rest[at]), at + 1
        first = False
    return out + "]", at + 1


def _escape(rest: str) -> tuple[str, int]:
    if wide := re.match(r"\\x\{([0-9a-fA-F]+)\}", rest):
        return re.escape(chr(int(wide[1], 16))), wide.end()
    if re.match(r"\\[pPCX]", rest):
        raise ValueError(f"classes of Unicode (\\{rest[1]}) cannot be read here")
    return (r"\Z" if rest[:2] == r"\z" else rest[:2]), 2
