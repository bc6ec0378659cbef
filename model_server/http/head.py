"""What is known of a request before its body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from starlette.types import Scope


class Head(NamedTuple):
    """`path` is unquoted; `headers` have lower-case names; `ids` are the request's, trace's and span's."""

    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]
    fields: Mapping[bytes, bytes]
    address: str
    ids: Mapping[str, str]

    def field(self, name: bytes) -> str | None:
        """The first header of that name."""
        value = self.fields.get(name)
        return None if value is None else value.decode("latin-1")


def fields_of(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The first header of each name."""
    return dict(reversed(headers))


def head_of(scope: Scope) -> Head:
    """That of a request of the application."""
    address = scope["client"][0] if scope["client"] else ""
    headers = scope["headers"]
    return Head(scope["method"], scope["path"], headers, fields_of(headers), address, scope["correlation"])
