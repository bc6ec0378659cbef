"""What a search for capacity found: the answer first, then every step with its figures."""

from __future__ import annotations

from typing import TextIO

from harness.verdict import Capacity, Verdict

MARK = {Verdict.PASS: "kept", Verdict.FAIL: "broken", Verdict.INCONCLUSIVE: "?"}


def write(found: Capacity, scenario: str, out: TextIO) -> None:
    """The report as text."""
    confidence = f"at {100 * found.confidence:g} % confidence"
    head = f"{found.kept_per_s:.4g}/s {confidence}" if found.verdict is Verdict.PASS else "not found"
    lines = [f"capacity under {scenario}: {head}; {found.reason}"]
    if found.bottleneck:
        lines.append(f"  short of: {found.bottleneck}")
    lines += [f"  {s.rate_per_s:>9.4g}/s  {MARK[s.verdict]:<7} {s.reason}" for s in found.steps]
    if found.verdict is not Verdict.PASS:
        lines.append("  next: see the last step; a quieter machine, a longer --for or another --from may decide it")
    out.write("\n".join(lines) + "\n")
