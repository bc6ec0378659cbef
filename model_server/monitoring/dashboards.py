"""The Grafana dashboards of dashboards.yaml, as Grafana imports or provisions them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
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

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "pneumonia-detector"
KINDS = {"graph": timeseries, "stat": stat, "table": table, "heatmap": heatmap}
HEIGHT = 7
WIDTHS = {"graph": 8, "stat": 4, "table": 12, "heatmap": 8}


@dataclass(frozen=True)
class Panel:
    """One panel, as dashboards.yaml describes it."""

    title: str
    query: str = ""
    queries: dict[str, str] = field(default_factory=dict)  # by legend
    unit: str = "short"
    kind: str = "graph"
    needs: str = ""
    about: str = ""

    def built(self) -> Any:
        about = f"{self.about} Needs {self.needs}.".strip() if self.needs else self.about
        panel = KINDS[self.kind].Panel().title(self.title).datasource(PROMETHEUS).unit(self.unit)
        if about:
            panel = panel.description(about)
        if self.kind == "stat":
            named = self.queries and self.unit == "short"
            panel = panel.text_mode(BigValueTextMode.NAME if named else BigValueTextMode.AUTO)
            panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        queries = self.queries or {"__auto": self.query}
        for ref, (legend, expr) in zip("ABCDEFGH", queries.items(), strict=False):
            query = prometheus.Dataquery().expr(expr).ref_id(ref).datasource(PROMETHEUS).legend_format(legend)
            if self.kind == "table":
                query = query.instant().format(PromQueryFormat.TABLE)
            elif self.kind == "heatmap":
                query = query.format(PromQueryFormat.HEATMAP)
            panel = panel.with_target(query)
        return panel


def all_as_json(source: Path) -> dict[str, str]:
    """Every dashboard of the file as JSON, by its name."""
    return {name: _json(name, **told) for name, told in yaml.safe_load(source.read_text()).items()}


def _json(name: str, title: str, rows: dict[str, dict[str, Any]]) -> str:
    board = (
        dashboard.Dashboard(title)
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
    for number, (row, panels) in enumerate(rows.items(), 1):
        board = board.with_row(dashboard.Row(row).id(100 * number).grid_pos(GridPos(h=1, w=24, x=0, y=y)))
        x, y = 0, y + 1
        for place, (panel_title, told) in enumerate(panels.items(), 1):
            panel = Panel(panel_title, **told)
            width = WIDTHS[panel.kind]
            if x + width > 24:
                x, y = 0, y + HEIGHT
            at = GridPos(h=HEIGHT, w=width, x=x, y=y)
            board = board.with_panel(panel.built().id(100 * number + place).grid_pos(at))
            x += width
        y += HEIGHT
    return json.dumps(board.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"
