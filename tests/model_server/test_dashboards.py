"""Every panel of every dashboard shows something: a real Prometheus that scrapes a real server answers its queries."""

import json
import re
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import yaml
from real_server import serving

MONITORING = Path(__file__).parents[2] / "model_server/monitoring"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((MONITORING / "dashboards").glob("*.json"))}
PANELS = [(name, p) for name, board in BOARDS.items() for p in board["panels"] if p["type"] != "row"]
FEW_IMAGES = "import model_server.inference.drift as d\nd.AT_MOST_EVERY_S, d.ENOUGH = 0, 50"  # say enough for a panel
WINDOW = "15s"  # what Grafana would fill in for $__rate_interval at our scrape interval


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A server of our own: the shared one is to have had no feedback."""
    with serving(tmp_path_factory.mktemp("used"), defect=FEW_IMAGES) as client:
        yield client


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory, used, corpus):
    """A Prometheus with the production rules, recordings evaluated each second, over a server that is used."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules").mkdir()
    for path in (MONITORING / "rules").glob("*.yaml"):
        (folder / "rules" / path.name).write_text(path.read_text().replace("interval: 1m", "interval: 1s"))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
        "rule_files": [f"{folder}/rules/*.yaml"],
        "scrape_configs": [
            {"job_name": "pneumonia-detector", "static_configs": [{"targets": [f"127.0.0.1:{used.port}"]}]},
            {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]},
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    flags = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["prometheus", *flags, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield Used(client, used, corpus, folder / "log")
    finally:
        process.kill()
        process.wait()


class Used:
    """Asks Prometheus while it uses the server: what nobody does now has no rate."""

    def __init__(self, client, served, corpus, log):
        self.client, self.served, self.corpus, self.log = client, served, corpus, log
        self.sent = 0

    def use(self) -> None:
        """Some predictions with their truth, and something that is refused."""
        for _ in range(30):
            body, truth = self.corpus[self.sent % len(self.corpus)]
            self.sent += 1
            answer = self.served.post("/predict", content=body)
            answer.raise_for_status()
            self.served.post("/feedback", json={"request_id": answer.json()["request_id"], "label": truth})
        self.served.post("/predict", content=b"no image")

    def ask(self, query: str) -> list:
        try:
            answer = self.client.get("/api/v1/query", params={"query": query})
        except httpx.TransportError:
            return []
        if answer.status_code == 503:  # it is starting
            return []
        assert answer.status_code == 200, answer.text
        return [one for one in answer.json()["data"]["result"] if one["value"][1] != "NaN"]

    def until(self, query: str, within_s: float = 60) -> list:
        """The first answer that is not empty; fails when none comes."""
        end = time.monotonic() + within_s
        while not (found := self.ask(query)):
            assert time.monotonic() < end, f"{query} gave nothing in {within_s} s; {self.log.read_text()[-2000:]}"
            self.use()
            time.sleep(0.05)
        return found


def filled_in(expr: str) -> str:
    """A panel's query with its variables, its steps a second long as the rules' intervals are."""
    return expr.replace(":1m]", ":1s]").replace("$__rate_interval", WINDOW).replace("$job", "pneumonia-detector")


def needs(panel: dict) -> str:
    found = re.search(r"Needs (.+)\.$", panel.get("description", ""))
    return found[1] if found else ""


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=[f"{board}-{panel['title']}" for board, panel in PANELS])
def test_a_panel_shows_something(prometheus, board, panel):
    assert panel["targets"]
    for target in panel["targets"]:
        query = filled_in(target["expr"])
        assert "$" not in query
        if needs(panel):
            prometheus.ask(query)  # which must be valid all the same
        else:
            prometheus.until(query)


def test_what_needs_something_says_so():
    told = {needs(panel) for _, panel in PANELS} - {""}
    assert told == {"a GPU", "a CPU quota"}


def test_recordings_give_a_value_each(prometheus):
    for path in (MONITORING / "rules").glob("*.yaml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                if "record" in rule and "gpu" not in rule["record"]:
                    labels = ", ".join(f'{k}="{v}"' for k, v in rule.get("labels", {}).items())
                    prometheus.until(f"{rule['record']}{{{labels}}}")


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_grafana_would_import_it(board):
    assert board["schemaVersion"] >= 36 and board["title"] and "id" not in board
    assert re.fullmatch(r"[a-z-]{8,40}", board["uid"])
    assert {v["name"]: v["type"] for v in board["templating"]["list"]} == {"datasource": "datasource", "job": "query"}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24 and place["h"] >= 1
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            refs = [target["refId"] for target in panel["targets"]]
            assert len(refs) == len(set(refs))


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_no_two_panels_overlap(board):
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells


def test_uids_are_unique():
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 5
