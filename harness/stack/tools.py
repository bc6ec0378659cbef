"""The programs the harness needs and does not bring: Prometheus with promtool, Alertmanager with amtool.

    python -m harness.stack.tools

gets what is missing: by apt where there is root or sudo, else from the official archives into the cache folder, which
is `$XDG_CACHE_HOME/chaos-harness` or `.cache` of the project. It does nothing where nothing is missing. It runs before
anything is installed, so it lives on the standard library.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ToolMissing

PROGRAMS = {  # what we call it: what it may be called
    "prometheus": ("prometheus",),
    "promtool": ("promtool",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),  # the second is Debian's
    "amtool": ("amtool",),
}
PACKAGES = {"prometheus": ("prometheus", "promtool"), "prometheus-alertmanager": ("alertmanager", "amtool")}

RELEASES = "https://github.com/prometheus"
VERSIONS = {"prometheus": "2.50.1", "alertmanager": "0.27.0"}
PINS = {  # SHA-256 of the official archives; one that is not here is not taken
    "prometheus-2.50.1.linux-amd64.tar.gz": "936f3777f8c3a4a90d3c58a6f410350d5932c79367b99771d002bd36e48bd05b",
    "prometheus-2.50.1.linux-arm64.tar.gz": "9f1a65cf08cef3dcd5f0d38d8673ecfaf1054aa9e1e5c18c94efd8546c1fdd96",
    "alertmanager-0.27.0.linux-amd64.tar.gz": "23c3f5a3c73de91dbaec419f3c492bef636deb02680808e5d842e6553aa16074",
    "alertmanager-0.27.0.linux-arm64.tar.gz": "a754304b682cec61f4bd5cfc029b451a30134554b3a2f21a9c487e12814ff8f3",
}


@dataclass(frozen=True)
class Tools:
    """Absolute paths of the programs, and the version each gave of itself, by the same names."""

    prometheus: str
    promtool: str
    alertmanager: str
    amtool: str
    versions: Mapping[str, str]


def find(environ: Mapping[str, str] = os.environ) -> Tools:
    """The programs in `$HARNESS_TOOLS`, the cache folder or PATH, in this order. Raises ToolMissing."""
    found = located(environ)
    if absent := PROGRAMS.keys() - found.keys():
        places = f"$HARNESS_TOOLS, {cache_folder(environ) / 'bin'} or PATH"
        raise ToolMissing(f"{_listed(absent)} not found in {places}; `make tools` gets what is missing")
    return Tools(**found, versions=_versions(found))


def located(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The absolute paths of those programs that are there."""
    folders = [environ.get("HARNESS_TOOLS"), str(cache_folder(environ) / "bin"), environ.get("PATH")]
    path = os.pathsep.join(filter(None, folders))
    return {
        program: os.path.abspath(found)
        for program, names in PROGRAMS.items()
        if (found := next(filter(None, (shutil.which(name, path=path) for name in names)), None))
    }


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where fetched programs are kept: `$XDG_CACHE_HOME/chaos-harness`, else `.cache` of the checkout (or of here)."""
    if home := environ.get("XDG_CACHE_HOME"):
        return Path(home) / "chaos-harness"
    checkout = Path(__file__).resolve().parents[2]
    return (checkout if (checkout / "Makefile").exists() else Path.cwd()) / ".cache"


Way = Callable[[Iterable[str], Path], None]


def get(environ: Mapping[str, str] = os.environ, ways: Sequence[Way] | None = None) -> list[str]:
    """Get what is missing, by the first way that works for it; a line for each thing done. Raises ToolMissing."""
    done, refused = [], []
    bin_folder = cache_folder(environ) / "bin"
    for way in ways or (from_apt, from_release):
        missing = PROGRAMS.keys() - located(environ).keys()
        if not missing:
            break
        try:
            bin_folder.mkdir(parents=True, exist_ok=True)
            way(missing, bin_folder)
            done.append(f"{_listed(missing)}: {way.__name__.replace('_', ' ')}")
        except (ToolMissing, OSError) as error:
            refused.append(f"{way.__name__.replace('_', ' ')}: {error}")
    if missing := PROGRAMS.keys() - located(environ).keys():
        raise ToolMissing(
            f"{_listed(missing)} could not be had ({'; '.join(refused)}); "
            "install Prometheus and Alertmanager, or set HARNESS_TOOLS to a folder that holds them"
        )
    return done


_APT = """set -e
mkdir -p /run/lock
exec 9> /run/lock/harness-apt.lock
flock 9  # one at a time: apt itself does not wait for another that fetches lists
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\\nexit 101\\n' > $policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o Acquire::http::Timeout=30 -o Acquire::Retries=2 update
apt-get -qq -o Acquire::http::Timeout=30 -o Acquire::Retries=2 install -y --no-install-recommends "$@"
if [ -d /run/systemd/system ]; then systemctl -q disable "$@"; fi
"""


def from_apt(missing: Iterable[str], into: Path) -> None:
    """The distribution's packages, installed and not only unpacked, because Debian's Alertmanager reads its default
    templates from /usr/share. Raises ToolMissing."""
    wanted = set(missing)
    apt_install(*(package for package, programs in PACKAGES.items() if wanted & set(programs)))


def apt_install(*packages: str) -> None:
    """Install packages, which apt verifies. Raises ToolMissing without root, sudo or apt.

    The services that they bring are neither started nor enabled: we want the programs alone.
    """
    if not shutil.which("apt-get"):
        raise ToolMissing("there is no apt here")
    become = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if become and (not shutil.which("sudo") or subprocess.run([*become, "true"], capture_output=True).returncode):
        raise ToolMissing("it takes root, or sudo without a password")
    _run([*become, "sh", "-c", _APT, "apt", *packages])


def from_release(
    missing: Iterable[str],
    into: Path,
    *,
    base: str = RELEASES,
    pins: Mapping[str, str] = PINS,
    machine: str = platform.machine(),
) -> None:
    """Take programs out of the official release archives, whose SHA-256 must be the pinned one. Raises ToolMissing."""
    import tarfile  # here, because a call that has nothing to get is to cost nothing

    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    wanted = set(missing)
    for (product, version), programs in zip(VERSIONS.items(), PACKAGES.values(), strict=True):
        if not wanted & set(programs):
            continue
        stem = f"{product}-{version}.linux-{architecture}"
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".getting-", dir=into.parent) as folder:  # a rename away from `into`
            scratch = Path(folder)
            archive = scratch / f"{stem}.tar.gz"
            if archive.name not in pins:
                raise ToolMissing(f"no checksum is pinned for {archive.name}")
            _download(f"{base}/{product}/releases/download/v{version}/{archive.name}", archive, pins[archive.name])
            with tarfile.open(archive) as tar:
                for program in wanted & set(programs):
                    try:
                        member = tar.extractfile(f"{stem}/{program}")
                    except KeyError:
                        raise ToolMissing(f"{archive.name} holds no {program}") from None
                    (scratch / program).write_bytes(member.read())
                    (scratch / program).chmod(0o755)
                    (scratch / program).replace(into / program)


def _download(url: str, to: Path, sha256: str) -> None:
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=60) as response, open(to, "wb") as out:
            shutil.copyfileobj(response, out)
            announced = response.headers.get("Content-Length")
    except OSError as error:
        raise ToolMissing(f"{url}: {getattr(error, 'reason', error)}") from None
    got = to.stat().st_size
    if announced and got != int(announced):
        raise ToolMissing(f"{url}: cut off after {got} of {announced} bytes")
    with open(to, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ToolMissing(f"{url}: SHA-256 is {found}, pinned is {sha256}; not used")


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolMissing(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"ended with {done.returncode}"]
        raise ToolMissing(f"{command[0]}: {next((line for line in lines if line.startswith('E:')), lines[-1])}")


def _versions(found: Mapping[str, str]) -> dict[str, str]:
    """What each program prints for --version; all run at once."""
    try:
        asked = {
            program: subprocess.Popen([at, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for program, at in found.items()
        }
    except OSError as error:
        raise ToolMissing(f"{error.filename} does not run: {error.strerror}; `make tools` gets another") from None
    shown = {program: process.communicate()[0] for program, process in asked.items()}
    return {
        program: (re.search(r"version (\S+)", text) or ("", "unknown"))[1].strip(",") for program, text in shown.items()
    }


def _listed(programs: Iterable[str]) -> str:
    return ", ".join(sorted(programs))


def main() -> int:
    if missing := PROGRAMS.keys() - located().keys():
        print(f"getting {_listed(missing)} ...", flush=True)
    try:
        for line in get():
            print(line)
    except ToolMissing as error:
        print(f"tools: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
