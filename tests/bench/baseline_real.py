"""How many figures, alerts and metrics of real good runs are called worse than those of the others (A/A).

    python tests/bench/baseline_real.py .harness/history.sqlite

Each passing run of the history is compared with the other passing ones of its plan and kind of machine.
"""

import sys
from collections import Counter
from pathlib import Path

from harness.checks.baseline_figures import FALSE_ALARMS, BaselineFigures
from harness.checks.view import STEADY
from harness.run.runs import listed
from harness.stats import interval

if __name__ == "__main__":
    entries = [entry for entry in listed(Path(sys.argv[1])) if entry.verdict == "PASS"]
    compared, worse, runs, names = 0, 0, 0, Counter()
    for entry in entries:
        others = [e.run for e in entries if e.run.id != entry.run.id and e[2:4] == entry[2:4]]
        if len(others) < 5:
            continue
        phases = [name for name in entry.run.figures if name != STEADY]
        found = []
        for phase in entry.run.figures:
            share = FALSE_ALARMS / 2 if phase == STEADY else FALSE_ALARMS / 2 / max(1, len(phases))
            check = BaselineFigures(phase, false_alarms=share)
            found += [(phase, one) for one in check.compare(dict(entry.run.figures[phase]), others)[1]]
        bad = [f"{phase}: {one.name} {one.now:.4g}, bound {one.bound:.4g}" for phase, one in found if one.worse]
        compared, worse, runs = compared + len(found), worse + len(bad), runs + bool(bad)
        names.update(f"{phase}: {one.name}" for phase, one in found if one.worse)
        print(entry.run.id, f"{len(found)} figures", *bad, sep="; ")
    if compared:
        low, high = interval(worse, compared, 0.95)
        print(f"{worse} of {compared} figures called worse ({worse / compared:.3%}, 95 % {low:.3%} to {high:.3%})")
        print(f"{runs} of {len(entries)} runs with any", dict(names))
