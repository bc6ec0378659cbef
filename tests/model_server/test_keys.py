"""The keys file and its command: keys are shown once, kept as hashes, expire and are revoked."""

import concurrent.futures
import json
import stat
import subprocess
import sys
import time

import pytest

from model_server.keys import main
from model_server.security.guard import Allowance
from model_server.security.keyring import BadKeys, Keyring, Refused, load


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def run(file, capsys):
    """Runs the command on the test's keys file; its exit code, output and complaints."""

    def run(*argv: str) -> tuple[int, str, str]:
        try:
            code = main(["--keys", str(file), *argv])
        except SystemExit as ended:
            code = ended.code
        told = capsys.readouterr()
        return code, told.out.strip(), told.err.strip()

    return run


def refused(ring: Keyring, token: str, at: float | None = None) -> str:
    with pytest.raises(Refused) as error:
        ring.find(token, time.time() if at is None else at)
    return str(error.value)


def test_a_key_is_shown_once_and_kept_as_a_hash_that_only_its_owner_may_read(file, run):
    token = run("add", "ward-3", "--role", "predict", "--role", "feedback")[1]
    key = Keyring(file).find(token, time.time())
    assert (key.name, key.roles) == ("ward-3", ("predict", "feedback"))
    assert token.rpartition("_")[2] not in file.read_text() and stat.S_IMODE(file.stat().st_mode) == 0o600
    code, told, _ = run("list")
    assert code == 0 and "ward-3" in told and "no end" in told and token not in told


def test_a_key_that_is_wrong_expired_or_revoked_opens_nothing(file, run):
    token = run("add", "ward-3", "--role", "predict", "--expires", "1h")[1]
    other = run("add", "ward-4", "--role", "predict")[1]
    ring = Keyring(file)
    assert refused(ring, token, time.time() + 3601) == "expired"
    assert refused(ring, token[:-43] + other[-43:]) == "unknown"
    assert refused(ring, other[:3] + "00000000" + other[11:]) == "unknown"
    assert {refused(ring, x) for x in ("", "x", token[:-1], token + "x", token + "\n", "é" * 55)} == {"malformed"}
    assert run("revoke", "ward-3")[0] == 0 and ring.refresh()
    assert refused(ring, token) == "revoked" and ring.find(other, time.time()).name == "ward-4"
    assert run("revoke", "ward-3")[0] == 1  # there is none left to revoke


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["add", "a b", "--role", "predict"], "name: String should match"),
        (["add", "a"], "--role"),
        (["add", "a", "--role", "root"], "root"),
        (["add", "a", "--role", "predict", "--expires", "soon"], "neither 90d"),
        (["add", "a", "--role", "predict", "--expires", "2030-01-01"], "no time zone"),
        (["add", "a", "--role", "predict", "--expires", "2020-01-01T00:00:00Z"], "is over already"),
        (["add", "a", "--role", "predict", "--rate", "-1"], "per_s: Input should be greater than 0"),
        (["add", "a", "--role", "predict", "--rate", "nan"], "per_s: "),
        (["add", "a", "--role", "predict", "--rate", "fast"], "--rate"),
        (["revoke"], "key"),
    ],
)
def test_a_wrong_command_is_a_usage_error_and_changes_nothing(file, run, argv, said):
    code, _, complaint = run(*argv)
    assert code == 2 and said in complaint and not file.exists()


GOOD = {"id": "0" * 8, "name": "a", "roles": ["predict"], "sha256": "0" * 64, "created": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not a keys file"),
        ("[" * 100_000, "not a keys file"),
        ('{"keys": 5}', "not a keys file"),
        ({"keys": [{}]}, "key 1: id: Field required"),
        ({"keys": [GOOD, GOOD | {"id": "xyz"}]}, "key 2: id: String should match"),
        ({"keys": [GOOD, GOOD]}, "is there twice"),
        ({"keys": [GOOD | {"roles": ["root"]}]}, "key 1: roles.0: Input should be 'predict'"),
        ({"keys": [GOOD | {"roles": []}]}, "key 1: roles: "),
        ({"keys": [GOOD | {"expires": "2026-01-01"}]}, "key 1: expires: "),
        ({"keys": [GOOD | {"expires": 5}]}, "key 1: expires: "),
        ({"keys": [GOOD | {"revoked": "yesterday"}]}, "key 1: revoked: "),
        ({"keys": [GOOD | {"per_s": True}]}, "key 1: per_s: "),
        ({"keys": [GOOD | {"per_s": float("nan")}]}, "key 1: per_s: "),
        ({"keys": [GOOD | {"name": "a\n"}]}, "key 1: name: "),
        ({"keys": [5]}, "key 1: entry: "),
        ({"keys": [GOOD | {"per_s": 0}]}, "key 1: per_s: "),
        ({"keys": [GOOD | {"color": "red"}]}, "key 1: color: Extra inputs"),
    ],
)
def test_a_bad_keys_file_is_refused_with_the_place(file, content, said):
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(BadKeys, match=said) as error:
        load(file)
    assert str(error.value).startswith(str(file))


def test_a_file_that_goes_bad_leaves_the_keys_and_one_that_is_mended_is_read(file, run):
    token = run("add", "a", "--role", "predict")[1]
    ring, good = Keyring(file), file.read_text()
    file.write_text("{")
    assert not ring.refresh() and ring.find(token, time.time()) and ring.failures == 1
    file.unlink()
    assert not ring.refresh() and ring.find(token, time.time()) and ring.failures == 2
    file.write_text(good)
    run("revoke", "a")
    assert ring.refresh() and refused(ring, token) == "revoked" and not ring.refresh()
    assert ring.failures == 2


def test_the_age_of_the_keys_is_since_they_were_last_seen_to_be_the_files(file, run, monkeypatch):
    run("add", "a", "--role", "predict")
    clock = [1000.0]
    monkeypatch.setattr("model_server.security.keyring.time.monotonic", lambda: clock[0])
    ring, good = Keyring(file), file.read_text()

    def later() -> float:
        clock[0] += 10
        ring.refresh()
        return ring.age_s

    assert [later(), later()] == [0, 0]
    file.write_text("{")
    assert [later(), later()] == [10, 20]
    file.unlink()
    assert later() == 30
    file.write_text(good)
    assert [later(), later()] == [0, 0]
    clock[0] += 5  # whoever looks hangs
    assert ring.age_s == 5


def test_of_changes_made_at_once_none_is_lost(file):
    def add(i: int) -> int:
        command = [sys.executable, "-m", "model_server.keys", "--keys", str(file), "add", f"n{i}", "--role", "predict"]
        return subprocess.run(command, capture_output=True, timeout=120).returncode

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert set(pool.map(add, range(4))) == {0}
    assert sorted(key.name for key in load(file)) == ["n0", "n1", "n2", "n3"] and list(file.parent.iterdir()) == [file]


@pytest.fixture
def clock(monkeypatch):
    """What the time is, in a list of one."""
    clock = [2000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    return clock


def test_an_allowance_is_a_seconds_worth_at_once_and_on_average_the_rate(clock):
    allowance = Allowance()

    def let_in(name: str, per_s: float, tries: int = 10) -> int:
        return [allowance.wait_s(name, per_s) for _ in range(tries)].count(0)

    assert let_in("a", 3) == 3 and let_in("b", 3) == 3  # each its own
    assert 0 < allowance.wait_s("a", 3) <= 1
    clock[0] += 1.5  # half of the second before still counts
    assert let_in("a", 3) == 2
    clock[0] += 100
    assert let_in("a", 3) == 3 and let_in("a", 1e6, 1000) == 1000
    total = 0
    for _ in range(100):
        clock[0] += 0.1
        total += let_in("steady", 20)
    assert 180 <= total <= 220


@pytest.mark.parametrize(("per_s", "whole", "in_s"), [(2.9, 2, 1), (1, 1, 1), (0.5, 1, 2), (0.01, 1, 100), (0.3, 1, 4)])
def test_a_rate_is_of_whole_requests_in_whole_seconds_and_never_more(clock, per_s, whole, in_s):
    allowance = Allowance()
    clock[0] = 100_000.0 + in_s / 4
    waits = [allowance.wait_s("a", per_s) for _ in range(whole + 1)]
    assert waits[:whole] == [0] * whole and 0 < waits[whole] <= in_s
    clock[0] += 0.7 * in_s  # still in this window
    assert allowance.wait_s("a", per_s) > 0
    clock[0] += 2 * in_s
    assert allowance.wait_s("a", per_s) == 0


@pytest.mark.parametrize("per_s", [5e-324, 1e-9, 1e9])
def test_the_least_and_the_greatest_rate_are_rates(clock, per_s):
    allowance = Allowance()
    assert allowance.wait_s("a", per_s) == 0
    assert (allowance.wait_s("a", per_s) > 0) == (per_s < 1)


def test_a_clock_that_is_set_back_locks_nobody_out(clock):
    allowance = Allowance()
    assert [allowance.wait_s("a", 2) == 0 for _ in range(3)] == [True, True, False]
    clock[0] -= 1000
    assert [allowance.wait_s("a", 2) == 0 for _ in range(3)] == [True, True, False]
