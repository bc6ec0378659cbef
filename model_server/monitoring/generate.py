"""Writes what follows from something else: `python -m model_server.monitoring.generate`.

slos.yaml        -> rules/slos.yaml                     the burn-rate rules
dashboards.yaml  -> dashboards/*.json                   Grafana
RUNBOOK          -> rules/*.yaml                        where each alert's runbook_url leads; the rest of them stays
rules/*.yaml     -> kubernetes/prometheus-rules.yaml    the same rules, for the Prometheus operator
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from model_server.monitoring import burn, dashboards

HERE = Path(__file__).parent
STRING = "tag:yaml.org,2002:str"
# Where your team reads docs/runbook.md; sections are addressed as Git hosts do it, like #servicedown.
RUNBOOK = "https://git.example.org/pneumonia-detector/blob/main/docs/runbook.md"


def files(here: Path = HERE) -> dict[Path, str]:
    """Every generated file, by its path in `here`, with its text. ValueError, OSError: what cannot be read or used."""
    rules = {path.name: path.read_text() for path in (here / "rules").glob("*.yaml")}
    rules["slos.yaml"] = _generated("slos.yaml", burn.rules(yaml.safe_load((here / "slos.yaml").read_text())))
    rules = {name: re.sub(r"(runbook_url: )[^\s#]*#", rf"\g<1>{RUNBOOK}#", text) for name, text in rules.items()}
    generated = {Path(f"rules/{name}"): text for name, text in rules.items()}
    boards = dashboards.all_as_json(here / "dashboards.yaml")
    generated |= {Path(f"dashboards/{name}.json"): text for name, text in boards.items()}
    return generated | {Path("kubernetes/prometheus-rules.yaml"): _prometheus_rules(rules)}


def main() -> int:
    try:
        for path, text in files().items():
            place = HERE / path
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _prometheus_rules(rules: dict[str, str]) -> str:
    """All rules as the operator's resource; its schema takes the groups as they are."""
    groups = [group for name in sorted(rules) for group in yaml.safe_load(rules[name])["groups"]]
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "pneumonia-detector", "labels": {"app": "pneumonia-detector", "release": "prometheus"}},
        "spec": {"groups": groups},
    }
    return _generated("rules/", resource)


def _generated(source: str, content: dict[str, Any]) -> str:
    head = f"# Generated from {source}: python -m model_server.monitoring.generate\n"
    return head + yaml.dump(content, Dumper=_Readable, sort_keys=False, width=1000, allow_unicode=True)


class _Readable(yaml.SafeDumper):
    """Texts of several lines stay so."""


_Readable.add_representer(
    str, lambda dumper, text: dumper.represent_scalar(STRING, text, style="|" if "\n" in text else None)
)

if __name__ == "__main__":
    sys.exit(main())
