"""Toxiproxy's API: what a client sees, by the requests themselves and by a public client of it."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.stack.process import free_ports
from tests.stack.proxies import proxy_process
from tests.stack.test_proxy import ask

CLIENT = "toxiproxy-node-client@4.1.0"
MODULES = Path(os.environ.get("TOXIPROXY_NODE_MODULES", Path.home() / ".cache" / "harness-tests" / "toxiproxy"))


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    with proxy_process(tmp_path_factory.mktemp("proxy")) as port:
        yield port


@pytest.fixture
def proxy(control):
    free = f"127.0.0.1:{free_ports(1)[0]}"
    ask(control, "POST", "/proxies", {"name": "p", "listen": "127.0.0.1:0", "upstream": free})
    yield "/proxies/p"
    for name in ask(control, "GET", "/proxies")[1]:
        ask(control, "DELETE", f"/proxies/{name}")


LATENCY = {"type": "latency", "attributes": {"latency": 10, "unknown": "is dropped"}}
SHOWN = {
    "name": "latency_downstream", "type": "latency", "stream": "downstream", "toxicity": 1.0,
    "attributes": {"latency": 10, "jitter": 0},
}  # fmt: skip


def test_a_proxy_and_its_toxics_from_beginning_to_end(control, proxy):
    listen = ask(control, "GET", proxy)[1]["listen"]
    assert not listen.endswith(":0")
    assert ask(control, "GET", "/proxies")[1] == {"p": ask(control, "GET", proxy)[1]}
    assert ask(control, "POST", f"{proxy}/toxics", LATENCY) == (200, SHOWN)
    changed = {**SHOWN, "attributes": {"latency": 10, "jitter": 3}, "toxicity": 0.5}
    asked = {"attributes": {"jitter": 3}, "toxicity": 0.5}
    assert ask(control, "POST", f"{proxy}/toxics/latency_downstream", asked) == (200, changed)
    assert ask(control, "PATCH", f"{proxy}/toxics/latency_downstream", {}) == (200, changed)
    assert ask(control, "GET", f"{proxy}/toxics/latency_downstream") == (200, changed)
    assert ask(control, "GET", f"{proxy}/toxics") == (200, [changed]) == (200, ask(control, "GET", proxy)[1]["toxics"])
    assert ask(control, "DELETE", f"{proxy}/toxics/latency_downstream") == (204, "")
    assert ask(control, "PATCH", proxy, {"enabled": False})[1]["enabled"] is False
    ask(control, "POST", f"{proxy}/toxics", LATENCY)
    assert ask(control, "POST", "/reset") == (204, "")
    assert ask(control, "GET", proxy)[1] | {"upstream": ""} == {
        "name": "p", "listen": listen, "upstream": "", "enabled": True, "toxics": [],
    }  # fmt: skip
    assert ask(control, "DELETE", proxy) == (204, "") and ask(control, "GET", "/proxies") == (200, {})
    assert ask(control, "GET", "/version")[1]["version"].startswith("2.")


def test_populate_keeps_what_is_the_same_and_replaces_what_is_not(control, proxy):
    here = ask(control, "GET", proxy)[1]
    ask(control, "POST", f"{proxy}/toxics", LATENCY)
    same = {key: here[key] for key in ("name", "listen", "upstream")}
    status, made = ask(
        control, "POST", "/populate", [same, {"name": "q", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}]
    )
    assert status == 201 and [p["name"] for p in made["proxies"]] == ["p", "q"]
    assert made["proxies"][0]["toxics"] == [SHOWN]
    status, made = ask(control, "POST", "/populate", [{**same, "upstream": "127.0.0.1:7"}])
    assert status == 201 and made["proxies"][0]["toxics"] == []
    refused = {"error": "missing required field: name at proxy 1", "status": 400, "proxies": []}
    assert ask(control, "POST", "/populate", [{"upstream": "x"}]) == (400, refused)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/proxies/none", None, 404, "proxy not found"),
        ("DELETE", "/proxies/none", None, 404, "proxy not found"),
        ("POST", "/proxies", {"upstream": "127.0.0.1:1"}, 400, "missing required field: name"),
        ("POST", "/proxies", {"name": "x"}, 400, "missing required field: upstream"),
        ("POST", "/proxies", {"name": "p", "upstream": "127.0.0.1:1"}, 409, "proxy already exists"),
        ("POST", "/proxies", {"name": 3, "upstream": "x"}, 400, "bad request body: "),
        ("POST", "/proxies", None, 400, "bad request body: EOF"),
        ("POST", "/proxies", {"name": "x", "upstream": "127.0.0.1:1", "listen": "no"}, 500, "listen tcp no: "),
        ("GET", "/proxies/p/toxics/none", None, 404, "toxic not found"),
        ("DELETE", "/proxies/p/toxics/none", None, 404, "toxic not found"),
        ("POST", "/proxies/p/toxics", {"type": "nonsense"}, 400, "invalid toxic type"),
        ("POST", "/proxies/p/toxics", {"type": "latency", "stream": "both"}, 400, "stream was invalid, can be either"),
        ("POST", "/proxies/p/toxics", {"type": "latency", "attributes": {"latency": "1s"}}, 400, "bad request body: "),
        ("POST", "/proxies/p/toxics", {"type": "latency", "attributes": {"latency": 1.5}}, 400, "bad request body: "),
    ],
)  # fmt: skip
def test_errors_are_toxiproxys(method, path, body, status, error, control, proxy):
    found, said = ask(control, method, path, body)
    assert found == status == said["status"] and said["error"].startswith(error)


def test_a_second_toxic_of_a_name_a_wrong_path_and_a_wrong_method(control, proxy):
    ask(control, "POST", f"{proxy}/toxics", LATENCY)
    assert ask(control, "POST", f"{proxy}/toxics", LATENCY) == (409, {"error": "toxic already exists", "status": 409})
    assert ask(control, "GET", "/nothing") == (404, "404 page not found\n")
    assert ask(control, "PUT", "/proxies")[0] == 405


SCRIPT = """
const { Toxiproxy } = require("toxiproxy-node-client");
const net = require("net");
const say = (socket) => new Promise((done) => {
  const began = Date.now();
  socket.on("data", (data) => done([data.toString(), Date.now() - began]));
  socket.on("error", (error) => done([error.code, 0]));
  socket.write("hello");
});
(async () => {
  const [control, listen, upstream] = process.argv.slice(1);
  const server = net.createServer((socket) => socket.pipe(socket)).listen(Number(upstream), "127.0.0.1");
  server.on("connection", (socket) => socket.on("error", () => {}));
  const toxiproxy = new Toxiproxy(`http://127.0.0.1:${control}`);
  const about = {name: "node", listen: `127.0.0.1:${listen}`, upstream: `127.0.0.1:${upstream}`};
  const proxy = await toxiproxy.createProxy(about);
  const seen = {version: await toxiproxy.getVersion()};
  const toxic = await proxy.addToxic({name: "slow", type: "latency", attributes: {latency: 120, jitter: 0}});
  seen.slow = await say(net.connect(listen, "127.0.0.1"));
  await toxic.update({attributes: {latency: 1}});
  seen.updated = (await (await toxiproxy.get("node")).getToxic("slow")).attributes;
  await toxic.remove();
  await proxy.addToxic({name: "cut", type: "reset_peer", attributes: {timeout: 0}});
  seen.cut = await say(net.connect(listen, "127.0.0.1"));
  await toxiproxy.reset();
  seen.whole = await say(net.connect(listen, "127.0.0.1"));
  await proxy.update({...about, enabled: false});
  seen.down = await say(net.connect(listen, "127.0.0.1"));
  try { await toxiproxy.createProxy(about); } catch (error) { seen.again = error.message; }
  seen.populated = Object.keys(await toxiproxy.populate([about]));
  seen.all = Object.keys(await toxiproxy.getAll());
  await proxy.remove();
  try { await toxiproxy.get("node"); } catch (error) { seen.gone = error.message; }
  console.log(JSON.stringify(seen));
  process.exit(0);
})().catch((error) => { console.error(error); process.exit(1); });
"""


def test_the_public_client_for_node_finds_a_toxiproxy(control):
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("there is no node or npm here (apt-get install nodejs npm)")
    if not (MODULES / "node_modules" / "toxiproxy-node-client").is_dir():
        MODULES.mkdir(parents=True, exist_ok=True)
        got = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", CLIENT], cwd=MODULES, capture_output=True, text=True
        )
        if got.returncode:
            pytest.skip(f"npm has no {CLIENT} for us: {got.stderr[-200:]}")
    argv = [node, "-e", SCRIPT, "--", *map(str, (control, *free_ports(2)))]
    done = subprocess.run(argv, cwd=MODULES, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["slow"][0] == "hello" and seen["slow"][1] >= 120
    assert seen["updated"] == {"latency": 1, "jitter": 0}
    assert seen["cut"][0] == "ECONNRESET" and seen["whole"][0] == "hello" and seen["down"][0] == "ECONNREFUSED"
    assert "409" in seen["again"] and "404" in seen["gone"]
    assert seen["populated"] == seen["all"] == ["node"]
