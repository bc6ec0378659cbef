"""Two deployments side by side, of another model and another configuration: each signal says which of them it is of."""

import functools
import json

import pytest

from model_server.settings import WEIGHTS

VERSIONS = {"stable": "1.0.0", "canary": "1.1.0"}  # of their models


@pytest.fixture
def side_by_side(serve, collector, tmp_path):
    """The two servers, by deployment; each keeps what it keeps in a folder of that name."""
    candidate = tmp_path / "candidate.safetensors"
    candidate.write_bytes(WEIGHTS.read_bytes())
    card = json.loads(WEIGHTS.with_suffix(".json").read_text())
    candidate.with_suffix(".json").write_text(json.dumps(card | {"version": VERSIONS["canary"]}))

    def started(deployment, *flags):
        traced = ("--otlp-endpoint", collector.url, "--trace-ratio", "1")
        return serve("--deployment", deployment, "--state-dir", str(tmp_path / deployment), *traced, *flags)

    with started("stable") as stable, started("canary", "--weights", str(candidate), "--max-batch", "4") as canary:
        yield {"stable": stable, "canary": canary}


def line_of(client, request_id: str) -> dict | None:
    return next((line for line in client.log if line["request_id"] == request_id), None)


def test_metrics_log_lines_traces_and_audit_say_of_which_deployment_they_are(side_by_side, collector, corpus, tmp_path):
    for deployment, client in side_by_side.items():
        answer = client.post("/predict", content=corpus[0][0], headers={"X-Request-ID": f"of-{deployment}"})
        assert (answer.status_code, answer.json()["model_version"]) == (200, VERSIONS[deployment])
        assert client.metric("deployment_info", deployment=deployment, environment="local") == 1
        predicted = {"model_version": VERSIONS[deployment], "prediction": answer.json()["class"]}
        assert client.metric("ml_predictions_total", **predicted) == 1
        line = client.until(functools.partial(line_of, client, f"of-{deployment}"))
        assert line["context"]["deployment"] == deployment
    client.until(lambda: {resource["deployment"] for resource in list(collector.resources)} == VERSIONS.keys())
    for deployment, client in side_by_side.items():
        client.process.terminate()
        assert client.process.wait(60) == 0
        assert {line["context"]["deployment"] for line in client.log} == {deployment}
        first = json.loads((tmp_path / deployment / "audit.jsonl").read_text().splitlines()[0])
        assert (first["action"], first["deployment"]) == ("start", deployment)


def test_the_deployment_is_a_label_of_one_series_alone(side_by_side):
    """So series, rules and dashboards are the same whatever is deployed; docs/metrics.md says how they are split."""
    for deployment, client in side_by_side.items():
        lines = client.get("/metrics").text.splitlines()
        assert [line for line in lines if f'="{deployment}"' in line] == [
            f'deployment_info{{deployment="{deployment}",environment="local"}} 1.0'
        ]
