"""The standard library as it was before gevent replaced parts of it.

Locust has gevent patch the process. Patched sockets would switch greenlets where only what is ready now is wanted, and
patched `select` has no epoll. gevent itself is not imported here: where nobody did, nothing is patched.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def _original(module: str, name: str) -> Any:
    monkey = sys.modules.get("gevent.monkey")
    return monkey.get_original(module, name) if monkey else getattr(import_module(module), name)


socket = _original("socket", "socket")
getaddrinfo = _original("socket", "getaddrinfo")
start_new_thread = _original("_thread", "start_new_thread")
epoll = _original("select", "epoll")
select = _original("select", "select")
EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP = 0x001, 0x004, 0x008, 0x010  # which a patched `select` lacks too
