"""What is kept beyond a request, and who may make one: state folder, audit log, database, keys; opened and closed."""

import asyncio
import contextlib
import os
from pathlib import Path

import structlog

from model_server.audit.chain import BadKey, read_key
from model_server.audit.log import AuditLog, Broken
from model_server.inference.feedback import Feedback
from model_server.security.guard import Guard, warn_if_open
from model_server.security.keyring import BadKeys, Keyring
from model_server.settings import AUDIT_KEY, Settings
from model_server.storage.records import Records
from model_server.storage.stores import State, Stores, Watch
from model_server.telemetry.metrics import Metrics
from model_server.threads import Repeated

KEYS_EVERY_S = 1.0  # between looks at the keys file
FIRST_TRY_S = 5.0  # a start waits so long for the database's first answer, good or bad; it is no part of being started


class CannotStart(Exception):
    """Something about keys, audit log or state folder that only a person can put right."""


class Durable:
    """`guard` makes the routes; `checks` are readiness' questions. Raises CannotStart."""

    def __init__(self, settings: Settings, metrics: Metrics, feedback: Feedback):
        self._feedback, self._within_s = feedback, settings.answer_within_s
        self._open, self.audit, self._records = contextlib.ExitStack(), None, None  # closed in the opposite order
        self._stores = Stores(metrics, settings.answer_within_s)
        try:
            self._keyring = Keyring(settings.keys) if settings.auth == "on" else None
            self._state = State(settings.state_dir)
            if settings.audit == "on":
                self.audit = self._open_audit(settings, metrics)
        except BadKeys as error:
            raise CannotStart(
                f"{error}; `python -m model_server.keys --keys {settings.keys} add NAME --role predict` makes a key, "
                "and --auth off does without, for local use"
            ) from None
        except (Broken, BadKey, OSError) as error:
            raise CannotStart(str(error)) from None
        self._stores.local["model"] = settings.weights
        self._watch = Watch(settings.weights, self._state.path, self._stores, settings.answer_within_s)
        if settings.database != "off":
            self._records = feedback.records = Records(
                settings.database or f"sqlite:///{self._state.path / 'records.db'}", metrics, self._stores,
                limit=settings.max_records, within_s=settings.answer_within_s,
                window=feedback.window, on_window=feedback.begin,
            )  # fmt: skip
        looks = self._watch_keys(metrics) if self._keyring is not None else None  # which makes audit records
        for kept in (self._state, self._stores, self._watch, self.audit, self._records, looks):
            if kept is not None:
                self._open.callback(kept.close)
        self.guard = Guard(metrics, self.audit, self._keyring, settings.rate_limit)
        warn_if_open(self._keyring, settings.host)

    @property
    def folder(self) -> Path:
        """Where it is kept; a temporary one ends with the process."""
        return self._state.path

    async def begin(self, sha256: str, version: str, architecture: str) -> None:
        """Note the model that serves, and wait a little for the database's first answer."""
        self._feedback.serves(version)
        if self._records is not None:
            self._records.model(sha256, version, architecture)
            await asyncio.to_thread(self._records.tried.wait, FIRST_TRY_S)

    async def probe(self) -> str:
        """Store something as for a request, behind all that waits for it; says where. Raises Unavailable."""
        return await self._records.probe() if self._records is not None else "off"

    def checks(self) -> dict[str, bool]:
        """What readiness asks; never waits."""
        audited = self.audit is None or (self.audit.writable and self.audit.unwritten_s <= self._within_s)
        checks = {"storage_accessible": self._watch.up and audited}
        return checks | ({"database_connected": self._records.up} if self._records is not None else {})

    def close(self) -> None:
        """Write what is queued, each for at most two seconds."""
        self._open.close()

    def _open_audit(self, settings: Settings, metrics: Metrics) -> AuditLog:
        path = self._state.path / "audit.jsonl"
        key = read_key(settings.audit_key_file, path.parent, make=True)
        is_beside = not settings.audit_key_file and AUDIT_KEY not in os.environ
        if is_beside and not self._state.temporary:
            structlog.get_logger().warning(
                "The audit log's key lies beside the log; who can write there can forge it", path=str(self._state.path)
            )
        self._stores.local["audit"] = path
        return AuditLog(path, key, metrics, self._stores, deployment=settings.deployment)

    def _watch_keys(self, metrics: Metrics) -> Repeated:
        keyring = self._keyring
        age = "Since the keys in use were last seen to be the file's."
        metrics.reading("keys_age_seconds", age, lambda: keyring.age_s)
        metrics.reading("keys_read_failures_total", "Looks at the keys file that failed.", lambda: keyring.failures)
        return Repeated("keys", self._refresh_keys, KEYS_EVERY_S)

    def _refresh_keys(self) -> None:
        with self._stores.operation("keys", "read"):
            changed = self._keyring.refresh()
        if changed and self.audit is not None:
            self.audit.record("keys", "ok", action="reload", keys=len(self._keyring))
