"""Which of the two text formats of metrics an Accept header asks for (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re

OPENMETRICS = "application/openmetrics-text"
PLAIN = ("text/plain", "text/*", "*/*")  # the most exact that is named counts
WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")


def wants_openmetrics(accept: str) -> bool:
    """Whether it is asked for by its name, and plain text is not wanted more."""
    wanted = weights(accept)
    openmetrics = wanted.get(OPENMETRICS, 0.0)
    return openmetrics > 0 and openmetrics >= next((wanted[kind] for kind in PLAIN if kind in wanted), 0.0)


def weights(accept: str) -> dict[str, float]:
    """How much each kind is wanted, from 0 to 1; one named twice, as most. One with no valid weight is passed over."""
    found: dict[str, float] = {}
    for told in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in told.split(";"))
        weight = next((part for part in parameters if part.startswith("q=")), "q=1")
        if valid := WEIGHT.fullmatch(weight):
            found[kind] = max(found.get(kind, 0.0), float(valid[1]))
    return found
