"""The keys file: who may call, in which roles, until when. It holds hashes; no key can be read from it.

{"keys": [{"id": "1f0c4b7e", "name": "ward-3", "roles": ["predict"], "sha256": "...", "created": "...",
           "expires": null, "revoked": null, "per_s": null}]}
"""

import datetime
import hashlib
import hmac
import os
import re
import secrets
import time
from pathlib import Path
from typing import Literal, get_args

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

Role = Literal["predict", "feedback", "admin"]
ROLES = get_args(Role)
TOKEN = re.compile(r"pd_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")


class BadKeys(ValueError):
    """The keys file is missing or not as it must be."""


class Refused(Exception):
    """A key that does not open; its text is missing, malformed, unknown, expired or revoked."""


class Key(BaseModel):
    """One entry of the keys file; times are RFC 3339, None is never."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    id: str = Field(pattern="^[0-9a-f]{8}$")
    name: str = Field(pattern="^[A-Za-z0-9._@-]{1,64}$")
    roles: tuple[Role, ...] = Field(min_length=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    per_s: float | None = Field(None, gt=0, lt=1e9)

    def expired(self, now: float) -> bool:
        return self.expires is not None and now >= self.expires.timestamp()


class KeysFile(BaseModel):
    keys: list[Key]


def hashed(token: str) -> str:
    # A plain SHA-256, not a slow hash: a key is 256 random bits and no password, so there is nothing to guess, and a
    # slow one would let anybody keep the service busy with wrong keys.
    return hashlib.sha256(token.encode()).hexdigest()


def make(
    name: str, roles: tuple[str, ...], expires: datetime.datetime | None = None, per_s: float | None = None
) -> tuple[str, Key]:
    """A new key: what its owner sends, shown once, and what the file keeps."""
    key_id = secrets.token_hex(4)
    token = f"pd_{key_id}_{secrets.token_urlsafe(32)}"
    key = Key(id=key_id, name=name, roles=roles, sha256=hashed(token), created=now(), expires=expires, per_s=per_s)
    return token, key


def now() -> datetime.datetime:
    """The time in whole seconds, as the file has it."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def load(path: Path) -> list[Key]:
    """Every key of a file, checked. Raises BadKeys with the file, the key and what is wrong."""
    try:
        keys = KeysFile.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        raise BadKeys(f"no keys file {path}") from None
    except OSError as error:
        raise BadKeys(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False)
        match first["loc"]:
            case ("keys", int(number), *inside):
                member = ".".join(map(str, inside)) or "entry"
                raise BadKeys(f"{path}: key {number + 1}: {member}: {first['msg']}") from None
        raise BadKeys(f'{path}: not a keys file; it is JSON: {{"keys": [...]}}') from None
    ids = [key.id for key in keys]
    if twice := {key_id for key_id in ids if ids.count(key_id) > 1}:
        raise BadKeys(f"{path}: the id {min(twice)} is there twice")
    return keys


def save(path: Path, keys: list[Key]) -> None:
    """Put the file in place in one step, readable to its owner alone."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as out:
        out.write(KeysFile(keys=keys).model_dump_json(indent=1) + "\n")
        out.flush()
        os.fsync(out.fileno())
    scratch.replace(path)


class Keyring:
    """The keys of a file as it is now. Raises BadKeys at first; when it goes bad later, the keys stay: `failures`."""

    def __init__(self, path: Path):
        self._path, self._said, self.failures = path, "", 0
        self._keys: dict[str, Key] = {}
        self._read()

    @property
    def age_s(self) -> float:
        """For how many seconds nobody has seen that the keys are those of the file."""
        return time.monotonic() - self._good_at

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, token: str, now: float) -> Key:
        """The key that a caller sent. Raises Refused."""
        form = TOKEN.fullmatch(token)
        if form is None:
            raise Refused("malformed")
        key = self._keys.get(form[1])
        if not hmac.compare_digest(key.sha256 if key else "0" * 64, hashed(token)) or key is None:
            raise Refused("unknown")
        if key.revoked:
            raise Refused("revoked")
        if key.expired(now):
            raise Refused("expired")
        return key

    def refresh(self) -> bool:
        """Read the file again; whether the keys were replaced. May wait for the disk."""
        try:
            if replaced := self._read():
                structlog.get_logger().info("Keys read again", count=len(self))
            return replaced
        except BadKeys as error:
            self.failures += 1
            if str(error) != self._said:
                structlog.get_logger().error("Keys file is bad; the keys stay as they were", reason=str(error))
            self._said = str(error)
            return False

    def _read(self) -> bool:
        before, self._keys = self._keys, {key.id: key for key in load(self._path)}
        self._said, self._good_at = "", time.monotonic()
        return before != self._keys
