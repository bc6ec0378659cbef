"""Go's quoted strings, as promtool prints them and templates have them."""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))", re.DOTALL)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}


def unquoted(text: str) -> str:
    """What a string in double quotes or backquotes says. An escape that Go does not know stays; Prometheus refuses it.

    Not ast.literal_eval: in CPython 3.11 its parser counts its depth over all threads, and fails in several at once.
    """
    return text[1:-1] if text[0] == "`" else _ESCAPE.sub(_character, text[1:-1])


def _character(escape: re.Match[str]) -> str:
    hexadecimal = escape[1] or escape[2] or escape[3]
    if hexadecimal:
        return chr(int(hexadecimal, 16))
    if escape[4]:
        return chr(int(escape[4], 8))
    return _PLAIN.get(escape[5], escape[0])
