"""Progress as text: a few lines redrawn in place on a terminal, a plain line now and then in CI."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.run.view import Progress, Watcher

CI_EVERY_S = 15.0


@contextmanager
def screen() -> Iterator[Watcher]:
    """A watcher of progress on standard error: redrawn in place on a terminal, a line per stage and now and then
    elsewhere."""
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    drawn = 0
    last: tuple[str, float] = ("", 0.0)

    def watch(progress: Progress) -> None:
        nonlocal drawn, last
        if terminal:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            text = "".join(f"\x1b[2K{line[: width - 1]}\n" for line in lines(progress))
            sys.stderr.write((f"\x1b[{drawn}A" if drawn else "") + "\x1b[J" + text)
            drawn = text.count("\n")
        elif progress.stage != last[0] or time.monotonic() - last[1] >= CI_EVERY_S:
            last = (progress.stage, time.monotonic())
            sys.stderr.write(line(progress) + "\n")
        sys.stderr.flush()

    try:
        yield watch
    finally:
        if terminal and drawn:
            sys.stderr.write(f"\x1b[{drawn}A\x1b[J")
            sys.stderr.flush()


def lines(progress: Progress) -> list[str]:
    """What a terminal shows: the stage and time, the clients' view, the alerts and the probes."""
    of = f" of {progress.stage_for_s:.0f} s" if progress.stage_for_s else ""
    took = f" ({progress.stage_s:.0f} s{of})" if progress.stage_s >= 1 or of else ""
    left = "" if progress.left_s is None else f"  about {_clock(progress.left_s)} left"
    shown = [f"{progress.stage + took:<64} elapsed {_clock(progress.elapsed_s)}{left}"]
    if progress.arrivals_per_s:
        bad = 100 * (1 - (progress.goodput_per_s or 0) / progress.arrivals_per_s)
        p95 = f"{progress.p95_ms:.0f} ms" if progress.p95_ms is not None else "—"
        rates = f"answered {progress.arrivals_per_s:.0f}/s  goodput {progress.goodput_per_s:.0f}/s"
        shown.append(f"{rates}  p95 {p95}  errors {bad:.0f} %")
    elif progress.arrivals_per_s is not None:
        shown.append("no client has got an answer in the last 2 s")
    if progress.alerts is not None:
        shown_alerts = [(name, state) for name, state in sorted(progress.alerts.items()) if name not in progress.always]
        active = "  ".join(f"{name} {state}" for name, state in shown_alerts)
        shown.append(f"alerts   {active or 'quiet'}")
    if progress.probes is not None:
        marks = "  ".join(
            f"{name} {''.join('✓' if ok else '✗' for ok in answers) or '·'}"
            for name, answers in progress.probes.items()
        )
        shown.append(f"probes   {marks}{'' if progress.in_traffic else '  out of traffic'}")
    return shown


def line(progress: Progress) -> str:
    """What CI shows: everything on one line."""
    return " · ".join(part.strip() for part in lines(progress))


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
