"""A connection's transport that lets its client read the last answer."""

from __future__ import annotations

import asyncio

CUT_OFF_AFTER_S = 30.0  # a client that does not read what it asked for, or does not close when it was told to


class StagedTransport:
    """A transport that closes in stages (RFC 9112, 9.6): it says that no more comes, and takes what still does until
    its client closes. To close at once while bytes are unread would take the answer from the client."""

    def __init__(self, wire: asyncio.Transport, loop: asyncio.AbstractEventLoop):
        self._wire, self._loop, self._closing = wire, loop, False
        self._cut: asyncio.TimerHandle | None = None
        self.held = False  # reads nothing, whoever resumes it
        self.write, self.pause_reading, self.abort = wire.write, wire.pause_reading, wire.abort
        self.get_extra_info, self.get_write_buffer_size = wire.get_extra_info, wire.get_write_buffer_size

    def is_closing(self) -> bool:
        return self._closing or self._wire.is_closing()

    def resume_reading(self) -> None:
        if not self.held:
            self._wire.resume_reading()

    def close(self) -> None:
        if not self.is_closing():
            self._closing, self.held = True, False
            self.cut_off_later()
            self._wire.write_eof()
            self._wire.resume_reading()

    def cut_off_later(self) -> None:
        """Give the client some time to do its part."""
        self._cut = self._cut or self._loop.call_later(CUT_OFF_AFTER_S, self.abort)

    def cut_off_never(self) -> None:
        """The client did its part, or has gone."""
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
