"""Progress as text: a few lines redrawn in place on a terminal, a plain line now and then in CI."""

from __future__ import annotations

from harness.run import Progress

CI_EVERY_S = 15.0


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
        told = "  ".join(f"{name} {state}" for name, state in sorted(progress.alerts.items()) if name != "Watchdog")
        shown.append(f"alerts   {told or 'quiet'}")
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
