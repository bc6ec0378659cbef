"""Where a run's notifications end up: local stand-ins for PagerDuty, Slack, a mail server and webhooks.

    python -m harness.stack.sinks --dir RUN_DIR --port-file PATH

A process of its own, so that nothing the harness does delays the time a message is stamped with. It listens on free
loopback ports and writes them to PATH as {"http": port, "smtp": port} once both are open. A message to
/INTEGRATION/RECEIVER, or a mail with the header X-Harness-Receiver: INTEGRATION/RECEIVER (both as messages.coded has
them), is appended to RUN_DIR/notifications.jsonl as [at, receiver, integration, status, alerts, problems, text,
labels], and then gets the response that the real service would give. What kind of message it is, the integration says:
"slack", or "slack[1]" where the receiver has several. A kind that nobody here validates is recorded all the same. A
message about alerts that fire and alerts that are resolved is two lines with the same `at`. While a fault says so
(failing.py) a sink takes no message, or takes it late. With --relay it also passes
alerts on from Prometheus to Alertmanager (relay.py). Ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
from email.parser import BytesHeaderParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from aiosmtpd.smtp import SMTP

from harness.errors import HarnessError, StackError
from harness.stack.failing import failing
from harness.stack.messages import (
    RECEIVER_FIELD,
    RESOLVED,
    Alerts,
    Message,
    decoded,
    over,
    read_email,
    read_other,
    read_pagerduty,
    read_slack,
    read_webhook,
)
from harness.stack.relay import relay

BODY_BYTES = 16 * 1024 * 1024
LOOPBACK = "127.0.0.1"


class NotificationLog:
    """The append-only notifications.jsonl of a run. Each line is one write, so a kill cuts at most the last one."""

    def __init__(self, folder: Path):
        try:
            self._fd = os.open(folder / "notifications.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise StackError(f"sinks: cannot write to {folder}: {error.strerror}") from None

    def write(self, at: float, receiver: str, integration: str, message: Message) -> None:
        for status, alerts, labels in message.notified:
            line = [at, receiver, integration, status, alerts, message.problems, message.text, labels]
            os.write(self._fd, json.dumps(line, separators=(",", ":")).encode() + b"\n")


def response(kind: str, body: bytes, message: Message) -> tuple[int, str, str]:
    """Status, content type and body of the real service's response to such a message."""
    if kind == "pagerduty":
        if message.problems:
            invalid = {"status": "invalid event", "message": "Event object is invalid", "errors": message.problems}
            return 400, "application/json", json.dumps(invalid)
        processed = {"status": "success", "message": "Event processed", "dedup_key": json.loads(body)["dedup_key"]}
        return 202, "application/json", json.dumps(processed)
    if message.problems:  # Slack's own codes stand before the colon: no_text, channel_not_found
        return 400, "text/html", message.problems[0].partition(":")[0]
    if kind in READERS:
        return 200, "text/html", "ok"
    if kind == "sns":
        published = "<PublishResult><MessageId>1</MessageId></PublishResult>"
        return 200, "text/xml", f"<PublishResponse>{published}</PublishResponse>"
    return 200, "application/json", json.dumps(TAKEN)


READERS = {"pagerduty": read_pagerduty, "slack": read_slack, "webhook": read_webhook}
# What each of the kinds that nobody validates takes for a yes.
TAKEN = {
    "ok": True, "result": {"message_id": 1, "date": 0, "chat": {"id": 1, "type": "private"}},
    "errcode": 0, "access_token": "none", "requestId": "1", "took": 0.1,
}  # fmt: skip
ALIAS = re.compile(r"/v2/alerts/([^/]+)/close$")  # by which Opsgenie is told that an alert is over


def http_server(log: NotificationLog, folder: Path) -> ThreadingHTTPServer:
    """An HTTP server on a free loopback port, not yet serving."""
    open_alerts: dict[tuple[str, str, str], tuple[Alerts, ...]] = {}  # (integration, receiver, alias) of Opsgenie's

    class Sink(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # the response's head and body are two writes: 40 ms otherwise
        timeout = 60  # a connection left idle gives its thread back

        def do_POST(self) -> None:
            path = urlsplit(self.path).path
            integration, receiver = map(decoded, [*path.split("/"), "", ""][1:3])
            kind = integration.partition("[")[0]
            length = self.headers.get("Content-Length", "")
            if not re.fullmatch("[a-z0-9]+", kind) or not receiver:
                return self.refuse(404, f"no such sink: {path}")
            if not length.isdigit() or int(length) > BODY_BYTES:
                return self.refuse(413 if length.isdigit() else 411, f"Content-Length: {length or 'none'}")
            body = self.rfile.read(int(length))
            if self.fails(path):
                return None
            at = time.time()
            message = READERS.get(kind, read_other)(body)
            if kind == "opsgenie":
                message = self.by_alias(message, body, path, integration, receiver)
            log.write(at, receiver, integration, message)
            self.reply(*response(kind, body, message))

        def by_alias(self, message: Message, body: bytes, path: str, integration: str, receiver: str) -> Message:
            """Opsgenie's message that an alert is over names it by the alias it had when it began."""
            if closed := ALIAS.search(path):
                known = over(open_alerts.get((integration, receiver, closed[1]), ()))
                return message._replace(notified=(known or Alerts(RESOLVED, ()),))
            with contextlib.suppress(ValueError, TypeError, KeyError):
                open_alerts[integration, receiver, json.loads(body)["alias"]] = message.notified
            return message

        def do_GET(self) -> None:  # WeChat hands out a token first
            if not self.fails(urlsplit(self.path).path):
                self.reply(200, "application/json", json.dumps(TAKEN))

        def fails(self, path: str) -> bool:
            """Whether a fault keeps this message from being taken; it is then answered so. May take its time."""
            integration, receiver = map(decoded, [*path.split("/"), "", ""][1:3])
            fault = failing(folder, integration, receiver)
            if fault is None:
                return False
            if fault.how == "slow":
                time.sleep(fault.delay_ms / 1000)
                return False
            self.close_connection = True
            if fault.how == "status":
                self.reply(fault.status, "text/plain", f"{fault.status} by a fault of this run")
            else:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            return True

        def do_PUT(self) -> None:  # Opsgenie's text of an alert is written anew
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.reply(200, "application/json", json.dumps(TAKEN))

        def refuse(self, status: int, why: str) -> None:
            print(f"sinks: refused with {status}: {why}", file=sys.stderr, flush=True)
            self.close_connection = True  # its body was not read
            self.reply(status, "text/plain", why)

        def reply(self, status: int, content_type: str, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_) -> None:
            pass  # notifications.jsonl is the log

    return ThreadingHTTPServer((LOOPBACK, 0), Sink)


class Mailbox:
    """What aiosmtpd calls with each mail."""

    def __init__(self, log: NotificationLog, folder: Path):
        self.log, self.folder = log, folder

    async def handle_MAIL(self, _server, _session, envelope, address: str, options: list[str]) -> str:
        fault = failing(self.folder, "email")
        if fault is not None and fault.how == "slow":
            await asyncio.sleep(fault.delay_ms / 1000)
        elif fault is not None:  # "421" ends the session
            return (
                "451 not now, by a fault of this run" if fault.how == "status" else "421 gone, by a fault of this run"
            )
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope) -> str:
        at = time.time()
        led = str(BytesHeaderParser().parsebytes(envelope.content)[RECEIVER_FIELD] or "")
        integration, _, receiver = led.strip().partition("/")
        message = read_email(envelope.content)
        if not receiver:
            message = message._replace(problems=(*message.problems, f"no {RECEIVER_FIELD} header"))
        self.log.write(at, decoded(receiver), decoded(integration) or "email", message)
        return "250 OK: message accepted for delivery"


class Mail(SMTP):
    line_length_limit = BODY_BYTES  # Alertmanager writes a header of any length as one line

    def __init__(self, log: NotificationLog, folder: Path):
        super().__init__(Mailbox(log, folder), hostname="localhost", data_size_limit=BODY_BYTES)


async def serve(folder: Path, port_file: Path, before: tuple[int, int, Path] | None = None) -> None:
    """Listen, announce the ports, and stay until asked to end. before: the relay's port, and that of the Alertmanager
    that it stands before, with the file that is as old as its storage. Raises StackError."""
    log = NotificationLog(folder)
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    try:
        relayed = relay(*before) if before else None
    except OSError as error:
        raise StackError(f"sinks: cannot listen on port {before[0]}: {error.strerror}") from None
    with http_server(log, folder) as http:
        # No polling: nobody calls its shutdown(), the thread ends with the process.
        for server in filter(None, (http, relayed)):
            threading.Thread(target=server.serve_forever, args=(3600,), daemon=True).start()
        smtp = await loop.create_server(lambda: Mail(log, folder), LOOPBACK, 0)
        announce(port_file, {"http": http.server_port, "smtp": smtp.sockets[0].getsockname()[1]})
        await over.wait()


def announce(port_file: Path, ports: dict[str, int]) -> None:
    """Write the ports so that a reader sees all of the file or none of it."""
    try:
        scratch = port_file.with_name(f".{port_file.name}.{os.getpid()}")
        scratch.write_text(json.dumps(ports))
        scratch.replace(port_file)
    except OSError as error:
        raise StackError(f"sinks: cannot write {port_file}: {error.strerror}") from None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.stack.sinks", description=__doc__.partition("\n")[0])
    parser.add_argument("--dir", type=Path, required=True, help="the run's folder")
    parser.add_argument("--port-file", type=Path, required=True, help="where to write the ports when ready")
    parser.add_argument("--relay", nargs=3, metavar=("PORT", "TO", "SINCE"), help="pass Prometheus' alerts on")
    asked = parser.parse_args()
    before = (int(asked.relay[0]), int(asked.relay[1]), Path(asked.relay[2])) if asked.relay else None
    try:
        asyncio.run(serve(asked.dir, asked.port_file, before))
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
