"""docs/metrics.md and the real exposition are equal."""

import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from model_server.http.middleware import INFER, INFER_VERSION, PREDICT

FAMILIES = {  # what must be there, whatever the table says; dashboards and alerts know these names
    "request": "http_requests_total http_request_duration_seconds http_requests_in_flight http_request_size_bytes"
    " http_response_size_bytes",
    "model": "ml_predictions_total ml_inference_duration_seconds ml_prediction_confidence ml_model_accuracy"
    " ml_model_precision ml_model_recall ml_feedback_total ml_feature_drift ml_model_info ml_model_load_seconds",
    "batching": "inference_queue_depth inference_queue_wait_seconds inference_batch_size requests_shed_total"
    " request_deadlines_missed_total ml_preprocessing_duration_seconds",
    "process and container": "process_cpu_seconds_total process_resident_memory_bytes process_open_fds process_threads"
    " python_gc_pause_seconds event_loop_lag_seconds container_memory_usage_bytes container_spec_memory_limit_bytes"
    " container_cpu_quota_cores container_cpu_throttled_seconds_total",
    "network and storage": "network_receive_bytes_total network_transmit_bytes_total http_connections_open"
    " database_pool_in_use database_pool_size storage_operation_seconds storage_bytes_total storage_free_bytes",
    "GPU": "gpu_present gpu_scrape_errors_total gpu_utilization_ratio gpu_memory_used_bytes gpu_memory_total_bytes"
    " gpu_temperature_celsius gpu_power_watts gpu_clock_hertz gpu_throttle_reason gpu_ecc_errors_total"
    " gpu_xid_errors_total gpu_torch_allocated_bytes",
    "security": "auth_failures_total access_denied_total invalid_input_total audit_events_total"
    " audit_write_failures_total",
    "build and deployment": "build_info process_start_time_seconds deployment_info",
}

TABLE = Path(__file__).parents[2] / "docs/metrics.md"


def documented() -> dict[str, tuple[str, set[str], str]]:
    """name: (type, labels, when)"""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TABLE.read_text().splitlines()]
    rows = [row for row in rows if row and row[0].startswith("`")]
    assert len({row[0] for row in rows}) == len(rows) > 60
    return {row[0].strip("`"): (row[1], set(re.findall(r"`(\w+)`", row[2])), row[3]) for row in rows}


@pytest.fixture(scope="module")
def exposed(served, corpus) -> dict[str, tuple[str, set[str]]]:
    """name: (type, labels), after one request of each kind."""
    served.post("/predict", content=corpus[0][0])
    served.post("/predict", content=b"nonsense")
    served.post("/feedback", content=b"nonsense")
    served.until(lambda: served.metric("gpu_present") is not None)
    served.get("/metrics")
    text = served.get("/metrics", headers={"Accept": "application/openmetrics-text"}).text
    families = {}
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        families[name] = (family.type, {key for sample in family.samples for key in sample.labels} - {"le"})
    return families


def test_every_metric_that_is_exposed_is_in_the_table_with_its_type_and_labels(exposed):
    table = documented()
    for name, (kind, labels) in exposed.items():
        assert name in table, f"{name} is not in {TABLE.name}"
        assert kind == table[name][0], name
        assert labels in (table[name][1], set()), name


def test_every_metric_in_the_table_is_exposed_unless_it_says_when(exposed, served):
    for name, (_, labels, when) in documented().items():
        if when.startswith(("with a", "model on a", "where offered")):
            continue
        assert name in exposed, f"{name}, documented as there {when!r}, is not exposed"
        if not when.startswith("enough"):
            assert exposed[name][1] == labels, name
            assert any(series.startswith((name + "{", name + " ", name + "_bucket")) for series in series_of(served))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_in_the_table(family):
    assert {*FAMILIES[family].split()} <= documented().keys()


def test_unknown_paths_methods_and_statuses_add_no_series_each(served):
    def label_sets() -> set[str]:
        return {line.rpartition(" ")[0] for line in series_of(served) if line.startswith(("http_", "probe_"))}

    def ask(n: int) -> None:
        served.request("GET", f"/{n}/x")
        served.request(f"WHAT{n}", "/predict", content=b"x")
        served.post(f"/v2/models/{n}/infer", content=b"x")
        served.post(f"/v2/models/m/versions/{n}/infer", content=b"x")
        served.get("/health/live", params={"n": n})

    ask(0)
    before = label_sets()
    for n in range(1, 20):
        ask(n)
    assert label_sets() == before


def series_of(served) -> list[str]:
    return [line for line in served.get("/metrics").text.splitlines() if not line.startswith("#")]


def test_every_slo_bound_is_an_edge_of_a_bucket(served):
    import yaml

    slos = yaml.safe_load((TABLE.parents[1] / "model_server/monitoring/slos.yaml").read_text())["slos"]
    bound_s = float(slos["latency"]["target"].removesuffix("ms")) / 1000
    assert served.metric("http_request_duration_seconds_bucket", endpoint="/predict", le=str(bound_s)) is not None


def test_metrics_that_are_off_are_not_there(serve, corpus):
    with serve("--metrics", "off", "--log-level", "OFF") as client:
        assert client.post("/predict", content=corpus[0][0]).status_code == 200
        assert client.get("/metrics").status_code == 404
        assert client.get("/health/ready").status_code == 200
        assert client.log_path.read_text() == ""


@pytest.mark.parametrize("endpoint", [PREDICT, INFER, INFER_VERSION, "/feedback"])
@pytest.mark.parametrize("status", ["200", "500", "503", "504"])
def test_failures_are_shown_from_the_start_so_that_a_rate_sees_the_first(served, endpoint, status):
    assert served.metric("http_requests_total", endpoint=endpoint, status=status, method="POST") is not None
