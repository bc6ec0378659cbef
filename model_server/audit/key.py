"""The key of the audit log: from the environment, from a file, else made beside the log."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from model_server.settings import AUDIT_KEY

SHORTEST = 32  # characters


class BadKey(ValueError):
    """There is no key, or none that could protect anything."""


def read(file: str, beside: Path, environ: Mapping[str, str] = os.environ) -> bytes:
    """The key: of the environment variable, else of `file`, else of `audit.key` beside the log. Raises BadKey."""
    if AUDIT_KEY in environ:
        return _checked(environ[AUDIT_KEY].encode(), f"${AUDIT_KEY}")
    path = Path(file) if file else beside / "audit.key"
    try:
        return _checked(path.read_bytes(), str(path))
    except OSError as error:
        raise BadKey(
            f"no audit key: {path}: {error.strerror}; set ${AUDIT_KEY} or name a file with --audit-key-file"
        ) from None


def read_or_make(file: str, beside: Path, environ: Mapping[str, str] = os.environ) -> tuple[bytes, bool]:
    """As `read`; where no key was given and none lies beside the log one is made there. Also: whether it lies there."""
    own = not file and AUDIT_KEY not in environ
    path = beside / "audit.key"
    if own and not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_hex(32) + "\n")
    return read(file, beside, environ), own


def _checked(key: bytes, place: str) -> bytes:
    key = key.strip()
    if len(key) < SHORTEST:
        raise BadKey(f"{place}: an audit key has at least {SHORTEST} characters, this one has {len(key)}")
    return key
