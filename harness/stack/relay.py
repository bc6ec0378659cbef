"""Passes Prometheus' alerts on to Alertmanager, but for those that were over before its storage was emptied.

Prometheus tells of an alert that is over again and again for 15 minutes. In an Alertmanager that knows nothing each
such alert would open a group, and the next alert of that group would be notified of by the old group's clock, not after
its own group_wait. Two incidents of production are further apart than that; two experiments are not.
"""

from __future__ import annotations

import json
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOOPBACK, TIMEOUT_S = "127.0.0.1", 5.0


def relay(port: int, alertmanager_port: int, storage: Path | None = None) -> ThreadingHTTPServer:
    """A server on a port of loopback that stands before an Alertmanager; not yet serving. storage: a file as old as its
    storage; None: that one is as old as the process. Raises OSError."""

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 60

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                alerts = json.loads(body)
                if any("endsAt" in alert for alert in alerts):
                    since = started(alertmanager_port) if storage is None else storage.stat().st_mtime
                    if (kept := [alert for alert in alerts if not over_before(alert, since)]) != alerts:
                        body = json.dumps(kept).encode()
                status, answer = asked(alertmanager_port, "POST", self.path, body)
            except (OSError, HTTPException, ValueError, TypeError, KeyError) as error:  # as when nobody listens there
                status, answer = 503, f"Alertmanager did not take the alerts: {error!r}".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_) -> None:
            pass

    return ThreadingHTTPServer((LOOPBACK, port), Relay)


def asked(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of a response of the Alertmanager. Raises OSError and HTTPException."""
    connection = HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def started(port: int) -> float:
    """When the Alertmanager started. Raises OSError, HTTPException, ValueError and KeyError."""
    return moment(json.loads(asked(port, "GET", "/api/v2/status")[1])["uptime"])


def over_before(alert: dict[str, Any], since: float) -> bool:
    """Whether an alert ended before a moment. One that fires ends in the future, by when it is sent again."""
    return "endsAt" in alert and moment(alert["endsAt"]) < since


def moment(text: str) -> float:
    """A moment as Prometheus and Alertmanager write it, in Unix seconds."""
    head, dot, rest = text.replace("Z", "+00:00").partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return datetime.fromisoformat(head + rest[digits:]).timestamp() + float(f"0{dot}{rest[:digits]}" if dot else 0)
