"""A container engine by its API: Docker's, which Podman speaks too; asked anew each time, for containers come and go.

Needs the package `docker`. Each request is bounded in time. Podman has limits changed by a request of its own.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from harness.errors import StackError
from harness.stack.place import is_loopback

DEFAULT = "unix:///var/run/docker.sock"
VARIABLE = "DOCKER_HOST"
TIMEOUT_S = 10.0
PERIOD_US = 100_000
RUNS = ("running", "paused")
T = TypeVar("T")


class Box(NamedTuple):
    """One container as the engine describes it."""

    id: str
    name: str
    status: str  # running, paused, exited, ...
    pid: int  # of its main process, where the engine runs it; 0 where it has none
    started: str  # when its main process was started
    code: int  # of its exit
    quota_us: int  # of processor time in each period; 0: no limit
    period_us: int

    @property
    def runs(self) -> bool:
        """Whether it has a process, paused or not."""
        return self.status in RUNS

    @property
    def is_here(self) -> bool:
        """Whether its process is one of this machine's, and not of one that the engine has for itself."""
        try:
            return self.pid > 1 and self.id in Path(f"/proc/{self.pid}/cgroup").read_text()
        except OSError:
            return False


class Gone(StackError):
    """There is no container of this name or id."""


def address(given: str | None) -> str:
    """Where the engine is. Raises ValueError for what is no such address, or an engine on another machine."""
    url = given or os.environ.get(VARIABLE) or DEFAULT
    try:
        parts = urlsplit(url)
        local = parts.scheme == "tcp" and parts.port and is_loopback(parts.hostname or "")
    except ValueError:
        local = False
    if not ((parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc) or local):
        where = "" if given else f" (from ${VARIABLE})"
        raise ValueError(
            f"{url}{where} is no engine of this machine: name it like unix:///run/podman/podman.sock, or "
            "tcp://127.0.0.1:2375"
        )
    return url


class Engine:
    """An engine at an address. Every method raises StackError, with what to do, where it does not do its work."""

    def __init__(self, url: str):
        self.url = url

    def find(self, container: str) -> Box:
        """The container of a name or id. Raises Gone."""
        return _box(self._ask(f"find {container}", lambda client: client.api.inspect_container(container)))

    def labelled(self, labels: Mapping[str, str]) -> list[tuple[Box, Mapping[str, str]]]:
        """The containers that have all of these labels, whether they run or not, each with all that it has."""

        def find(client: Any) -> list[Any]:
            wanted = {"label": [f"{name}={value}" for name, value in labels.items()]}
            known = client.api.containers(all=True, filters=wanted)
            return [client.api.inspect_container(one["Id"]) for one in known]

        return [(_box(one), one["Config"].get("Labels") or {}) for one in self._ask("list containers", find)]

    def kill(self, id: str) -> None:
        """SIGKILL to its main process, and with it to all of it."""
        self._ask(f"kill {id[:12]}", lambda client: client.api.kill(id, "SIGKILL"))

    def stop(self, id: str, grace_s: float) -> None:
        """Its stop signal, and SIGKILL after the grace."""
        grace = max(0, math.ceil(grace_s))
        self._ask(f"stop {id[:12]}", lambda client: client.api.stop(id, timeout=grace), grace + TIMEOUT_S)

    def start(self, id: str) -> None:
        """Its main process anew; nothing where it runs."""
        self._ask(f"start {id[:12]}", lambda client: client.api.start(id))

    def pause(self, id: str) -> None:
        self._ask(f"pause {id[:12]}", lambda client: client.api.pause(id))

    def unpause(self, id: str) -> None:
        self._ask(f"unpause {id[:12]}", lambda client: client.api.unpause(id))

    def limit(self, id: str, quota_us: int, period_us: int) -> None:
        """So much processor time in each period; 0: as much as there is. Podman keeps it no longer than it runs."""
        quota = quota_us or -1

        def update(client: Any) -> None:
            if not _is_podman(client):
                client.api.update_container(id, cpu_quota=quota, cpu_period=period_us)
                return
            if client.api.inspect_container(id)["State"]["Status"] not in RUNS:
                return
            url = client.api.base_url + f"/v{_version(client)}/libpod/containers/{id}/update"
            body = json.dumps({"cpu": {"quota": quota, "period": period_us}})
            done = client.api.post(url, data=body, headers={"Content-Type": "application/json"}, timeout=TIMEOUT_S)
            client.api._raise_for_status(done)

        self._ask(f"change the limits of {id[:12]}", update)

    def _ask(self, what: str, ask: Callable[[Any], T], within_s: float = TIMEOUT_S) -> T:
        try:
            import docker  # here, because only who controls containers pays for it
            from docker.errors import APIError, DockerException, NotFound
            from requests.exceptions import RequestException
        except ImportError:
            raise StackError("to control containers takes `pip install 'chaos-harness[containers]'`") from None
        try:
            client = docker.DockerClient(base_url=self.url, timeout=within_s)
            try:
                return ask(client)
            finally:
                client.close()
        except NotFound as error:
            raise Gone(f"{self.url}: {what}: {error.explanation}") from error
        except APIError as error:
            raise StackError(f"{self.url}: {what}: {error.explanation or error}") from error
        except (DockerException, RequestException, OSError, ValueError, KeyError) as error:
            remedy = "is the engine there, and may this user ask it? For podman: podman system service --time=0 URL"
            raise StackError(f"{self.url}: {what}: no answer ({error or type(error).__name__}); {remedy}") from error


def _box(found: Mapping[str, Any]) -> Box:
    """What an engine says of a container."""
    state, limits = found["State"], found["HostConfig"]
    quota, period = limits.get("CpuQuota") or 0, limits.get("CpuPeriod") or PERIOD_US
    if nano := limits.get("NanoCpus"):
        quota, period = round(nano / 1e9 * PERIOD_US), PERIOD_US
    name = found["Name"].lstrip("/")
    about = (found["Id"], name, state["Status"], state.get("Pid") or 0, state["StartedAt"], state["ExitCode"])
    return Box(*about, quota, period)


def _is_podman(client: Any) -> bool:
    return any("Podman" in part.get("Name", "") for part in client.version().get("Components") or ())


def _version(client: Any) -> str:
    return client.version()["Version"]
