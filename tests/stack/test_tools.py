"""Finding Prometheus and Alertmanager, and getting them: real apt on a made repository, a server with made archives."""

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.errors import ToolMissing
from harness.stack import tools

ALL = set(tools.PROGRAMS)


def program(folder: Path, name: str, version: str = "1.2.3") -> Path:
    """A program that does nothing but say its version."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{name}, version {version} (branch: HEAD)'\n")
    (folder / name).chmod(0o755)
    return folder / name


def world(tmp_path: Path, **more: str) -> dict[str, str]:
    """An environment in which nothing is installed."""
    return {"PATH": str(tmp_path / "path"), "XDG_CACHE_HOME": str(tmp_path / "cache"), **more}


def test_what_is_installed_here_is_found_with_its_versions():
    found = tools.find()
    assert found.versions.keys() == ALL and all(v[0].isdigit() for v in found.versions.values())
    assert all(os.access(getattr(found, name), os.X_OK) and os.path.isabs(getattr(found, name)) for name in ALL)


def test_a_folder_named_by_the_user_goes_before_the_cache_and_the_cache_before_path(tmp_path):
    environ = world(tmp_path, HARNESS_TOOLS=str(tmp_path / "mine"))
    for name in ALL:
        program(tmp_path / "path", name, "3")
    program(tmp_path / "cache/chaos-harness/bin", "promtool", "2")
    program(tmp_path / "cache/chaos-harness/bin", "amtool", "2")
    program(tmp_path / "mine", "amtool", "1")
    assert tools.find(environ).versions == {"amtool": "1", "promtool": "2", "prometheus": "3", "alertmanager": "3"}


def test_debians_name_of_alertmanager_is_known(tmp_path):
    for name in ("prometheus", "promtool", "amtool", "prometheus-alertmanager"):
        program(tmp_path / "path", name)
    assert tools.find(world(tmp_path)).alertmanager == str(tmp_path / "path/prometheus-alertmanager")


def test_what_is_missing_is_named_in_one_line_with_the_command_that_gets_it(tmp_path):
    program(tmp_path / "path", "prometheus")
    with pytest.raises(ToolMissing, match=r"^alertmanager, amtool, promtool not found in .*; `make tools` gets.*$"):
        tools.find(world(tmp_path))


def test_a_program_that_cannot_run_is_missing_too(tmp_path):
    for name in ALL:
        program(tmp_path / "path", name)
    (tmp_path / "path/promtool").write_bytes(b"\x7fELF and nothing more")
    with pytest.raises(ToolMissing, match="promtool does not run"):
        tools.find(world(tmp_path))


def test_nothing_is_got_where_nothing_is_missing(tmp_path):
    for name in ALL:
        program(tmp_path / "path", name)

    def never(missing, into):
        raise AssertionError("asked for what is there")

    assert tools.get(world(tmp_path), [never]) == []
    assert not (tmp_path / "cache").exists()


def test_where_one_way_fails_the_next_is_taken(tmp_path):
    def broken(missing, into):
        raise ToolMissing("out of order")

    def half(missing, into):
        for name in {"prometheus", "promtool"} & set(missing):
            program(into, name)

    def rest(missing, into):
        assert missing == {"alertmanager", "amtool"}
        for name in missing:
            program(into, name)

    assert len(tools.get(world(tmp_path), [broken, half, rest])) == 2
    assert tools.find(world(tmp_path)).versions["amtool"] == "1.2.3"


def test_without_apt_and_network_it_ends_with_70_and_one_line(tmp_path):
    environ = world(tmp_path, https_proxy="http://127.0.0.1:9")
    environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "harness.stack.tools"], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 70
    assert done.stderr.count("\n") == 1 and "there is no apt here" in done.stderr and "github.com" in done.stderr
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


# The official archives, from a server of our own


def archive(folder: Path, product: str, *programs: str) -> str:
    """Put an archive where a release would be; its SHA-256."""
    stem = f"{product}-{tools.VERSIONS[product]}.linux-amd64"
    folder = folder / product / "releases/download" / f"v{tools.VERSIONS[product]}"
    folder.mkdir(parents=True)
    with tarfile.open(folder / f"{stem}.tar.gz", "w:gz") as tar:
        for name in programs:
            content = f"#!/bin/sh\necho '{name}, version 9.9'\nexit\n".encode() + os.urandom(20_000)
            info = tarfile.TarInfo(f"{stem}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return hashlib.sha256((folder / f"{stem}.tar.gz").read_bytes()).hexdigest()


class CutsOff(SimpleHTTPRequestHandler):
    """Announces the whole file and sends half of it."""

    def copyfile(self, source, outputfile):
        content = source.read()
        outputfile.write(content[: len(content) // 2])

    def log_message(self, *_):
        pass


class Whole(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(folder: Path, handler=Whole):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def release(tmp_path):
    """A folder with both archives, their pins, and where to put programs."""
    pins = {
        f"prometheus-{tools.VERSIONS['prometheus']}.linux-amd64.tar.gz": archive(
            tmp_path / "web", "prometheus", "prometheus", "promtool", "LICENSE"
        ),
        f"alertmanager-{tools.VERSIONS['alertmanager']}.linux-amd64.tar.gz": archive(
            tmp_path / "web", "alertmanager", "alertmanager", "amtool"
        ),
    }
    return tmp_path / "web", pins, tmp_path / "cache/bin"


def test_an_archive_with_its_pinned_checksum_is_unpacked(release):
    web, pins, into = release
    with serving(web) as base:
        tools.from_release(ALL, into, base=base, pins=pins, machine="x86_64")
    assert {p.name for p in into.iterdir()} == ALL
    assert b"version 9.9" in subprocess.run([into / "amtool"], capture_output=True).stdout
    assert [p.name for p in into.parent.iterdir()] == ["bin"], "the archive was left behind"


def test_only_the_archive_that_is_needed_is_fetched(release):
    web, pins, into = release
    shutil.rmtree(web / "prometheus")
    with serving(web) as base:
        tools.from_release({"amtool"}, into, base=base, pins=pins, machine="x86_64")
    assert {p.name for p in into.iterdir()} == {"amtool"}


REFUSED = {
    "an archive with another checksum": (Whole, "x86_64", "0" * 64, "SHA-256 is .*, pinned is 0000"),
    "an archive cut off on the way": (CutsOff, "x86_64", None, "cut off after .* of .* bytes"),
    "an archive without a pin": (Whole, "riscv64", None, "no checksum is pinned for prometheus-.*linux-riscv64"),
}


@pytest.mark.parametrize(("handler", "machine", "pin", "why"), REFUSED.values(), ids=REFUSED)
def test_refused_and_nothing_left(release, handler, machine, pin, why):
    web, pins, into = release
    with serving(web, handler) as base, pytest.raises(ToolMissing, match=why):
        tools.from_release(
            ALL, into, base=base, pins={name: pin or true for name, true in pins.items()}, machine=machine
        )
    assert [p for p in into.parent.rglob("*") if p != into] == []


def test_every_pin_is_of_a_version_we_ask_for():
    assert set(tools.PINS) == {
        f"{product}-{version}.linux-{architecture}.tar.gz"
        for product, version in tools.VERSIONS.items()
        for architecture in ("amd64", "arm64")
    }
    assert all(len(bytes.fromhex(pin)) == 32 for pin in tools.PINS.values())


# apt itself, on a repository of our own


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An apt repository with both packages, and an apt that knows no other and installs into a folder of ours."""
    if not shutil.which("apt-get") or os.geteuid() != 0:
        pytest.skip("apt installs only where it is, and for root")
    folder = tmp_path / "repository"
    index = ""
    for package, programs in (
        ("prometheus", ("prometheus", "promtool")),
        ("prometheus-alertmanager", ("prometheus-alertmanager", "amtool")),
    ):
        for name in programs:
            program(folder / package / "usr/bin", name, "2.0+ds")
        fields = f"Package: {package}\nVersion: 9:2.0\nArchitecture: all\nMaintainer: nobody\nDescription: made\n"
        (folder / package / "DEBIAN").mkdir()
        (folder / package / "DEBIAN/control").write_text(fields)
        deb = folder / f"{package}.deb"
        subprocess.run(["dpkg-deb", "-b", folder / package, deb], check=True, capture_output=True)
        sha256 = hashlib.sha256(deb.read_bytes()).hexdigest()
        index += f"{fields}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {sha256}\n\n"
    (folder / "Packages").write_text(index)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file://{folder} ./\n")
    admin = tmp_path / "root/var/lib/dpkg"
    for part in ("info", "updates", "triggers"):
        (admin / part).mkdir(parents=True)
    (admin / "status").touch()
    (tmp_path / "state/lists/partial").mkdir(parents=True)
    (tmp_path / "archives/partial").mkdir(parents=True)
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list"; Dir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State "{tmp_path}/state"; Dir::State::status "{admin}/status"; Dir::Cache "{tmp_path}/archives";\n'
        f'Dir::Cache::archives "{tmp_path}/archives"; APT::Sandbox::User "";\n'
        f'DPkg::Options {{"--root={tmp_path}/root"; "--log=/dev/null";}};\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    return folder


def test_apt_installs_both_packages_and_takes_its_policy_away_again(repository, tmp_path):
    policy = Path("/usr/sbin/policy-rc.d")
    before = policy.read_bytes() if policy.exists() else None
    tools.from_apt(ALL, tmp_path / "cache/bin")
    found = tools.find(world(tmp_path, HARNESS_TOOLS=str(tmp_path / "root/usr/bin")))
    assert set(found.versions.values()) == {"2.0+ds"}
    assert (policy.read_bytes() if policy.exists() else None) == before


def test_a_package_that_is_not_what_the_index_says_is_refused(repository, tmp_path):
    with open(repository / "prometheus.deb", "ab") as package:
        package.write(b"more")
    with pytest.raises(ToolMissing, match=r"sh: E: "):
        tools.from_apt({"promtool"}, tmp_path / "cache/bin")
    assert not (tmp_path / "root/usr/bin").exists()
