"""The Grafana dashboards, as data. A panel that has nothing to show everywhere says what it needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueTextMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    GridPos,
    VariableHide,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from model_server.monitoring.burn import PREDICTIONS

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "pneumonia-detector"
GPU, QUOTA = "a GPU", "a CPU quota"
KINDS = {"graph": timeseries, "stat": stat, "table": table, "heatmap": heatmap}
HEIGHT = 7
WIDTHS = {"graph": 8, "stat": 4, "table": 12, "heatmap": 8}


@dataclass(frozen=True)
class Panel:
    """One panel: its queries with the legend of each, and the unit as Grafana calls it."""

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "graph"
    needs: str = ""  # what must be there for it to show anything
    about: str = ""


@dataclass(frozen=True)
class Dashboard:
    """One dashboard: panels under row titles."""

    title: str
    rows: dict[str, Sequence[Panel]]


def _of(metric: str, *labels: str) -> str:
    """A selector of the service's own series."""
    return metric + "{" + ", ".join(('job="$job"', *labels)) + "}"


def _rate(metric: str, *labels: str) -> str:
    return f"rate({_of(metric, *labels)}[$__rate_interval])"


def _buckets(histogram: str, *labels: str) -> str:
    return f"sum by (le) (increase({_of(f'{histogram}_bucket', *labels)}[$__rate_interval]))"


def _quantile(q: float, histogram: str, *labels: str, by: str = "") -> str:
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({groups}) ({_rate(f'{histogram}_bucket', *labels)}))"


def _quantiles(histogram: str, *labels: str) -> list[tuple[str, str]]:
    return [(_quantile(q, histogram, *labels), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)]


FAILED = 'status=~"5.."'
FIRING = 'ALERTS{alertstate="firing", alertname!="Watchdog"}'

DASHBOARDS = {
    "overview": Dashboard(
        "Pneumonia detector: overview",
        {
            "Status": [
                Panel("Up", [(f"sum({_of('up')})", "")], kind="stat", about="Instances that answer scrapes."),
                Panel("Ready", [(f"sum({_of('service_ready')})", "")], kind="stat", about="Instances in traffic."),
                Panel("Alerts", [(f"count({FIRING}) or vector(0)", "")], kind="stat"),
                Panel("Uptime", [(f"time() - max({_of('process_start_time_seconds')})", "")], "s", "stat"),
                Panel("Version", [(_of("build_info"), "{{version}} {{commit}}")], kind="stat"),
                Panel("Model", [(_of("ml_model_info"), "{{architecture}} {{version}}")], kind="stat"),
            ],
            "Objectives": [
                Panel("Availability of an hour", [(_of("job:up:ratio1h"), "")], "percentunit", "stat"),
                Panel("Requests that fail", [(_of("job:http_errors:ratio5m"), "")], "percentunit", "stat"),
                Panel("p95 of predictions", [(_of("job:http_request_duration_seconds:p95_5m"), "")], "s", "stat"),
                Panel(
                    "Error budget left of 30 days",
                    [("1 - avg_over_time(slo:bad:ratio5m[30d]) / on (slo) group_left () slo:budget:ratio", "{{slo}}")],
                    "percentunit",
                    "stat",
                    about="Each five minutes counts the same, whatever its traffic. Negative: the objective is broken.",
                ),
                Panel(
                    "Burn rate of an hour",
                    [("slo:bad:ratio1h / on (slo) group_left () slo:budget:ratio", "{{slo}}")],
                    about="1 uses the budget up in exactly 30 days; above 14.4 somebody is paged.",
                ),
            ],
            "Volume": [
                Panel(
                    "Request rate",
                    [(f"sum by (method, endpoint) ({_rate('http_requests_total')})", "{{method}} {{endpoint}}")],
                    "reqps",
                ),
                Panel("Predictions an hour", [(_of("job:ml_predictions:per_hour"), "")]),
                Panel(
                    "Answers by status", [(f"sum by (status) ({_rate('http_requests_total')})", "{{status}}")], "reqps"
                ),
            ],
            "Deployments": [
                Panel(
                    "Deployments",
                    [(f"count by (deployment) ({_of('deployment_info')})", "{{deployment}}")],
                    kind="stat",
                    about="Several: a release is on its way, or one is a canary.",
                ),
                Panel("Requests", [(_of("deployment:http_requests:rate5m"), "{{deployment}}")], "reqps"),
                Panel("Requests that fail", [(_of("deployment:http_errors:ratio5m"), "{{deployment}}")], "percentunit"),
                Panel(
                    "p95 of predictions",
                    [(_of("deployment:http_request_duration_seconds:p95_5m"), "{{deployment}}")],
                    "s",
                ),
                Panel(
                    "Share of pneumonia",
                    [(_of("deployment:ml_predictions:positive_ratio1h"), "{{deployment}}")],
                    "percentunit",
                ),
                Panel("Accuracy", [(_of("deployment:ml_model_accuracy:mean"), "{{deployment}}")], "percentunit"),
            ],
        },
    ),
    "performance": Dashboard(
        "Pneumonia detector: performance",
        {
            "Latency": [
                Panel("Prediction", _quantiles("http_request_duration_seconds", PREDICTIONS), "s"),
                Panel(
                    "Prediction, all of it",
                    [(_buckets("http_request_duration_seconds", PREDICTIONS), "{{le}}")],
                    "s",
                    "heatmap",
                ),
                Panel(
                    "Where the time goes (p95)",
                    [
                        (_quantile(0.95, "inference_queue_wait_seconds"), "waiting"),
                        (_quantile(0.95, "ml_preprocessing_duration_seconds"), "decoding"),
                        (_quantile(0.95, "ml_inference_duration_seconds"), "network"),
                    ],
                    "s",
                ),
            ],
            "Throughput": [
                Panel("Requests", [(_of("job:http_requests:rate5m"), "requests")], "reqps"),
                Panel(
                    "In flight and waiting",
                    [
                        (_of("http_requests_in_flight"), "in flight {{instance}}"),
                        (_of("inference_queue_depth"), "waiting {{instance}}"),
                        (_of("inference_queue_limit"), "limit {{instance}}"),
                    ],
                ),
                Panel("Batch size", [(_of("job:inference_batch_size:mean5m"), "mean")]),
                Panel(
                    "Body sizes (p95)",
                    [
                        (_quantile(0.95, "http_request_size_bytes"), "received"),
                        (_quantile(0.95, "http_response_size_bytes"), "sent"),
                    ],
                    "bytes",
                ),
                Panel("Connections", [(_of("http_connections_open"), "{{instance}}")]),
                Panel("Predictions a CPU second", [(_of("job:ml_predictions:per_cpu_second"), "")]),
            ],
            "Errors": [
                Panel(
                    "Errors",
                    [(f"sum by (status) ({_rate('http_requests_total', FAILED)})", "{{status}}")],
                    "reqps",
                ),
                Panel(
                    "Refused and late",
                    [
                        (f"sum({_rate('requests_shed_total')})", "refused: queue full"),
                        (f"sum({_rate('request_deadlines_missed_total')})", "later than allowed"),
                    ],
                    "reqps",
                ),
                Panel("Stalled", [(_of("inference_stalled_seconds"), "{{instance}}")], "s"),
            ],
        },
    ),
    "model": Dashboard(
        "Pneumonia detector: model",
        {
            "Quality": [
                Panel(
                    "Accuracy, precision, recall",
                    [
                        (_of("ml_model_accuracy"), "accuracy {{instance}}"),
                        (_of("ml_model_precision"), "precision {{instance}}"),
                        (_of("ml_model_recall"), "recall {{instance}}"),
                    ],
                    "percentunit",
                ),
                Panel(
                    "Accuracy trend",
                    [(_of("job:ml_model_accuracy:avg1h"), "hour"), (_of("job:ml_model_accuracy:avg1d"), "day")],
                    "percentunit",
                ),
                Panel("F1", [(_of("job:ml_model_f1:ratio"), "")], "percentunit"),
                Panel("Labels an hour", [(f"3600 * sum({_rate('ml_feedback_total')})", "")]),
            ],
            "Answers": [
                Panel(
                    "Predictions",
                    [
                        (
                            f"sum by (model_version, prediction) ({_rate('ml_predictions_total')})",
                            "{{model_version}} {{prediction}}",
                        )
                    ],
                    "reqps",
                ),
                Panel("Share of pneumonia", [(_of("job:ml_predictions:positive_ratio1h"), "hour")], "percentunit"),
                Panel(
                    "Confidence",
                    [(_buckets("ml_prediction_confidence"), "{{le}}")],
                    "percentunit",
                    "heatmap",
                ),
                Panel("Mean confidence", [(_of("job:ml_prediction_confidence:mean5m"), "")], "percentunit"),
            ],
            "Inputs and inference": [
                Panel(
                    "Drift",
                    [(_of("ml_feature_drift"), "{{feature}} {{instance}}")],
                    about="Population stability index against the training set; above 0.25 is drift.",
                ),
                Panel("Inference of a batch", _quantiles("ml_inference_duration_seconds"), "s"),
                Panel("Decoding", _quantiles("ml_preprocessing_duration_seconds"), "s"),
                Panel("Loading the model", [(_of("ml_model_load_seconds"), "{{instance}}")], "s", "stat"),
            ],
        },
    ),
    "infrastructure": Dashboard(
        "Pneumonia detector: infrastructure",
        {
            "Process": [
                Panel(
                    "CPU",
                    [(_of("instance:cpu_use:ratio5m"), "of what is allowed {{instance}}")],
                    "percentunit",
                ),
                Panel(
                    "Memory",
                    [
                        (_of("container_memory_usage_bytes"), "used, page cache too {{instance}}"),
                        (_of("container_memory_working_set_bytes"), "used {{instance}}"),
                        (_of("process_resident_memory_bytes"), "of it the server {{instance}}"),
                        (_of("container_spec_memory_limit_bytes"), "allowed {{instance}}"),
                    ],
                    "bytes",
                ),
                Panel(
                    "CPU withheld", [(_rate("container_cpu_throttled_seconds_total"), "{{instance}}")], "s", needs=QUOTA
                ),
                Panel("Event loop lag", [(_quantile(0.99, "event_loop_lag_seconds"), "p99")], "s"),
                Panel(
                    "Garbage collection",
                    [(_rate("python_gc_pause_seconds_sum"), "share of time {{instance}}")],
                    "percentunit",
                ),
                Panel(
                    "Files and threads",
                    [(_of("process_open_fds"), "files {{instance}}"), (_of("process_threads"), "threads {{instance}}")],
                ),
            ],
            "Network and storage": [
                Panel(
                    "Network",
                    [
                        (f"sum by (instance) ({_rate('network_receive_bytes_total')})", "received {{instance}}"),
                        (f"sum by (instance) ({_rate('network_transmit_bytes_total')})", "sent {{instance}}"),
                    ],
                    "Bps",
                ),
                Panel(
                    "Storage (p95)",
                    [(_quantile(0.95, "storage_operation_seconds", by="store, operation"), "{{store}} {{operation}}")],
                    "s",
                ),
                Panel(
                    "Storage throughput",
                    [(f"sum by (store, operation) ({_rate('storage_bytes_total')})", "{{store}} {{operation}}")],
                    "Bps",
                ),
                Panel("Free", [(_of("storage_free_bytes"), "{{store}} {{instance}}")], "bytes"),
                Panel(
                    "Storage errors",
                    [(f"sum by (store, operation) ({_rate('storage_errors_total')})", "{{store}} {{operation}}")],
                ),
                Panel(
                    "Database",
                    [
                        (_of("database_up"), "up {{instance}}"),
                        (_of("database_pool_in_use"), "connections in use {{instance}}"),
                        (_of("database_pool_size"), "connections at most {{instance}}"),
                        (_of("database_records_queued"), "records waiting {{instance}}"),
                        (_rate("database_records_lost_total"), "records lost a second {{instance}}"),
                    ],
                ),
            ],
            "GPU": [
                Panel("GPUs", [(f"sum({_of('gpu_present')})", "")], kind="stat"),
                Panel("Use", [(_of("gpu_utilization_ratio"), "{{instance}} {{gpu}}")], "percentunit", needs=GPU),
                Panel(
                    "GPU memory",
                    [
                        (_of("gpu_memory_used_bytes"), "used {{instance}} {{gpu}}"),
                        (_of("gpu_memory_total_bytes"), "there is {{instance}} {{gpu}}"),
                    ],
                    "bytes",
                    needs=GPU,
                ),
                Panel(
                    "Memory of torch", [(_of("gpu_torch_reserved_bytes"), "{{instance}} {{gpu}}")], "bytes", needs=GPU
                ),
                Panel("Temperature", [(_of("gpu_temperature_celsius"), "{{instance}} {{gpu}}")], "celsius", needs=GPU),
                Panel("Power", [(_of("gpu_power_watts"), "{{instance}} {{gpu}}")], "watt", needs=GPU),
                Panel("Clock", [(_of("gpu_clock_hertz"), "{{instance}} {{gpu}} {{domain}}")], "hertz", needs=GPU),
                Panel("Held down", [(_of("gpu_throttle_reason"), "{{instance}} {{gpu}} {{reason}}")], needs=GPU),
                Panel("Readings that failed", [(_rate("gpu_scrape_errors_total"), "{{instance}}")]),
            ],
            "Security and telemetry": [
                Panel(
                    "Wrong credentials", [(f"sum by (reason) ({_rate('auth_failures_total')})", "{{reason}}")], "reqps"
                ),
                Panel(
                    "Access denied", [(f"sum by (resource) ({_rate('access_denied_total')})", "{{resource}}")], "reqps"
                ),
                Panel("Refused input", [(f"sum by (reason) ({_rate('invalid_input_total')})", "{{reason}}")], "reqps"),
                Panel(
                    "Audit",
                    [
                        (f"sum by (event_type, result) ({_rate('audit_events_total')})", "{{event_type}} {{result}}"),
                        (f"sum({_rate('audit_write_failures_total')})", "not written"),
                    ],
                ),
                Panel("Log lines", [(f"sum by (level) ({_rate('log_lines_total')})", "{{level}}")]),
                Panel(
                    "Spans",
                    [
                        (f"sum({_rate('trace_spans_exported_total')})", "exported"),
                        (f"sum({_rate('trace_spans_dropped_total')})", "dropped"),
                    ],
                ),
            ],
        },
    ),
    "alerts": Dashboard(
        "Pneumonia detector: alerts",
        {
            "Now": [
                Panel("Firing", [(f"count({FIRING}) or vector(0)", "")], kind="stat"),
                Panel("Pending", [('count(ALERTS{alertstate="pending"}) or vector(0)', "")], kind="stat"),
                Panel("Alerting works", [('max(ALERTS{alertname="Watchdog", alertstate="firing"})', "")], kind="stat"),
                Panel("Active alerts", [('ALERTS{alertstate="firing"}', "")], kind="table"),
            ],
            "History": [
                Panel(
                    "Firing over time",
                    [('count by (alertname, severity) (ALERTS{alertstate="firing"})', "{{alertname}} {{severity}}")],
                ),
                Panel(
                    "Time firing in a day",
                    [
                        (
                            '60 * sum by (alertname) (count_over_time(ALERTS{alertstate="firing"}[1d:1m]))',
                            "{{alertname}}",
                        )
                    ],
                    "s",
                    "table",
                ),
                Panel(
                    "Mean time to resolution in a day",
                    [
                        (
                            '60 * sum by (alertname) (count_over_time(ALERTS{alertstate="firing"}[1d:1m]))'
                            " / sum by (alertname) (changes(ALERTS_FOR_STATE[1d]) + 1)",
                            "{{alertname}}",
                        )
                    ],
                    "s",
                    "table",
                    about="Time firing by the number of times it became active; the Watchdog never resolves.",
                ),
            ],
            "The way to the receiver": [
                Panel(
                    "Rules that cannot be evaluated",
                    [("sum(rate(prometheus_rule_evaluation_failures_total[$__rate_interval]))", "a second")],
                ),
                Panel(
                    "Alerts Prometheus could not hand over",
                    [("sum(rate(prometheus_notifications_dropped_total[$__rate_interval]))", "a second")],
                ),
                Panel("Scrape time", [(_of("scrape_duration_seconds"), "{{instance}}")], "s"),
            ],
        },
    ),
}


def all_as_json() -> dict[str, str]:
    """Every dashboard as the JSON that Grafana imports or provisions, by the name of its file."""
    return {name: _json(name, spec) for name, spec in DASHBOARDS.items()}


def _json(name: str, spec: Dashboard) -> str:
    board = (
        dashboard.Dashboard(spec.title)
        .uid(f"{TAG}-{name}")
        .tags([TAG])
        .timezone("utc")
        .refresh("30s")
        .time("now-3h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink(TAG)
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("job")
            .query("label_values(service_ready, job)")
            .datasource(PROMETHEUS)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .hide(VariableHide.DONT_HIDE)
        )
    )
    y = 0
    for number, (title, panels) in enumerate(spec.rows.items(), 1):
        board = board.with_row(dashboard.Row(title).id(100 * number).grid_pos(GridPos(h=1, w=24, x=0, y=y)))
        x, y = 0, y + 1
        for place, panel in enumerate(panels, 1):
            width = WIDTHS[panel.kind]
            if x + width > 24:
                x, y = 0, y + HEIGHT
            at = GridPos(h=HEIGHT, w=width, x=x, y=y)
            board = board.with_panel(_panel(panel).id(100 * number + place).grid_pos(at))
            x += width
        y += HEIGHT
    return json.dumps(board.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _panel(panel: Panel):
    about = f"{panel.about} Needs {panel.needs}.".strip() if panel.needs else panel.about
    built = KINDS[panel.kind].Panel().title(panel.title).datasource(PROMETHEUS)
    built = built.unit(panel.unit)
    if about:
        built = built.description(about)
    if panel.kind == "stat":
        named = any(legend for _, legend in panel.queries) and panel.unit == "short"
        built = built.text_mode(BigValueTextMode.NAME if named else BigValueTextMode.AUTO)
        built = built.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    for ref, (expr, legend) in zip("ABCDEFGH", panel.queries, strict=False):
        query = prometheus.Dataquery().expr(expr).ref_id(ref).datasource(PROMETHEUS)
        query = query.legend_format(legend or "__auto")
        if panel.kind == "table":
            query = query.instant().format(PromQueryFormat.TABLE)
        elif panel.kind == "heatmap":
            query = query.format(PromQueryFormat.HEATMAP)
        built = built.with_target(query)
    return built
