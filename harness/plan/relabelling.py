"""What `alert_relabel_configs` makes of the labels of an alert before Prometheus sends it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.stack.matchers import go_regex
from harness.stack.spec import Relabelling


def relabelled(labels: Mapping[str, str], steps: Sequence[Relabelling]) -> dict[str, str] | None:
    """The labels after all steps; None where the alert is dropped. A hash is the text of its modulus: not known."""
    labels = dict(labels)
    for step in steps:
        try:
            pattern = go_regex(step.regex)
        except ValueError:
            continue  # Prometheus' own checker refuses it before the run
        value = step.separator.join(labels.get(name, "") for name in step.source_labels)
        found = pattern.search(value)
        match step.action:
            case "keep" | "drop":
                if (found is not None) == (step.action == "drop"):
                    return None
            case "keepequal" | "dropequal":
                if (value == labels.get(step.target_label, "")) == (step.action == "dropequal"):
                    return None
            case "labeldrop" | "labelkeep":
                keeps = step.action == "labelkeep"
                labels = {k: v for k, v in labels.items() if (pattern.search(k) is not None) == keeps}
            case "labelmap":
                labels |= {_filled(step.replacement, m): v for k, v in labels.items() if (m := pattern.search(k))}
            case "lowercase" | "uppercase":
                labels[step.target_label] = value.lower() if step.action == "lowercase" else value.upper()
            case "hashmod":
                labels[step.target_label] = f"0 to {step.modulus - 1}"
            case "replace":
                if found:
                    labels[_filled(step.target_label, found)] = _filled(step.replacement, found)
        labels = {k: v for k, v in labels.items() if v}
    return labels


def _filled(template: str, found: re.Match[str]) -> str:
    """A replacement with its $1, ${1} and ${name} filled in, as Go does it."""

    def group(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        try:
            return found[int(name) if name.isdigit() else name] or ""
        except (IndexError, KeyError):
            return ""

    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", group, template)
