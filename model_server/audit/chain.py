"""The form of the audit log: each line carries a MAC over itself and the line before; a head beside the file carries a
MAC over how far it goes, so that a cut tail is seen too.

A line is JSON with `seq` first and `mac` last; the MAC is over the bytes as they stand. The log may lie in several
pieces: the first record of each but the first names, as `after_mac`, the MAC that the piece before ended with.

Whoever has the key can forge a log, so keep it where the log is not. Whoever can write both files can put back an older
pair of them; against that a witness elsewhere helps: `audit_log_records` in Prometheus, for `verify --at-least`.
"""

import hmac
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from model_server.settings import AUDIT_KEY
from model_server.telemetry.encoding import dumps

LINE = re.compile(rb'(\{"seq": (\d{1,18}), .*), "mac": "([0-9a-f]{64})"\}')
START = b'{"seq": '
MAC = re.compile("[0-9a-f]{64}")
# Of records that the service or the log makes of itself. Never inside a value, where each quote has a backslash before
# it; older logs have a blank after the colon.
OWN = re.compile(rb'"event_type": ?"(service|audit_\w+)"')
SHORTEST_KEY = 32  # characters


class BadKey(ValueError):
    """There is no key, or none that could protect anything."""


def read_key(file: str, beside: Path, environ: Mapping[str, str] = os.environ, *, make: bool = False) -> bytes:
    """The key: of the environment variable, else of `file`, else of `audit.key` beside the log, where one may be made.
    Raises BadKey."""
    path, told = Path(file or beside / "audit.key"), environ.get(AUDIT_KEY)
    if make and told is None and not file and not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_hex(32) + "\n")
    try:
        key = (path.read_bytes() if told is None else told.encode()).strip()
    except OSError as error:
        advice = f"set ${AUDIT_KEY} or name a file with --audit-key-file"
        raise BadKey(f"no audit key: {path}: {error.strerror}; {advice}") from None
    if len(key) < SHORTEST_KEY:
        place = path if told is None else f"${AUDIT_KEY}"
        raise BadKey(f"{place}: an audit key has at least {SHORTEST_KEY} characters, this one has {len(key)}")
    return key


class Head(NamedTuple):
    """How far a log goes: its last record's number, 0 for none yet, and MAC."""

    seq: int
    mac: str


class Record(NamedTuple):
    """A line that has the form of a record; whether it belongs there, `Chain.follows` says."""

    seq: int
    mac: str
    signed: bytes  # what the MAC is over, without the MAC before it


def parse(line: bytes) -> Record | None:
    """A line without its newline as a record; None when it has not the form of one."""
    form = LINE.fullmatch(line)
    return Record(int(form[2]), form[3].decode(), form[1]) if form else None


def torn(line: bytes) -> bool:
    """Whether a line, with its newline if it has one, can be what a killed writer left of a record."""
    if line.endswith(b"\n"):
        return parse(line[:-1]) is None and line.startswith(START)
    return START.startswith(line) or line.startswith(START)


def own(signed: bytes) -> dict[str, Any]:
    """What a record says that the service or the log makes of itself; empty for others."""
    if not (form := OWN.search(signed)):
        return {}
    says = fields(signed) | {"event_type": form[1].decode()}
    mac = says.get("after_mac")
    return says if mac is None or (isinstance(mac, str) and MAC.fullmatch(mac)) else {}


def fields(signed: bytes) -> dict[str, Any]:
    """What a record holds; empty where that is no JSON."""
    try:
        return json.loads(signed + b"}")
    except (ValueError, RecursionError):
        return {}


def stopped(signed: bytes) -> bool:
    """Whether a record says that the service stopped in order."""
    return own(signed).get("action") == "stop"


class Chain:
    """What can be done with the key."""

    def __init__(self, key: bytes):
        # A key for each use: a head can never be passed off as a line.
        lines, self._heads = hmac.digest(key, b"line", "sha256"), hmac.digest(key, b"head", "sha256")
        self._lines = hmac.new(lines, digestmod="sha256")  # to copy for each line: half of what `hmac.digest` takes
        self.start = Head(0, self._mac("", b"start"))

    def line(self, before: Head, record: dict[str, Any]) -> tuple[bytes, Head]:
        """The next line, with its newline, and the head after it."""
        seq = before.seq + 1
        signed = b'{"seq": %d, %s' % (seq, dumps(record)[1:-1])
        mac = self._mac(before.mac, signed)
        return b'%s, "mac": "%s"}\n' % (signed, mac.encode()), Head(seq, mac)

    def follows(self, before: Head, record: Record) -> bool:
        """Whether the record is genuine and comes right after `before`."""
        return record.seq == before.seq + 1 and hmac.compare_digest(record.mac, self._mac(before.mac, record.signed))

    def head(self, head: Head) -> bytes:
        """A head as its file holds it."""
        seal = hmac.digest(self._heads, f"{head.seq} {head.mac}".encode(), "sha256").hex()
        return json.dumps({**head._asdict(), "seal": seal}).encode() + b"\n"

    def read_head(self, content: bytes) -> Head | None:
        """The head in a head file's content; None when it was not written with this key, byte for byte."""
        try:
            told = json.loads(content)
            head = Head(int(told["seq"]), str(told["mac"]))
            written = self.head(head)
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return head if hmac.compare_digest(written, content) else None

    def _mac(self, before: str, signed: bytes) -> str:
        mac = self._lines.copy()
        mac.update(before.encode() + signed)
        return mac.hexdigest()
