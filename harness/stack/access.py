"""How requests and scrapes identify themselves and whom they trust. A secret is named until the moment it is used.

`state` is the run's folder that {state} stands for.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from harness.errors import StackError
from harness.stack.spec import Access, SecretSource, filled


def read_secret(source: SecretSource, state: Path) -> str:
    """The secret, without the newline at its end. Raises StackError, which never quotes it."""
    if source.from_file is not None:
        where = str(path := at(source.from_file, state))
        try:
            value = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StackError(f"{where}: no secret can be read: {getattr(error, 'strerror', 'not text')}") from None
    else:
        where = f"environment variable {source.env}"
        value = os.environ.get(source.env, "").strip()
    if not value or not value.isprintable():
        raise StackError(f"{where}: must hold one line of text, the secret itself")
    return value


def headers(access: Access, state: Path) -> dict[str, str]:
    """What each request carries. Raises StackError."""
    if access.bearer is not None:
        return {"Authorization": f"Bearer {read_secret(access.bearer, state)}"}
    if access.basic is not None:
        pair = f"{access.basic.user}:{read_secret(access.basic, state)}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {access.header.name: read_secret(access.header, state)} if access.header is not None else {}


def generator_options(access: Access, private: Path, state: Path) -> dict[str, Any]:
    """The arguments of `generator.command` for it; headers go into a file of the folder `private`, for its owner alone.
    Raises StackError."""
    options: dict[str, Any] = _files(
        state, ca_file=access.ca, client_cert=access.client_cert, client_key=access.client_key
    )
    if access.insecure:
        options["insecure"] = True
    if carried := headers(access, state):
        options["headers_file"] = str(write_private(private / "request-headers.json", json.dumps(carried)))
    return options


def scrape_settings(access: Access, private: Path, state: Path) -> dict[str, Any]:
    """The part of a Prometheus scrape configuration for it, with files in place of secrets. Raises StackError."""
    settings: dict[str, Any] = {"scheme": access.scheme}
    if secret := access.bearer or access.basic:
        file = str(write_private(private / "scrape-secret", read_secret(secret, state)))
        if access.bearer is not None:
            settings["authorization"] = {"type": "Bearer", "credentials_file": file}
        else:
            settings["basic_auth"] = {"username": access.basic.user, "password_file": file}
    tls: dict[str, Any] = _files(state, ca_file=access.ca, cert_file=access.client_cert, key_file=access.client_key)
    if access.insecure:
        tls["insecure_skip_verify"] = True
    return settings | ({"tls_config": tls} if tls else {})


def _files(state: Path, **paths: str | None) -> dict[str, str]:
    return {name: str(at(path, state)) for name, path in paths.items() if path is not None}


def at(path: str, state: Path) -> Path:
    """The file that a path of service.yaml means in this run."""
    return Path(filled(path, {"state": state}))


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    return path
