"""What the clocks of a run say at one moment: the wall clock, those that never step, Prometheus', the generator's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from harness.watch import requests

ANSWERS_WITHIN_S = 2.0
TRIES = 3  # the closest together of so many readings counts


def reading(prometheus_url: str, rows: Path) -> dict[str, Any]:
    """Seconds. `sent_before_s`: how long before this moment, by its own clock, the generator that writes those rows
    sent the latest request in them."""
    within_s, wall, monotonic, boot = min(_pair() for _ in range(TRIES))
    sent = requests.latest(rows, over_s=wall)["sent"]
    latest = np.nanmax(sent, initial=-np.inf)
    return {
        "wall": wall, "monotonic": monotonic, "boot": boot, "within_s": round(within_s, 6),
        **({"sent_before_s": round(wall - float(latest), 4)} if np.isfinite(latest) else {}),
        **_prometheus(prometheus_url),
    }  # fmt: skip


def _pair() -> tuple[float, float, float, float]:
    """How long it took to read them, and the three clocks."""
    begun = time.monotonic()
    wall, boot = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    ended = time.monotonic()
    return ended - begun, wall, (begun + ended) / 2, boot


def _prometheus(url: str) -> dict[str, float]:
    """How far Prometheus' clock is ahead of ours, and how long it took to ask; nothing where it does not answer."""
    began = time.time()
    try:
        asked = httpx.get(f"{url}/api/v1/query", params={"query": "time()"}, timeout=ANSWERS_WITHIN_S, trust_env=False)
        theirs = float(asked.json()["data"]["result"][1])
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError):
        return {}
    ended = time.time()
    return {"prometheus_ahead_s": round(theirs - (began + ended) / 2, 4), "asked_for_s": round(ended - began, 4)}
