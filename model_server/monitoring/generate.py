"""Writes what follows from something else: `python -m model_server.monitoring.generate`.

dashboards.yaml  -> dashboards/*.json                   Grafana
RUNBOOK          -> rules/*.yaml                        where each alert's runbook_url leads; the rest of them stays
rules/*.yaml     -> kubernetes/prometheus-rules.yaml    the same rules, for the Prometheus operator
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import BigValueTextMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

HERE = Path(__file__).parent
STRING = "tag:yaml.org,2002:str"
# Where your team reads docs/runbook.md; sections are addressed as Git hosts do it, like #servicedown.
RUNBOOK = "https://git.example.org/pneumonia-detector/blob/main/docs/runbook.md"
PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "pneumonia-detector"
HEIGHT = 7
KINDS = {"graph": (timeseries, 8), "stat": (stat, 4), "table": (table, 12), "heatmap": (heatmap, 8)}  # and widths


def files(here: Path = HERE) -> dict[Path, str]:
    """Every generated file, by its path in `here`, with its text. OSError, YAMLError: what cannot be read."""
    rules = {path.name: path.read_text() for path in (here / "rules").glob("*.yaml")}
    rules = {name: re.sub(r"(runbook_url: )[^\s#]*#", rf"\g<1>{RUNBOOK}#", text) for name, text in rules.items()}
    generated = {Path(f"rules/{name}"): text for name, text in rules.items()}
    boards = yaml.safe_load((here / "dashboards.yaml").read_text())
    generated |= {Path(f"dashboards/{name}.json"): _dashboard(name, **told) for name, told in boards.items()}
    # The operator's schema takes the groups as they are.
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": TAG, "labels": {"app": TAG, "release": "prometheus"}},
        "spec": {"groups": [group for name in sorted(rules) for group in yaml.safe_load(rules[name])["groups"]]},
    }
    head = "# Generated from rules/: python -m model_server.monitoring.generate\n"
    operator = head + yaml.dump(resource, Dumper=_Readable, sort_keys=False, width=1000, allow_unicode=True)
    return generated | {Path("kubernetes/prometheus-rules.yaml"): operator}


def _dashboard(name: str, title: str, rows: dict[str, dict[str, Any]]) -> str:
    board = dashboard.Dashboard(title).uid(f"{TAG}-{name}").tags([TAG]).timezone("utc").refresh("30s")
    board = board.time("now-3h", "now").tooltip(models.DashboardCursorSync.CROSSHAIR)
    link = dashboard.DashboardLink(TAG).type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    source = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    job = dashboard.QueryVariable("job").query("label_values(service_ready, job)").datasource(PROMETHEUS)
    job = job.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).hide(models.VariableHide.DONT_HIDE)
    board = board.link(link.keep_time(True).include_vars(True)).with_variable(source).with_variable(job)
    y = 0
    for number, (row, panels) in enumerate(rows.items(), 1):
        board = board.with_row(dashboard.Row(row).id(100 * number).grid_pos(models.GridPos(h=1, w=24, x=0, y=y)))
        x, y = 0, y + 1
        for place, (panel_title, told) in enumerate(panels.items(), 1):
            panel, width = _panel(panel_title, **told)
            if x + width > 24:
                x, y = 0, y + HEIGHT
            at = models.GridPos(h=HEIGHT, w=width, x=x, y=y)
            board = board.with_panel(panel.id(100 * number + place).grid_pos(at))
            x += width
        y += HEIGHT
    return json.dumps(board.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _panel(
    title: str, query: str = "", queries: dict[str, str] | None = None, unit: str = "short", kind: str = "graph",
    needs: str = "", about: str = "",
) -> tuple[Any, int]:  # fmt: skip
    """A panel as dashboards.yaml describes it, and its width. queries: by legend."""
    module, width = KINDS[kind]
    panel = module.Panel().title(title).datasource(PROMETHEUS).unit(unit)
    if about or needs:
        panel = panel.description(f"{about} Needs {needs}.".strip() if needs else about)
    if kind == "stat":
        mode = BigValueTextMode.NAME if queries and unit == "short" else BigValueTextMode.AUTO
        panel = panel.text_mode(mode).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    for ref, (legend, expr) in zip("ABCDEFGH", (queries or {"__auto": query}).items(), strict=False):
        target = prometheus.Dataquery().expr(expr).ref_id(ref).datasource(PROMETHEUS).legend_format(legend)
        if kind == "table":
            target = target.instant().format(PromQueryFormat.TABLE)
        elif kind == "heatmap":
            target = target.format(PromQueryFormat.HEATMAP)
        panel = panel.with_target(target)
    return panel, width


class _Readable(yaml.SafeDumper):
    """Texts of several lines stay so."""


_Readable.add_representer(
    str, lambda dumper, text: dumper.represent_scalar(STRING, text, style="|" if "\n" in text else None)
)

if __name__ == "__main__":
    try:
        for path, text in files().items():
            (HERE / path).parent.mkdir(exist_ok=True)
            (HERE / path).write_text(text)
    except (OSError, yaml.YAMLError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
