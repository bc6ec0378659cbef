"""What a run's record is replayed to: each phase for itself, each alert for itself."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.append(str(Path(__file__).parents[1] / "rules"))
from recording import SCALE, SCRAPE_S, at, series, up

from harness.eventlog import Log
from harness.history import History, write_series
from harness.run.evidence import replay_all

RULES = """
groups:
- name: g
  rules:
  - {alert: Down, expr: up == 0, labels: {severity: page}}
  - {alert: Down, expr: pair * on () pair > 0, labels: {severity: "a \\"b\\" \\\\ c\\nd é"}}
  - {alert: Blind, expr: nowhere > 0}
"""


def test_a_phase_that_cannot_be_replayed_and_a_rule_that_cannot_be_evaluated_cost_themselves_only(tmp_path):
    """The phase hang has two scrapes before its fault; the rule matches many series to many."""
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "types.json").write_text("{}")
    log = Log(tmp_path / "events.jsonl")
    log.event("run", "started", at=at(0), time_scale=SCALE, scrape_s=SCRAPE_S)
    for name, first, fault, end in (("steady", 0, None, 60), ("hang", 60, 62, 120), ("crash", 120, 140, 200)):
        for edge, scrape in (("begin", first - 0.5), ("end", end - 0.5)):
            log.event("run", "phase", at=at(scrape), phase=name, edge=edge)
        for edge, scrape in (("start", fault), ("stop", fault + 10)) if fault else ():
            log.event("fault", "kill", at=at(scrape), experiment=name, edge=edge, id=name)
    pairs = [series("pair", lambda k: 1, until=200, n=n) for n in "ab"]
    write_series(tmp_path / "samples.jsonl.gz", [up(range(141, 150), until=200), *pairs])
    plan = SimpleNamespace(
        experiments=[SimpleNamespace(name="hang"), SimpleNamespace(name="crash")],
        checks=(),
        rules=(tmp_path / "rules.yaml",),
        gate=SimpleNamespace(time_scale=SCALE),
        scrape_s=SCRAPE_S,
        service=SimpleNamespace(
            monitoring=SimpleNamespace(scrape_interval=15.0, evaluation_interval=15.0, job="server")
        ),
    )
    replay_all(plan, tmp_path, SimpleNamespace(promtool=shutil.which("promtool")), log)

    history = History.read(tmp_path)
    page, broken = 'Down{severity="page"}', 'Down{severity="a \\"b\\" \\\\ c\\nd é"}'
    assert history.replays.keys() == {"steady", "hang", "crash"}
    assert all(found.keys() == {page, broken, "Blind"} for found in history.replays.values())
    assert history.replays["crash"][page].firing_s == 15 and history.replays["steady"][page].firing_s is None
    assert all("could not be replayed: 2 scrapes" in one.problem for one in history.replays["hang"].values())
    for phase in ("steady", "crash"):
        assert "many-to-many" in history.replays[phase][broken].problem
        assert not history.replays[phase][page].problem
        assert list(history.replays[phase]["Blind"].blind) == ["nowhere"]
    assert [e.detail["phase"] for e in history.of("run", "replay")] == ["hang"]
