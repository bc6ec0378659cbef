"""Who may do what at the real server: every wrong key is a 401 or 403 of one shape, counted and recorded."""

import contextlib
import io
import json
import re
import socket

import pytest
from real_server import serving

from model_server.keys import main
from model_server.security.keyring import ROLES

PREDICT = "/predict"


class Keys:
    """A keys file, and the command that changes it."""

    def __init__(self, file):
        self.file = file

    def add(self, name: str, *argv: str) -> str:
        """The new key."""
        return self._run("add", name, *argv)

    def revoke(self, name: str) -> None:
        self._run("revoke", name)

    def edit(self, name: str, **changes) -> None:
        """What the command does not do."""
        content = json.loads(self.file.read_text())
        next(key for key in content["keys"] if key["name"] == name).update(changes)
        self.file.write_text(json.dumps(content))

    def _run(self, *argv: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main(["--keys", str(self.file), *argv]) == 0
        return out.getvalue().strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def keys(folder):
    keys = Keys(folder / "keys.json")
    keys.add("first", "--role", "admin")
    return keys


@pytest.fixture(scope="module")
def state(folder):
    return folder / "state"


@pytest.fixture(scope="module")
def guarded(folder, keys, state):
    """One server for all: it takes up new keys while it runs."""
    with serving(folder, "--keys", str(keys.file), "--state-dir", str(state)) as client:
        yield client


def opens(client, key: str, body: bytes) -> bool:
    return client.post(PREDICT, content=body, headers={"X-API-Key": key}).status_code == 200


def audited(client, state, request_id: str) -> dict:
    def record():
        lines = (state / "audit.jsonl").read_text().split("\n")[:-1]  # the last may be half written
        return next((r for r in map(json.loads, lines) if r["request_id"] == request_id), None)

    return client.until(record)


def test_roles_open_what_they_name_and_nothing_else(guarded, keys, corpus, state):
    ward, lab = keys.add("ward", "--role", "predict"), keys.add("lab", "--role", "feedback")
    past = keys.add("past", "--role", "predict", "--expires", "1h")
    keys.edit("past", expires="2020-01-01T00:00:00+00:00")
    body, client = corpus[0][0], guarded
    client.until(lambda: opens(client, ward, body))

    def sent(*values, path=PREDICT, **more):
        return client.post(path, content=body, headers=[*values, *more.items()])

    assert sent(("Authorization", f"Bearer {ward}")).status_code == 200
    good = sent(("X-API-Key", ward), ("X-Request-ID", "good-1"))
    assert good.status_code == 200 and audited(client, state, "good-1")["principal"] == "ward"

    wrong = ward[:-1] + ("A" if ward[-1] != "A" else "B")
    refused = {
        "missing": [()],
        "unknown": [(("X-API-Key", wrong),)],
        "expired": [(("X-API-Key", past),)],
        "malformed": [
            (("Authorization", "Basic d2FyZDp3YXJk"),),
            (("Authorization", f"Bearer {ward} x"),),
            (("Authorization", "Bearer " + "x" * 20_000),),
            (("X-API-Key", "é".encode() * 27),),
            (("X-API-Key", ""),),
            (("X-API-Key", "' OR 1=1 --"),),
            (("X-API-Key", ward), ("Authorization", f"Bearer {lab}")),
        ],
    }
    for reason, tries in refused.items():
        before = client.metric("auth_failures_total", reason=reason)
        for i, headers in enumerate(tries):
            answer = sent(*headers, ("X-Request-ID", f"{reason}-{i}"))
            problem = answer.json()
            assert (answer.status_code, problem["status"], problem["reason"]) == (401, 401, reason), headers
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith('Bearer realm="pneumonia-detector"')
            assert problem["request_id"] == f"{reason}-{i}" == answer.headers["x-request-id"]
            record = audited(client, state, f"{reason}-{i}")
            assert (record["result"], record["reason"]) == ("unauthenticated", reason)
        assert client.metric("auth_failures_total", reason=reason) == before + len(tries)

    denied = sent(("X-API-Key", lab), ("X-Request-ID", "denied-1"))
    assert (denied.status_code, denied.json()["reason"]) == (403, "under_privileged")
    record = audited(client, state, "denied-1")
    assert (record["result"], record["principal"], record["resource"]) == ("denied", "lab", PREDICT)
    assert client.metric("access_denied_total", resource=PREDICT) == 1
    told = client.post("/feedback", json={"request_id": "good-1", "label": "NORMAL"}, headers={"X-API-Key": lab})
    assert told.status_code == 200
    assert client.post("/feedback", content=b"{}", headers={"X-API-Key": ward}).status_code == 403

    for path in ("/metrics", "/health/live", "/health/ready", "/health/startup"):
        assert client.get(path).status_code == 200
    assert client.get("/nothing").status_code == 404
    assert client.metric("http_requests_total", endpoint=PREDICT, status="500") == 0
    seen = client.log_path.read_text() + (state / "audit.jsonl").read_text()
    assert not any(token in seen for token in (ward, lab, past, wrong))


MODEL = "/v2/models/{name}"
GUARDED = {
    ("POST", PREDICT): "predict",
    ("POST", MODEL + "/infer"): "predict",
    ("POST", MODEL + "/versions/{version}/infer"): "predict",
    ("POST", "/feedback"): "feedback",
    ("GET", "/health/deep"): "admin",
}


def test_the_sweep_is_over_every_route_that_takes_a_key(guarded):
    paths = guarded.get("/openapi.json").json()["paths"]
    operations = [(method.upper(), path, told) for path, item in paths.items() for method, told in item.items()]
    assert {(method, path) for method, path, told in operations if "security" in told} == GUARDED.keys()


@pytest.fixture(scope="module")
def ring(guarded, keys, corpus) -> dict[str, str]:
    """A key of each kind, named by what it is; `but ROLE` has every role but that one."""
    every = [word for role in ROLES for word in ("--role", role)]
    ring = {"right": keys.add("right", *every), "unknown": keys.add("nobodys", *every)[:-4] + "0000"}
    for role in ROLES:
        others = [word for other in ROLES if other != role for word in ("--role", other)]
        ring[f"but {role}"] = keys.add(f"but-{role}", *others)
    for kind, since in (("expired", "expires"), ("revoked", "revoked")):
        ring[kind] = keys.add(kind, *every)
        keys.edit(kind, **{since: "2020-01-01T00:00:00+00:00"})
    guarded.until(lambda: opens(guarded, ring["right"], corpus[0][0]))
    guarded.until(lambda: opens(guarded, ring["but admin"], corpus[0][0]))
    return ring


@pytest.mark.parametrize(("method", "route"), GUARDED)
def test_no_key_opens_a_route_but_one_with_its_role(guarded, ring, corpus, state, method, route):
    client, role = guarded, GUARDED[method, route]
    path = route.replace("{name}", "pneumonia-detector").replace("{version}", "1.0.0")
    name = re.sub(r"\W+", "-", route)

    def sent(kind: str):
        key = {"X-API-Key": ring[kind]} if kind in ring else {}
        about = key | {"X-Request-ID": f"{name}-{kind.replace(' ', '-')}"}
        return client.request(method, path, content=corpus[0][0] if method == "POST" else None, headers=about)

    made = client.metric("ml_inference_duration_seconds_count")
    for kind in ("missing", "unknown", "expired", "revoked", f"but {role}"):
        denied = kind == f"but {role}"
        status, reason = (403, "under_privileged") if denied else (401, kind)
        counter = ("access_denied_total", {"resource": route}) if denied else ("auth_failures_total", {"reason": kind})
        before = client.metric(counter[0], **counter[1])
        answer = sent(kind)
        assert (answer.status_code, answer.json()["reason"]) == (status, reason)
        assert answer.headers["content-type"] == "application/problem+json"
        assert client.metric(counter[0], **counter[1]) == before + 1
        record = audited(client, state, answer.headers["x-request-id"])
        assert (record["result"], record["status"], record["reason"]) == (
            "denied" if denied else "unauthenticated", status, reason,
        )  # fmt: skip
        assert (record["resource"], record["action"]) == (path, method)
        assert record["principal"] == (f"but-{role}" if denied else "anonymous")
    assert client.metric("ml_inference_duration_seconds_count") == made  # none came to the model
    assert sent("right").status_code not in (401, 403)


def test_a_revoked_key_and_a_new_one_count_without_a_restart(guarded, keys, corpus):
    ward = keys.add("ward-9", "--role", "predict")
    guarded.until(lambda: opens(guarded, ward, corpus[0][0]))
    keys.revoke("ward-9")
    new = keys.add("new", "--role", "predict")
    guarded.until(lambda: not opens(guarded, ward, corpus[0][0]))
    assert opens(guarded, new, corpus[0][0]) and guarded.metric("auth_failures_total", reason="revoked") >= 1


@pytest.mark.parametrize("damage", ["broken", "gone", "a folder", "the keys of a strange form"])
def test_a_file_that_goes_bad_is_counted_and_its_age_grows_while_the_keys_go_on(guarded, keys, corpus, damage):
    ward = keys.add(f"ward-{damage.split()[-1]}", "--role", "predict")
    guarded.until(lambda: opens(guarded, ward, corpus[0][0]))
    before, good = guarded.metric("keys_read_failures_total"), keys.file.read_bytes()
    keys.file.unlink()
    if damage == "a folder":
        keys.file.mkdir()
    elif damage != "gone":
        keys.file.write_text("{" if damage == "broken" else json.dumps({"keys": [{"id": 5}]}))
    guarded.until(lambda: guarded.metric("keys_read_failures_total") >= before + 2)
    guarded.until(lambda: guarded.metric("keys_age_seconds") > 2)
    assert opens(guarded, ward, corpus[0][0]) and guarded.get("/health/ready").status_code == 200
    if damage == "a folder":
        keys.file.rmdir()
    keys.file.write_bytes(good)
    guarded.until(lambda: guarded.metric("keys_age_seconds") < 2)
    assert len([line for line in guarded.log if line["message"].startswith("Keys file is bad")]) >= 1


def test_beyond_its_rate_a_key_is_told_when_to_come_again_and_others_are_not_held_up(guarded, keys, corpus):
    fast, slow = keys.add("fast", "--role", "predict"), keys.add("slow", "--role", "predict", "--rate", "0.0001")
    guarded.until(lambda: opens(guarded, slow, corpus[0][0]))
    answer = guarded.post(PREDICT, content=corpus[0][0], headers={"X-API-Key": slow})
    assert answer.status_code == 429 and answer.json()["reason"] == "rate_limited"
    assert 1 <= int(answer.headers["retry-after"]) <= 10_000
    assert opens(guarded, fast, corpus[0][0]) and guarded.metric("rate_limited_total") == 1


def test_a_refused_upload_is_answered_before_it_is_sent(guarded):
    with socket.create_connection(("127.0.0.1", guarded.port)) as raw:
        raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        raw.settimeout(20)
        assert re.match(rb"HTTP/1.1 401 ", raw.recv(100))


@pytest.mark.parametrize("content", [None, "{"], ids=["no file", "a broken file"])
def test_without_usable_keys_and_without_saying_so_it_does_not_start(serve, tmp_path, content):
    file = tmp_path / "keys.json"
    if content:
        file.write_text(content)
    with serve("--keys", str(file), wait=False) as client:
        assert client.process.wait(60) == 1
        reason = client.log[-1]["context"]["reason"]
        assert str(file) in reason and "model_server.keys" in reason and "--auth off" in reason
