"""The report on a terminal: the verdict first, then what went wrong and what to do, then a line for all that passed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TextIO

from harness.report.summary import Summary, printable
from harness.verdict import Result, Verdict

WIDTH = 120
MARK = {Verdict.FAIL: "FAIL", Verdict.INCONCLUSIVE: "?", Verdict.PASS: "PASS"}
COLOUR = {Verdict.FAIL: "31", Verdict.INCONCLUSIVE: "33", Verdict.PASS: "32"}
SUBJECT_AT_MOST = 36


def write(summary: Summary, out: TextIO, color: bool = False) -> None:
    """Write the report, at most 120 columns wide: a line or a few for each result, the worst first."""
    out.write(_paint(summary.verdict.name, summary.verdict, color) + "  " + _headline(summary) + "\n")
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        for result in summary.of(verdict):
            out.write("\n" + _problem(result, color))
    passed = summary.of(Verdict.PASS)
    out.write("\n" if passed else "")
    column = min(max((len(printable(r.subject)) for r in passed), default=0), SUBJECT_AT_MOST) + 2
    for result in passed:
        subject, reason = printable(result.subject), printable(result.reason)
        first = subject.ljust(column) if len(subject) < column else subject + "  "
        out.write(_entry(result.verdict, first + reason, 8 + column, color))
    out.write("\n" + _footer(summary))


def _headline(summary: Summary) -> str:
    name = " ".join(filter(None, (summary.service, summary.version, summary.commit and f"at {summary.commit[:12]}")))
    if not summary.results:
        return printable(f"{name} · nothing was judged")
    n = len(summary.experiments)
    counts = [f"{n} experiment{'s' * (n != 1)}", f"{summary.requests:,} requests", _lasted(summary)]
    return printable(" · ".join([name, *counts]))


def _problem(result: Result, color: bool) -> str:
    """The subject and the reason, then what to do next, and where."""
    subject = printable(result.subject)
    text = _entry(result.verdict, f"{subject}: {printable(result.reason)}", 8, color)
    if result.remedy:
        text += _wrapped("        → ", printable(result.remedy), 10)
    if result.place:
        text += _wrapped("        ", printable(result.place), 8)
    return text


def _entry(verdict: Verdict, text: str, hang: int, color: bool) -> str:
    plain = _wrapped(f"  {MARK[verdict]:<4}  ", text, hang)
    return plain.replace(MARK[verdict], _paint(MARK[verdict], verdict, color), 1)


def _wrapped(first: str, text: str, hang: int) -> str:
    """Words filled to the width. The columns are spaces that must stay, so only what follows them is wrapped."""
    body = textwrap.TextWrapper(
        WIDTH, initial_indent=first, subsequent_indent=" " * hang, break_on_hyphens=False, drop_whitespace=True
    )
    return "\n".join(line.rstrip() for line in body.wrap(text)) + "\n"


def _footer(summary: Summary) -> str:
    tally = [
        f"{len(summary.of(v))} {what}" for v, what in ((Verdict.FAIL, "failed"), (Verdict.INCONCLUSIVE, "unclear"))
    ]
    facts = [f"{len(summary.of(Verdict.PASS))} of {len(summary.results)} results passed", *tally]
    if summary.coverage:
        facts.append(_coverage(summary.coverage))
    if summary.lag_p99_ms is not None:
        facts.append(f"generator lag p99 {summary.lag_p99_ms:.1f} ms")
    facts.append("left behind: " + ", ".join(summary.left) if summary.left else "nothing left behind")
    text = _wrapped("  ", printable(" · ".join(facts)), 2)
    if summary.folder:
        text += f"\n  run     {printable(summary.folder)}\n  judge   harness check {printable(summary.folder)}\n"
    text += f"  again   {_again(summary)}\n"
    return text + f"exit {summary.exit_code}\n"


def _coverage(coverage: Mapping[str, Mapping[str, int]]) -> str:
    proven, applicable = (sum(one[key] for one in coverage.values()) for key in ("proven", "applicable"))
    each = ", ".join(f"{severity} {one['proven']}/{one['applicable']}" for severity, one in coverage.items())
    return f"alerts proven {proven} of {applicable} ({each})"


def _again(summary: Summary) -> str:
    """The shortest command that repeats what did not pass."""
    bad = [r.subject for r in summary.results if r.verdict is not Verdict.PASS]
    named = [e for e in summary.experiments if any(s.split(":")[0] == e for s in bad)]
    whole = not named or any(s.split(":")[0] not in named for s in bad)
    return "harness gate" + ("" if whole else "".join(f" --only {printable(e)}" for e in named))


def _lasted(summary: Summary) -> str:
    minutes, seconds = divmod(round(summary.ended - summary.started), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _paint(text: str, verdict: Verdict, color: bool) -> str:
    return f"\x1b[1;{COLOUR[verdict]}m{text}\x1b[0m" if color else text
