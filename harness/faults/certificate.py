"""The certificate that the service shows its clients is one that they must refuse: it has expired, say."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.faults.file import File
from harness.stack.stack import Stack
from harness.stack.undo import Undo

LOOK_S = 3.0


@dataclass(frozen=True)
class Certificate(Fault):
    """The certificate at `path` in {state}, which a TLS server in front of the service reads, is replaced by that in
    the file `by`, which may have {state}."""

    path: str
    by: str
    kind: ClassVar[str] = "certificate"
    touches: ClassVar[str] = "clients, by {path}"
    undone: ClassVar[str] = "the certificate is put back"

    def mistakes(self) -> Iterator[tuple[str, str]]:
        yield from self._file.mistakes()

    def target(self, stack: Stack) -> Facts:
        if urlsplit(stack.service_url).scheme != "https":
            raise FaultError("certificate: the service's requests are not https; see `requests.scheme` in service.yaml")
        if refused := _refused(stack):
            raise FaultError(f"certificate: a client refuses the present one already: {refused}")
        return self._file.target(stack)

    def undo(self, facts: Facts) -> list[Undo]:
        return self._file.undo(facts)

    def start(self, stack: Stack, facts: Facts) -> None:
        self._file.start(stack, facts)

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """A client's handshake: it accepted the certificate before, and refuses it now."""
        refused = _refused(stack)
        return f"a client of {stack.service_url} refuses the certificate: {refused}" if refused else None

    @property
    def _file(self) -> File:
        return File(self.path, "replaced", "", by=self.by)


def _refused(stack: Stack) -> str:
    """Why a new client, which trusts what the load trusts, does not accept the service's certificate."""
    parts, authorities = urlsplit(stack.service_url), stack.access.get("ca_file")
    trust = ssl.create_default_context(cafile=None if authorities is None else str(authorities))
    with socket.create_connection((parts.hostname, parts.port), LOOK_S) as connection:
        try:
            trust.wrap_socket(connection, server_hostname=parts.hostname).close()
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
    return ""
