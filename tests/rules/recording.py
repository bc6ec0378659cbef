"""Recorded series made by hand: one value a scrape of a quarter second, at a phase and a time as a real record has."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.history import Replay, Series, Window
from harness.rules.replay import replay

PROMTOOL = shutil.which("promtool") or "promtool is not installed"
RULES = Path(__file__).with_name("pneumonia.rules.yaml")
T0, PHASE, SCRAPE_S, SCALE = 1.7e9, 0.18, 0.25, 60
SERVER = {"job": "server", "instance": "127.0.0.1:8000"}
FAULT, END = 40, 160  # scrapes: ten recorded seconds of peace, then thirty of fault and what follows


def at(scrape: float) -> float:
    """The Unix seconds of a scrape."""
    return T0 + PHASE + scrape * SCRAPE_S


def series(name: str, value: Callable[[int], float | None], until: int = END, **labels: str) -> Series:
    """A series with value(k) at scrape k; None where it was not there."""
    samples = [(at(k), value(k)) for k in range(until)]
    there = [(t, float(v)) for t, v in samples if v is not None]
    return Series({"__name__": name, **SERVER, **labels}, [t for t, _ in there], [v for _, v in there])


def since_fault(k: int, until: int | None = None) -> int:
    """How many scrapes of fault lie behind scrape k."""
    return max(0, (k if until is None else min(k, until)) - FAULT)


def up(down: range = range(0), until: int = END) -> Series:
    return series("up", lambda k: 0 if k in down else 1, until)


def replayed(
    *recorded: Series,
    workdir: Path,
    rules: Path | Sequence[Path] = RULES,
    fault: tuple[float, float] = (FAULT, END),
    types: Mapping[str, str] | None = None,
    until: int = END,
    scrape_s: float = SCRAPE_S,
) -> dict[str, Replay]:
    """What promtool makes of a record under the rules."""
    return replay(
        recorded,
        [rules] if isinstance(rules, Path) else rules,
        promtool=PROMTOOL,
        time_scale=SCALE,
        scrape_s=scrape_s,
        window=Window(T0, at(until - 1) + 0.05),
        fault=Window(at(fault[0]), at(fault[1])),
        job="server",
        workdir=workdir,
        types=types,
    )
