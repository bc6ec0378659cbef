"""What the files of the monitoring show before an alert fires, for the checks that judge every rule."""

from __future__ import annotations

from typing import Any

from harness.plan import routes, texts
from harness.plan.reads import reads
from harness.plan.watched import Watched


def static(watched: Watched) -> dict[str, Any]:
    """What `checks.view.View` holds of it, by the names of its fields."""
    monitoring, rules = watched.service.monitoring, routes.sent_alerts(watched)
    return {
        "severities": routes.table(monitoring, watched.routing),
        "misrouted": routes.misrouted(watched, rules) if monitoring.severities else (),
        "silenced": routes.silenced(watched, rules),
        "inhibitions": len(watched.routing.inhibitions),
        "texts": texts.wrong(watched, rules),
        "shown": texts.labels_shown(rules),
        "reads": reads([*watched.alerts, *watched.recordings]),
        "recordings": tuple(dict.fromkeys(rule.name for rule in watched.recordings)),
        "job": monitoring.job,
    }
