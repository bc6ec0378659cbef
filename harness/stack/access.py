"""How requests and scrapes identify themselves and whom they trust. A secret is named until the moment it is used."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import StackError
from harness.stack.component import filled


@dataclass(frozen=True)
class Secret:
    """Where a secret is: a file, whose path may begin with {state}, or an environment variable."""

    file: str = ""
    env: str = ""

    def read(self, state: Path) -> str:
        """The secret, without the newline at its end. Raises StackError, which never quotes it."""
        where = f"environment variable {self.env}"
        if self.file:
            path = at(self.file, state)
            where = str(path)
            try:
                value = path.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise StackError(f"{where}: no secret can be read: {getattr(error, 'strerror', 'not text')}") from None
        else:
            value = os.environ.get(self.env, "").strip()
        if not value or not value.isprintable():
            raise StackError(f"{where}: must hold one line of text, the secret itself")
        return value


@dataclass(frozen=True)
class Access:
    """One of `bearer`, `basic` and `header` at most; paths may begin with {state}."""

    scheme: str = "http"
    bearer: Secret | None = None
    basic: tuple[str, Secret] | None = None  # user, password
    header: tuple[str, Secret] | None = None  # name, value
    ca: str = ""
    insecure: bool = False
    client_cert: str = ""
    client_key: str = ""

    def headers(self, state: Path) -> dict[str, str]:
        """What each request carries. Raises StackError."""
        if self.bearer is not None:
            return {"Authorization": f"Bearer {self.bearer.read(state)}"}
        if self.basic is not None:
            user, password = self.basic
            pair = f"{user}:{password.read(state)}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        return {self.header[0]: self.header[1].read(state)} if self.header is not None else {}

    def generator_options(self, private: Path, state: Path) -> dict[str, Any]:
        """The arguments of `generator.command` for it; headers go into a file of the folder, for its owner alone.
        Raises StackError."""
        options: dict[str, Any] = {
            name: str(at(path, state))
            for name, path in (
                ("ca_file", self.ca), ("client_cert", self.client_cert), ("client_key", self.client_key)
            )
            if path
        }  # fmt: skip
        if self.insecure:
            options["insecure"] = True
        if headers := self.headers(state):
            options["headers_file"] = str(write_private(private / "request-headers.json", json.dumps(headers)))
        return options

    def scrape_settings(self, private: Path, state: Path) -> dict[str, Any]:
        """The part of a Prometheus scrape configuration for it, with files in place of secrets. Raises StackError."""
        settings: dict[str, Any] = {"scheme": self.scheme}
        secret = self.bearer or (self.basic and self.basic[1])
        if secret:
            file = str(write_private(private / "scrape-secret", secret.read(state)))
            if self.bearer is not None:
                settings["authorization"] = {"type": "Bearer", "credentials_file": file}
            else:
                settings["basic_auth"] = {"username": self.basic[0], "password_file": file}
        tls: Mapping[str, Any] = {
            name: str(at(path, state))
            for name, path in (("ca_file", self.ca), ("cert_file", self.client_cert), ("key_file", self.client_key))
            if path
        } | ({"insecure_skip_verify": True} if self.insecure else {})
        return settings | ({"tls_config": tls} if tls else {})


def at(path: str, state: Path) -> Path:
    """The file that a path of service.yaml means in this run."""
    return Path(filled(path, {"state": state}))


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    return path
