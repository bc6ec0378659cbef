"""The PromQL inside templates of labels and annotations: found where it is written out, and exchanged there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from harness.rules.quoted import unquoted

_STRING = r'"(?:[^"\\\n]|\\.)*"|`[^`]*`'
_COMMENT = r"/\*.*?\*/"
_ACTION = re.compile(rf"\{{\{{(?:{_COMMENT}|{_STRING}|'(?:[^'\\\n]|\\.)*'|[^\"`'}}]|\}}(?!\}}))*\}}\}}", re.DOTALL)
_TOKEN = re.compile(
    rf"(?P<comment>{_COMMENT})|(?P<string>{_STRING})|(?P<char>'(?:[^'\\\n]|\\.)*')|(?P<word>[.$]?\w+)|(?P<other>[^\s])",
    re.DOTALL,
)
_BEGINS = {"{", "-", "(", "=", "with", "if", "range"}  # what stands before the first word of a pipeline


@dataclass(frozen=True)
class Query:
    """A call of `query` in a template. `text` is its quoted expression, or all of the action where it has none."""

    start: int
    text: str
    expr: str | None  # None: made when the template is filled in, by printf or from a variable


def queries(template: str) -> list[Query]:
    """Every call of `query` in a template, in order."""
    found = []
    for action in _ACTION.finditer(template):
        tokens = [token for token in _TOKEN.finditer(action[0]) if token.lastgroup != "comment"]
        for i, token in enumerate(tokens):
            if token.group() == "query":
                string = _argument(tokens, i)
                text, at = (string.group(), string.start()) if string else (action[0], 0)
                found.append(Query(action.start() + at, text, unquoted(text) if string else None))
    return found


def exchanged(template: str, new: Callable[[str], str]) -> str:
    """The template with another expression for each that is written out, and every other character as it was."""
    for query in reversed(queries(template)):
        if query.expr is not None and (expr := new(query.expr)) != query.expr:
            quoted = f"`{expr}`" if query.text[0] == "`" else json.dumps(expr, ensure_ascii=False)
            template = template[: query.start] + quoted + template[query.start + len(query.text) :]
    return template


def _argument(tokens: list[re.Match[str]], at: int) -> re.Match[str] | None:
    """The string that a call is given, after it or before it in a pipeline, and alone."""
    after = tokens[at + 1] if at + 1 < len(tokens) else None
    if after is not None and after.lastgroup == "string":
        return after
    before = tokens[max(0, at - 3) : at]
    if len(before) == 3 and before[2].group() == "|" and before[1].lastgroup == "string":
        return before[1] if before[0].group() in _BEGINS else None
    return None
