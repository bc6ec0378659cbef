"""The headers of a run, such as its credentials: a JSON file of names and values. No message quotes a value."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.load.request import Headers

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_EXAMPLE = '{"Authorization": "Bearer KEY"}'
RESERVED = {"content-length", "host", "transfer-encoding", "x-request-id"}  # each request has its own


def read(path: Path) -> Headers:
    """The headers in a file. Raises UsageError."""
    try:
        headers = json.loads(path.read_bytes(), object_pairs_hook=tuple)
    except OSError as error:
        raise UsageError(f"--headers-file: {path}: {error.strerror}") from error
    except (ValueError, RecursionError):  # the error itself may quote what the file holds
        raise UsageError(f"--headers-file: {path}: is not JSON; it must be like {_EXAMPLE}") from None
    if not isinstance(headers, tuple):
        raise UsageError(f"--headers-file: {path}: must be one JSON object of headers, like {_EXAMPLE}")
    wrong = [text for i, pair in enumerate(headers, 1) if (text := _mistake(i, *pair))]
    names = [name.lower() for name, _ in headers]
    wrong += sorted({f"{name} is given twice" for name in names if names.count(name) > 1 and _NAME.fullmatch(name)})
    if wrong:
        raise UsageError(f"--headers-file: {path}: {'; '.join(wrong)}")
    return headers


def _mistake(i: int, name: str, value: Any) -> str:
    """What is wrong with a header. A name that is none is not quoted: it may be a credential in the wrong place."""
    if not _NAME.fullmatch(name):
        return f"the name of header {i} must be a word of letters, digits and -"
    if name.lower() in RESERVED:
        return f"{name} is set for each request by the generator"
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        return f"the value of {name} must be one line of text"
    return ""
