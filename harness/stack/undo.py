"""The rollback actions: a verb and its arguments as data, and one function for each verb.

An undo is data and not code, so that the watchdog, a later `harness heal` or a person can carry it out without knowing
the fault. Every verb
- does nothing where nothing is left to do, so it may be carried out again;
- touches only what its arguments identify exactly, and raises ValueError for what no undo may touch;
- raises OSError when it could not be done; the next attempt then starts from whatever state that left.
"""

from __future__ import annotations

import errno
import hashlib
import inspect
import ipaddress
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.stack import cgroup
from harness.stack.control import BY_HARNESS
from harness.stack.process import Pid, members, send, state
from harness.stack.volume import mounts

PRIVATE = "private"  # a folder of the run that goes with its stack: secrets, and what the service keeps
END_GRACE_S, KILLED_WITHIN_S = 3.0, 2.0
LEFT_WITHIN_S = 3.0
RESTARTED_WITHIN_S = 30.0  # the default grace period of a pod, after which its supervisor kills it
PROXY_TIMEOUT_S, RELOADED_WITHIN_S = 3.0, 15.0
ROLLED_BACK_WITHIN_S = 60.0
_COMPONENT = re.compile(r"[A-Za-z0-9][\w.-]*")
_PROXY = re.compile(r"/proxies/[^/]+")
_PROXY_RULE = re.compile(r"/proxies/[^/]+(/toxics/[^/]+)?")


@dataclass(frozen=True)
class Undo:
    """One step back: a verb of VERBS and its arguments, all of them JSON."""

    verb: str
    arguments: Mapping[str, Any]

    def check(self) -> None:
        """Raise ValueError if there is no such verb, or not with such arguments."""
        if self.verb not in VERBS:
            raise ValueError(f"there is no verb {self.verb!r} to undo by (known: {', '.join(VERBS)})")
        try:
            inspect.signature(VERBS[self.verb]).bind(None, **self.arguments)
        except TypeError as error:
            raise ValueError(f"{self.verb}: {error}") from error

    def carry_out(self, run: Path) -> None:
        """Do it for the run in this folder. Raises ValueError if it is refused, OSError if it cannot be done."""
        self.check()
        VERBS[self.verb](run, **self.arguments)

    def record(self) -> dict[str, Any]:
        """As it is written to the ledger; `read` gives it back."""
        return {"verb": self.verb, **self.arguments}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Undo:
        return cls(record["verb"], {key: value for key, value in record.items() if key != "verb"})


def saved(run: Path, path: Path) -> Undo:
    """Copy a file into the run's folder; gives the undo that restores it from there."""
    source = _exact(str(path))
    if source.is_symlink():
        raise ValueError(f"{path} is a symbolic link; name the file that it leads to")
    content = source.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    private = run.resolve() / PRIVATE  # a copy of what goes with the stack goes with it, too
    copy = (private if private in source.parents else run.resolve()) / "saved" / digest
    copy.parent.mkdir(exist_ok=True)
    _write(copy, content, 0o600, (os.geteuid(), os.getegid()))
    mode, owner = _mode_and_owner(source)
    return Undo(
        "restore_file",
        {"path": str(source), "copy": str(copy), "sha256": digest, "mode": mode, "owner": list(owner)},
    )


def owned(run: Path) -> bool:
    """Whether the process that brought the run's stack up is still there."""
    try:
        return state(Pid(**json.loads((run / "owner.json").read_text()))) is not None
    except (OSError, ValueError, TypeError):
        return False  # nobody's, or killed while it wrote who it is


# -- the verbs ---------------------------------------------------------------------------------------------------


def _continue(
    run: Path, pid: int, started: int, component: str | None = None, others: Sequence[Sequence[int]] = ()
) -> None:
    """Wake a stopped process; with `component`, all processes of that component, and those `others` that were."""
    stopped = [_process(pid, started), *(_process(*other) for other in others)]
    if component is not None:
        stopped += members(run, component, stopped[0])
    for one in dict.fromkeys(stopped):
        send(one, signal.SIGCONT)


def _end(run: Path, pid: int, started: int) -> None:
    """End a process that the fault started: SIGTERM, then SIGKILL."""
    target = _process(pid, started)
    if pid == os.getpid():
        raise ValueError("a process does not end itself to undo a fault")
    for signum, within_s in ((signal.SIGTERM, END_GRACE_S), (signal.SIGKILL, KILLED_WITHIN_S)):
        send(target, signum)
        until = time.monotonic() + within_s
        while state(target) and time.monotonic() < until:
            time.sleep(0.02)
    if state(target):
        raise TimeoutError(f"process {pid} is still there after SIGKILL")


def _remove(run: Path, path: str, tree: bool = False) -> None:
    """Remove a file or an empty directory; a whole tree only inside the run's folder."""
    there = _exact(path)
    if tree:
        _inside(run, there)
        if mounted := [m.place for m in mounts() if there in (Path(m.place), *Path(m.place).parents)]:
            raise OSError(errno.EBUSY, "a file system is mounted in it", mounted[0])
    with suppress(FileNotFoundError, NotADirectoryError):
        if there.is_symlink() or not there.is_dir():
            there.unlink()
        elif tree:
            shutil.rmtree(there)
        else:
            there.rmdir()
    if tree and os.path.lexists(there):
        raise OSError(errno.ENOTEMPTY, "it changed while it was removed", path)


def _unmount(run: Path, path: str, source: str) -> None:
    """Unmount what was mounted at a place from a source, at once where it is in use, and nothing else mounted there."""
    there = str(_exact(path))
    while at := [m.source for m in mounts() if m.place == there]:
        if source not in at:
            return
        if at[-1] != source:
            raise OSError(errno.EBUSY, f"{at[-1]} is mounted over {source}", path)
        for options in ([], ["-l"]):
            done = subprocess.run(["umount", *options, there], capture_output=True, text=True, timeout=10)
            if done.returncode == 0:
                break
        else:
            if at == [m.source for m in mounts() if m.place == there]:
                raise OSError(errno.EBUSY, done.stderr.strip(), path)


def _make_writable(run: Path, path: str) -> None:
    """Unmount what makes a folder of the run read-only; what is mounted there beside it stays."""
    there = str(_exact(path))
    _inside(run, Path(there))
    while at := [m for m in mounts() if m.place == there]:
        if not at[-1].read_only:
            return
        done = subprocess.run(["umount", "-l", there], capture_output=True, text=True, timeout=10)
        if done.returncode != 0 and at == [m for m in mounts() if m.place == there]:
            raise OSError(errno.EBUSY, done.stderr.strip(), path)


def _restore_file(run: Path, path: str, copy: str, sha256: str, mode: int, owner: Sequence[int]) -> None:
    """Put a saved copy back with its mode and owner, in one step, unless that content is there already."""
    there = _exact(path)
    _inside(run, saved_copy := _exact(copy))
    with suppress(FileNotFoundError, IsADirectoryError):
        if not there.is_symlink() and hashlib.sha256(there.read_bytes()).hexdigest() == sha256:
            if _mode_and_owner(there) != (mode, tuple(owner)):
                os.chown(there, *owner)
                there.chmod(mode)
            return
    content = saved_copy.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{copy} is not the copy that was saved (SHA-256 {sha256[:12]}...)")
    _write(there, content, mode, owner)


def _move_back(run: Path, path: str, away: str) -> None:
    """Move a file of the run back to where it was, in place of what is there now; nothing once it is back."""
    there, from_ = _exact(path), _exact(away)
    _inside(run, there)
    _inside(run, from_)
    if not os.path.lexists(from_):
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        there.rmdir()  # an empty folder in its place
    os.replace(from_, there)


def _restart_component(run: Path, component: str, pid: int | None = None, started: int | None = None) -> None:
    """Ask the supervisor of a component to start it again, and wait until it has. With `pid` and `started`: only while
    that very process is the component's last one. Nothing to do once nobody owns the run."""
    if not _COMPONENT.fullmatch(component):
        raise ValueError(f"{component!r} is no name of a component")
    if not owned(run):
        return
    try:
        latest = json.loads((run / "pids" / component).read_text())
    except FileNotFoundError as error:
        raise ValueError(f"no component is called {component!r}") from error
    if pid is not None and (latest["pid"], latest["started"]) != (pid, started):
        return
    request = run / "requests" / f"restart-{component}"
    request.parent.mkdir(exist_ok=True)
    request.write_text("")  # also where another restart, with more in the environment, does not get ready
    until = time.monotonic() + RESTARTED_WITHIN_S
    while request.exists() and owned(run):
        if time.monotonic() > until:
            request.unlink(missing_ok=True)
            raise TimeoutError(f"the supervisor of {component} did not restart it within {RESTARTED_WITHIN_S:g} s")
        time.sleep(0.05)
    request.unlink(missing_ok=True)


def _delete_proxy_rule(run: Path, url: str) -> None:
    """DELETE a proxy, or a toxic of one, by the Toxiproxy HTTP API on loopback. A proxy that has ended has no rules."""
    _ask_proxy("DELETE", url, (200, 204, 404), _PROXY_RULE)


def _enable_proxy(run: Path, url: str) -> None:
    """Have a proxy accept connections again. One that has ended, or is no more, has none to accept."""
    _ask_proxy("POST", url, (200, 404), _PROXY, {"enabled": True})


def _reload_prometheus(run: Path, url: str) -> None:
    """Have Prometheus read its files again. One that has ended reads them when it starts."""
    _ask_loopback("POST", url, (200,), re.compile("/-/reload"), "/-/reload", within_s=RELOADED_WITHIN_S)


def _ask_proxy(
    method: str, url: str, good: Sequence[int], path: re.Pattern[str], body: Mapping[str, Any] | None = None
) -> None:
    wanted = f"/proxies/NAME{'' if path is _PROXY else ' or /proxies/NAME/toxics/NAME'}"
    _ask_loopback(method, url, good, path, wanted, body)


def _ask_loopback(
    method: str, url: str, good: Sequence[int], path: re.Pattern[str], wanted: str,
    body: Mapping[str, Any] | None = None, within_s: float = 0.0,
) -> None:  # fmt: skip
    """One request to a process on loopback; one that has ended has nothing to undo."""
    import httpx  # here, because the watchdog imports this file and seldom needs it

    parts = urlsplit(url)
    loopback = parts.hostname == "localhost" or (parts.hostname and _is_loopback(parts.hostname))
    if parts.scheme != "http" or not loopback or parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{url} is not a plain http:// URL on loopback")
    if not path.fullmatch(parts.path) or any(part in (".", "..") for part in parts.path.split("/")):
        raise ValueError(f"{url} is not {wanted}")
    try:
        response = httpx.request(
            method, url, json=body, timeout=within_s or PROXY_TIMEOUT_S, trust_env=False, follow_redirects=False
        )
    except httpx.ConnectError:
        return
    except httpx.HTTPError as error:
        raise OSError(f"{method} {url}: {error or type(error).__name__}") from error
    if response.status_code not in good:
        raise OSError(f"{method} {url}: status {response.status_code} {response.text[:200]}")


def _leave_cgroup(run: Path, path: str, back: str) -> None:
    """Put all processes of a control group that a fault made into another one, and remove it."""
    there, to = _exact(path), _exact(back)
    if cgroup.ROOT not in there.parents or not there.name.startswith(cgroup.PREFIX):
        raise ValueError(f"{path} is no control group that a fault makes")
    if cgroup.ROOT not in (to, *to.parents) or to == there:
        raise ValueError(f"{back} is no control group to go back to")
    until = time.monotonic() + LEFT_WITHIN_S
    _unthrottle(there)
    while there.exists():
        try:
            for pid in (there / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):  # it has ended
                    (to / "cgroup.procs").write_text(pid)
            there.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _unthrottle(group: Path) -> None:
    """Let what waits for the disk in a group go at once: it would go on as slowly when its process has left."""
    for name, none in (("blkio.throttle.write_bps_device", "0"), ("io.max", "wbps=max")):
        with suppress(OSError):  # another controller's, or another version's
            for line in (group / name).read_text().splitlines():
                (group / name).write_text(f"{line.split()[0]} {none}")


def _limit_descriptors(run: Path, pid: int, started: int, soft: int) -> None:
    """Give a process the limit of descriptors back that it had."""
    target = _process(pid, started)
    if state(target) is None:
        return
    with suppress(ProcessLookupError):
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def _unpause_container(run: Path, engine: str, id: str, name: str) -> None:
    """Let a paused container go on. One that was removed or has ended is not paused."""
    from harness.stack.engine import Engine, Gone  # here and below, because the watchdog seldom needs them

    with suppress(Gone):
        if _box(engine, id).status == "paused":
            Engine(engine).unpause(id)


def _start_container(run: Path, engine: str, id: str, name: str, restarted_by: str = "") -> None:
    """Start a container that has ended, or the one that has its name now; nothing where that runs. One that the harness
    itself looks after is first left to that."""
    from harness.stack.engine import Box, Engine, Gone

    def there() -> Box | None:
        with suppress(Gone):
            return _box(engine, id)
        with suppress(Gone):
            return Engine(engine).find(name)
        return None

    until = time.monotonic() + RESTARTED_WITHIN_S
    while (box := there()) is not None and not box.runs and restarted_by == BY_HARNESS and owned(run):
        if time.monotonic() > until:
            break
        time.sleep(0.2)
    if box is None:
        raise OSError(f"container {name} was removed, so it cannot be started; make it anew")
    if not box.runs:
        Engine(engine).start(box.id)


def _limit_container(run: Path, engine: str, id: str, name: str, quota_us: int, period_us: int) -> None:
    """Give a container the processor time back that it had. One that was removed has no limits."""
    from harness.stack.engine import Engine, Gone

    with suppress(Gone):
        _box(engine, id)
        Engine(engine).limit(id, quota_us, period_us)


def _scale_workload(
    run: Path, context: str, namespace: str, kubeconfig: str | None, kind: str, name: str, uid: str, replicas: int
) -> None:
    """Have a Deployment or StatefulSet make as many pods as before; nothing where that very one is gone."""
    from harness.stack.cluster import SCALED, Cluster

    if kind not in SCALED:
        raise ValueError(f"a {kind} has no number of pods that is changed here")
    Cluster(context, namespace, kubeconfig).scale(kind, name, uid, replicas)


def _play_rollbacks(run: Path, experiment: str, folder: str) -> None:
    """Play the rollbacks of an experiment, which alone know how to undo what its actions did. That they may be played
    twice is for them to see to."""
    facts = json.loads((run / "stack.json").read_text())
    urls = {name.upper(): str(url) for name, url in facts.items() if name.endswith("_url")}
    urls["APPLICATION_ENTRYPOINT_URL"] = urls["SERVICE_URL"]
    argv = [sys.executable, "-m", "harness.chaos.runner", "--rollbacks", str(_exact(experiment))]
    environment = {**os.environ, **urls, "HARNESS_RUN_DIR": str(run.resolve())}
    with subprocess.Popen(
        argv, cwd=_exact(folder), env=environment, text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        try:
            _, said = child.communicate(timeout=ROLLED_BACK_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            raise TimeoutError(f"the rollbacks of {experiment} took more than {ROLLED_BACK_WITHIN_S:g} s") from None
    if child.returncode != 0:
        lines = said.strip().splitlines()
        raise OSError(f"a rollback of {experiment} failed: {lines[-1][-200:] if lines else child.returncode}")


VERBS: dict[str, Callable[..., None]] = {
    "continue": _continue,
    "end": _end,
    "remove": _remove,
    "unmount": _unmount,
    "make_writable": _make_writable,
    "restore_file": _restore_file,
    "move_back": _move_back,
    "restart_component": _restart_component,
    "delete_proxy_rule": _delete_proxy_rule,
    "leave_cgroup": _leave_cgroup,
    "limit_descriptors": _limit_descriptors,
    "enable_proxy": _enable_proxy,
    "reload_prometheus": _reload_prometheus,
    "unpause_container": _unpause_container,
    "start_container": _start_container,
    "limit_container": _limit_container,
    "scale_workload": _scale_workload,
    "play_rollbacks": _play_rollbacks,
}


# -- what they share ---------------------------------------------------------------------------------------------


def _process(pid: int, started: int) -> Pid:
    if pid <= 1:
        raise ValueError(f"{pid} is no process that a fault may touch")
    return Pid(pid, started)


def _box(engine: str, id: str) -> Any:
    """A container by its whole id, for a part of one, or a name, may be another's."""
    from harness.stack.engine import Engine, address

    if not re.fullmatch(r"[0-9a-f]{64}", id):
        raise ValueError(f"{id!r} is no whole id of a container")
    return Engine(address(engine)).find(id)


def _exact(path: str) -> Path:
    """A path that means one place only: absolute, normal, through no symbolic link."""
    place = Path(path)
    if not place.is_absolute() or os.path.normpath(path) != path or place == place.parent:
        raise ValueError(f"{path!r} is not an absolute, normal path below the root")
    if place.parent.resolve() != place.parent:
        raise ValueError(f"{path!r} leads through a symbolic link to {place.parent.resolve()}")
    return place


def _inside(run: Path, place: Path) -> None:
    if run.resolve() not in place.parents:
        raise ValueError(f"{place} is not inside the run's folder {run.resolve()}")


def _mode_and_owner(path: Path) -> tuple[int, tuple[int, int]]:
    found = path.stat()
    return found.st_mode & 0o7777, (found.st_uid, found.st_gid)


def _write(path: Path, content: bytes, mode: int, owner: Sequence[int]) -> None:
    """Write a file so that a reader, or a kill, finds all of the old one or all of the new one."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)  # left by an attempt that was killed
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "wb") as out:
        out.write(content)
        os.fchown(fd, *owner)
        os.fchmod(fd, mode)  # after it, because a change of owner clears bits of the mode
        out.flush()
        os.fsync(fd)
    os.replace(scratch, path)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
