"""The content of a response: its body with every Content-Encoding undone, bounded in size whatever is sent."""

from __future__ import annotations

import zlib
from typing import Any

from harness.load.connection import KEPT_BODY_BYTES, final_fields
from harness.load.request import Response

try:
    import brotli  # comes with Locust
except ImportError:
    brotli = None

MOST_CODINGS, MOST_MEMBERS = 5, 100  # each costs a pass over all that follows it


class NotDecoded(Exception):
    """The generator does not know how to undo an encoding: nothing is known of the content."""


class BrokenEncoding(Exception):
    """The body is not encoded as its head says: nobody can read it."""


def field(response: Response, name: bytes) -> bytes:
    """The values of a header field of a response, joined by commas; `name` in lower case."""
    parts = (line.partition(b":") for line in final_fields(response.head)[1:])
    return b",".join(value.strip() for key, _, value in parts if key.strip().lower() == name)


def decoded(response: Response) -> Response:
    """The same with its content as body; `cut` says that there is more of it than is kept. Raises NotDecoded and
    BrokenEncoding."""
    named = [c.strip().lower().decode("latin-1") for c in field(response, b"content-encoding").split(b",")]
    codings = [coding for coding in named if coding not in ("", "identity")]
    body, cut = response.body, response.cut
    if not body or not codings:
        return response
    if unknown := [coding for coding in codings if coding not in _DECODERS]:
        raise NotDecoded(unknown[0])
    if len(codings) > MOST_CODINGS:
        raise NotDecoded(f"{len(codings)} codings, one in another")
    for coding in reversed(codings):
        try:
            body, ends = _DECODERS[coding](body)
        except (zlib.error, _BrotliError):
            raise BrokenEncoding(coding) from None
        if not (ends or cut or len(body) > KEPT_BODY_BYTES):
            raise BrokenEncoding(coding)
        cut = cut or len(body) > KEPT_BODY_BYTES
    return response._replace(body=body[:KEPT_BODY_BYTES], cut=cut)


def _gzip(data: bytes) -> tuple[bytes, bool]:
    """One member after the other; what follows the last is ignored, as gzip itself does."""
    found, ends, data = _inflate(data, 31, KEPT_BODY_BYTES + 1)
    members = 1
    while ends and data.startswith(b"\x1f\x8b") and len(found) <= KEPT_BODY_BYTES:
        if members == MOST_MEMBERS:
            raise NotDecoded(f"gzip of more than {MOST_MEMBERS} members")
        more, ends, data = _inflate(data, 31, KEPT_BODY_BYTES + 1 - len(found))
        found, members = found + more, members + 1
    return found, ends


def _deflate(data: bytes) -> tuple[bytes, bool]:
    """In the zlib format, as the standard has it, or bare, as many send it."""
    try:
        return _inflate(data, 15, KEPT_BODY_BYTES + 1)[:2]
    except zlib.error:
        return _inflate(data, -15, KEPT_BODY_BYTES + 1)[:2]


def _inflate(data: bytes, form: int, most: int) -> tuple[bytes, bool, bytes]:
    """At most so many bytes, whether the stream ends, and what follows it."""
    stream = zlib.decompressobj(form)
    return stream.decompress(data, most), stream.eof, stream.unused_data


def _brotli(data: bytes) -> tuple[bytes, bool]:
    stream, found = brotli.Decompressor(), b""
    while len(found) <= KEPT_BODY_BYTES and not stream.is_finished():
        more = stream.process(data, output_buffer_limit=KEPT_BODY_BYTES + 1 - len(found))
        found, data = found + more, b""
        if not more and stream.can_accept_more_data():
            break
    return found, stream.is_finished()


_DECODERS: dict[str, Any] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate}
_BrotliError: Any = zlib.error
if hasattr(getattr(brotli, "Decompressor", None), "can_accept_more_data"):  # older ones cannot be bounded
    _DECODERS["br"], _BrotliError = _brotli, brotli.error
