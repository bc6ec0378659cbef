"""TLS for a connection that moves the bytes itself: whom to trust, who we are, and the handshake over memory."""

from __future__ import annotations

import ssl

from harness.errors import UsageError

READ_BYTES = 1 << 14


def context(
    ca_file: str | None = None, verify: bool = True, client_cert: str | None = None, client_key: str | None = None
) -> ssl.SSLContext:
    """ca_file: the authorities to trust instead of the system's; verify=False accepts any certificate. client_cert: our
    own certificate and those that signed it; client_key: its key, where that is in another file. Raises UsageError."""
    for option, path in (("--ca-file", ca_file), ("--client-cert", client_cert), ("--client-key", client_key)):
        try:
            if path is not None:
                open(path, "rb").close()  # the ssl module does not say which file is missing
        except OSError as error:
            raise UsageError(f"{option}: {path}: {error.strerror}") from error
    try:
        made = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"--ca-file: {ca_file}: {getattr(error, 'strerror', None) or error}") from error
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if client_cert is None:
        if client_key is not None:
            raise UsageError(f"--client-key: {client_key}: needs the certificate it belongs to, --client-cert")
        return made
    try:
        made.load_cert_chain(client_cert, client_key, password=lambda: b"")  # without one OpenSSL asks the terminal
    except (OSError, ValueError) as error:
        reason = failure(error) if isinstance(error, ssl.SSLError) else str(error)
        files = client_cert if client_key is None else f"{client_cert} and {client_key}"
        raise UsageError(
            f"--client-cert: {files}: must be a certificate and its unencrypted key in PEM format ({reason})"
        ) from error
    return made


class TlsChannel:
    """The TLS of one connection. The connection gives it what it received and sends what it is given."""

    __slots__ = ("_incoming", "_outgoing", "_tls")

    def __init__(self, context: ssl.SSLContext, host: str):
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def received(self, data: bytes) -> None:
        """Take encrypted bytes; b"" is the end."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is complete. Raises ssl.SSLError."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def to_send(self) -> bytes:
        """What the handshake wants sent."""
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._outgoing.read()

    def decrypt(self) -> bytes | None:
        """What was received, b"" at the end, None when there is nothing to read yet. Raises ssl.SSLError."""
        pieces = []
        try:
            while piece := self._tls.read(READ_BYTES):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(pieces) or None
        except ssl.SSLEOFError:
            pass
        return b"".join(pieces)


def failure(error: ssl.SSLError) -> str:
    """What went wrong, without what differs from one connection to the next."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message.rstrip('.')}"
    return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
