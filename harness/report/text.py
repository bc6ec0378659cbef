"""The report on a terminal: the verdict first, then what went wrong and what to do, then a line for all that passed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TextIO

from harness.report.summary import Summary, printable
from harness.verdict import Result, Verdict

WIDTH = 120
SUBJECT_AT_MOST = 40  # wider ones push their own reason to the right and no other
MARK = {Verdict.FAIL: "FAIL", Verdict.INCONCLUSIVE: "?", Verdict.PASS: "PASS"}
COLOUR = {Verdict.FAIL: "31", Verdict.INCONCLUSIVE: "33", Verdict.PASS: "32"}


def write(summary: Summary, out: TextIO, color: bool = False) -> None:
    """Write the report, at most 120 columns wide: a line or a few for each result, the worst first."""
    verdict = summary.verdict.name
    out.write(_marked(verdict, summary.verdict, _wrapped(_headline(summary), 6, f"{verdict}  "), color))
    column = 10 + min(max((len(printable(r.subject)) for r in summary.results), default=0), SUBJECT_AT_MOST)
    for number, result in enumerate(summary.failing, 1):
        out.write("\n" + _entry(result, column, color) + _advice(result, column) + _why(summary, number, column))
    out.write("\n" if summary.of(Verdict.PASS) else "")
    for result in summary.of(Verdict.PASS):
        out.write(_entry(result, column, color))
    for each in summary.not_applicable:
        what = f"{each.experiment}: this host lacks {each.reason}; {each.remedy}"
        of = f"; not proven: {', '.join(each.alerts)}" if each.alerts else ""
        out.write("\n" + _wrapped(what + of, 10, "  NOT-APPLICABLE  "))
    out.write("".join(f"\n{_wrapped(remark, 10, '  remark  ')}" for remark in summary.remarks))
    out.write("\n" + _footer(summary))


def _headline(summary: Summary) -> str:
    commit = f"at {summary.commit[:12]}" if summary.commit else ""
    name = " ".join(filter(None, (summary.service, summary.version, commit)))
    if not summary.results:
        return f"{name} · nothing was judged"
    n = len(summary.experiments)
    return " · ".join([name, f"{n} experiment{'s' * (n != 1)}", f"{summary.requests:,} requests", _lasted(summary)])


def _entry(result: Result, column: int, color: bool) -> str:
    """One result: mark, subject, reason, in columns."""
    before = f"  {MARK[result.verdict]:<4}  {printable(result.subject)}  "
    return _marked(MARK[result.verdict], result.verdict, _wrapped(result.reason, column, before.ljust(column)), color)


def _advice(result: Result, column: int) -> str:
    """What to do next, and where."""
    text = _wrapped(result.remedy, column + 2, " " * column + "→ ") if result.remedy else ""
    return text + (_wrapped(result.place, column, " " * column) if result.place else "")


def _why(summary: Summary, number: int, column: int) -> str:
    """How to ask for the records that a result rests on, where there are any."""
    if not summary.folder or not summary.failing[number - 1].evidence:
        return ""
    return f"{' ' * column}why: harness why {printable(summary.folder)} {number}\n"


def _wrapped(text: str, hang: int, before: str = "") -> str:
    """Words filled to the width, from the second line on under a column."""
    lines = textwrap.wrap(
        printable(text), WIDTH, initial_indent=before, subsequent_indent=" " * hang, break_on_hyphens=False
    )
    return "\n".join(lines) + "\n"


def _footer(summary: Summary) -> str:
    facts = [f"{len(summary.of(Verdict.PASS))} of {len(summary.results)} results passed"]
    facts += [f"{len(summary.of(Verdict.FAIL))} failed", f"{len(summary.of(Verdict.INCONCLUSIVE))} unclear"]
    if summary.coverage:
        facts.append(_coverage(summary.coverage))
    if summary.lag_p99_ms is not None:
        facts.append(f"generator lag p99 {summary.lag_p99_ms:.1f} ms")
    facts.append("left behind: " + ", ".join(summary.left) if summary.left else "nothing left behind")
    lines = [facts[0]]
    for fact in facts[1:]:
        joined = f"{lines[-1]} · {fact}"
        lines[-1:] = [joined] if len(joined) <= WIDTH - 2 else [lines[-1], fact]
    text = "".join(_wrapped(line, 2, "  ") for line in lines) + "\n"
    if summary.folder:
        folder = printable(summary.folder)
        text += f"  run     {folder}\n  page    {folder}/report.html\n  judge   harness check {folder}\n"
    return text + f"  again   {_again(summary)}\nexit {summary.exit_code}\n"


def _coverage(coverage: Mapping[str, Mapping[str, int]]) -> str:
    proven, applicable = (sum(one[key] for one in coverage.values()) for key in ("proven", "applicable"))
    each = ", ".join(f"{severity} {one['proven']}/{one['applicable']}" for severity, one in coverage.items())
    played = sum(one.get("simulated", 0) for one in coverage.values())
    return f"alerts proven {proven} of {applicable} ({each})" + (f", {played} of them simulated" if played else "")


def _again(summary: Summary) -> str:
    """The shortest command that repeats what did not pass."""
    bad = [r.subject for r in summary.results if r.verdict is not Verdict.PASS]
    named = [e for e in summary.experiments if any(s.split(":")[0] == e for s in bad)]
    whole = not named or any(s.split(":")[0] not in named for s in bad)
    return "harness gate" + ("" if whole else "".join(f" --only {printable(e)}" for e in named))


def _lasted(summary: Summary) -> str:
    minutes, seconds = divmod(round(summary.ended - summary.started), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _marked(mark: str, verdict: Verdict, text: str, color: bool) -> str:
    """The same text, the first appearance of its mark in the verdict's colour."""
    return text.replace(mark, f"\x1b[1;{COLOUR[verdict]}m{mark}\x1b[0m", 1) if color else text
