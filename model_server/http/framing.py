"""Where a request begins and ends: h11 reads it; here stands what RFC 9112 forbids besides, and what bounds h11."""

import re
from urllib.parse import unquote

import h11
from starlette.types import Scope

from model_server.errors import BadInput, Problem
from model_server.http.bodies import gone

CLOSE = {"Connection": "close"}
HOST = re.compile(rb"(\[[\dA-Fa-f:.]+\]|[\w.~!$&'()*+,;=%-]*)(:\d*)?")
ABSOLUTE = re.compile(rb"https?://([^/]*)(.*)", re.IGNORECASE)


def not_http(detail: str = "this is not an HTTP request") -> BadInput:
    """What a client is told whose bytes are no request."""
    return BadInput(400, "not_http", detail, CLOSE)


def misfit(scope: Scope) -> BadInput | None:
    """What is wrong with a head that h11 takes. A target in absolute form becomes the path that it names."""
    fields, version, target = dict(scope["headers"]), scope["http_version"], scope["raw_path"]
    if not version.startswith("1.") or scope["method"] == "CONNECT":
        return not_http()
    if b"transfer-encoding" in fields and (b"content-length" in fields or version == "1.0"):
        return not_http("Transfer-Encoding beside Content-Length, or in HTTP/1.0: where would the body end?")
    if not HOST.fullmatch(fields.get(b"host", b"" if version == "1.0" else b" ")):
        return not_http("Host is missing, or is no host")
    if (absolute := ABSOLUTE.fullmatch(target)) and absolute[1] and HOST.fullmatch(absolute[1]):
        target = scope["raw_path"] = absolute[2] or b"/"
        scope["path"] = unquote(target.decode("ascii"))
    if target.startswith(b"/") or (target == b"*" and scope["method"] == "OPTIONS"):
        return None
    return not_http("the target is neither a path nor an http URL")


class BoundedConnection(h11.Connection):
    """h11's connection. A head, or trailers, of more than `max_head_bytes` are refused however much comes at once. No
    more events come than its `budget`, which each one lowers. `fault` says what was wrong with what came; `ended` is
    true when no more will."""

    def __init__(self, max_head_bytes: int):
        super().__init__(h11.SERVER, max_head_bytes - 1)
        self._max_head_bytes, self._ahead = max_head_bytes, bytearray()  # what h11 has not been given yet
        self.budget, self.ended, self._head = 0, False, b""
        self.fault: Problem | None = None

    def send(self, event) -> bytes | None:
        """The bytes of an event; an answer's head goes with what follows it, for each write is a call of the kernel."""
        sent = super().send(event)
        if type(event) is h11.Response:
            self._head, sent = sent, b""
        elif self._head:
            self._head, sent = b"", self._head + (sent or b"")
        return sent

    def receive_data(self, data: bytes) -> None:
        self._ahead += data
        self.ended = self.ended or not data

    def next_event(self):
        state = self.their_state
        if state in (h11.MUST_CLOSE, h11.CLOSED):  # what comes behind the last request is ignored
            return h11.PAUSED
        if not self.budget:
            return h11.NEED_DATA
        self.budget -= 1
        try:
            self._feed()
            while (event := super().next_event()) is h11.NEED_DATA and self._feed():
                pass
        except h11.RemoteProtocolError as error:
            self.fault = self.fault or self._judged(error, state)
            raise
        return h11.NEED_DATA if type(event) is h11.ConnectionClosed else event  # uvicorn would ask for ever

    def start_next_cycle(self) -> None:
        super().start_next_cycle()
        if left := self.trailing_data[0]:  # of the next request: to be bounded as all that comes
            self._ahead[:0] = left
            super().__init__(h11.SERVER, self._max_head_bytes - 1)

    def _feed(self) -> bool:
        """Give h11 what it has room for; whether there was anything."""
        if not self._ahead and not self.ended:
            return False
        begun = len(self.trailing_data[0])
        if not begun and self.their_state is h11.IDLE:
            self._ahead = self._ahead.lstrip(b"\r\n")  # RFC 9112, 2.2: empty lines before a request are passed over
        piece = self._ahead[: self._max_head_bytes - begun]
        del self._ahead[: len(piece)]
        if not piece and (self._ahead or not self.ended or self.trailing_data[1]):
            return False
        super().receive_data(piece)  # of nothing: the end
        return True

    def _judged(self, error: h11.RemoteProtocolError, state: type) -> Problem:
        if error.error_status_hint == 431:
            return BadInput(431, "head_too_large", f"at most {self._max_head_bytes} bytes of head or trailers", CLOSE)
        if state is not h11.SEND_BODY:
            return not_http()
        return gone() if self.ended else BadInput(400, "broken_body", "the body is not framed as it should be", CLOSE)
