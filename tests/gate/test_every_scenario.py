"""Every bundled scenario as the load of a gate and under `harness load`: what it sends, what it is answered, and what
the checks make of it. One stack carries them all, each with a run's folder of its own."""

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import yaml
from small_project import HERE, ROOT, Project

from harness import cli
from harness.checks import Quiet
from harness.checks.evidence import crowded
from harness.errors import PlanError, UsageError
from harness.eventlog import Log
from harness.history import SLOW_CLIENT, History, Outcome, read_rows
from harness.load import corpus
from harness.plan import plan as planning
from harness.run import evidence, gate
from harness.run.folder import open_run
from harness.run.load import LOADED
from harness.run.preflight import preflight
from harness.run.session import Session
from harness.run.view import View
from harness.stack.stack import ENV
from harness.stack.tools import find
from harness.stack.up import Live
from harness.verdict import Verdict

pytestmark = [pytest.mark.gate, pytest.mark.timeout(120, func_only=True)]

PASS, INCONCLUSIVE, FAIL = Verdict
OK, REFUSED, GONE = Outcome.OK, Outcome.REFUSED_BY_SERVICE, Outcome.ABANDONED
FILES = sorted((ROOT / "scenarios").glob("*.py"))


@dataclass(frozen=True)
class Shows:
    """What a scenario must show."""

    images: str = "radiographs"  # the folder of what it sends; empty: no images
    varies: bool = False  # its schedule does: it is judged from its first request on
    few: bool = False  # at first it sends too few to prove anything
    good: set = field(default_factory=lambda: {(200, OK)})  # (status, outcome) of what it knows the class of
    other: set = field(default_factory=set)  # and of the rest
    odd: bool = False  # some of its clients are
    turns: frozenset = frozenset({0})
    fails: frozenset = frozenset()  # the checks that must; all others must not
    arrivals: str = ""  # instead of its own, which is too much for two cores
    may_fire: tuple = ()
    alone: bool = False  # twice at once it would be too much
    for_s: float = 1.5
    code: int = 0  # of `harness load`


SHOWS = {
    "aborted_uploads": Shows(other={(0, GONE)}, odd=True, for_s=2.8),
    "cold_start": Shows(varies=True, alone=True),
    "credentials": Shows(other={(401, OK)}),
    "diurnal": Shows(varies=True, few=True),
    "drifted": Shows("drifted"),
    "faint": Shows("", good=set(), other={(200, OK)}),
    "inference_protocol": Shows("", good=set(), other={(200, OK)}),
    "labelled": Shows(other={(200, OK)}, turns=frozenset({0, 1}), for_s=2.2),
    "malformed": Shows(other={(s, OK) for s in range(400, 500)}, may_fire=("MalformedInputAttack",), for_s=6.0),
    "mislabelled": Shows(other={(200, OK)}, turns=frozenset({0, 1}), for_s=2.2),
    "mixed": Shows("mixed", arrivals="constant:8/s", few=True, for_s=2.2),
    "not_images": Shows(
        "", good=set(), other={(s, OK) for s in range(400, 500)}, may_fire=("MalformedInputAttack",), for_s=6.0
    ),
    "outbreak": Shows(""),
    "ramp": Shows(varies=True, few=True),
    "retry_storm": Shows(),
    "slow_clients": Shows(odd=True, for_s=2.8),
    "soak": Shows(),
    "spike": Shows(varies=True, few=True),
    "steady": Shows(),
    "stress": Shows(varies=True),
    "surge": Shows("exports", arrivals="constant:8/s", few=True, for_s=2.2),
    "trace_replay": Shows(varies=True, few=True),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A project and the stack that is up in it."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.without_slow_rules()
    project.plan()
    # few requests must do, on a machine that may be busy with something else
    for objective, key, value in (
        ("error_rate", "target", "10%"), ("availability", "target", "90%"), ("latency", "percentile", 90),
        ("latency", "target", "4500ms"),
    ):  # fmt: skip
        project.edit("service/monitoring/slos.yaml", ["slos", objective, key], value)
    tools = find()
    plan, rules = preflight(planning.load(project.folder / "gate.yaml"), tools)
    folder = open_run(plan, tools, project.folder / "runs")
    with gate.held(plan, tools, folder, rules, None, lambda line: None) as live:
        yield Bench(project, tools, live)


@dataclass(frozen=True)
class Bench:
    """Where loads are tried."""

    project: Project
    tools: object
    live: Live

    def gate(self, scenario, shows, **bounds):
        """What a gate makes of a scenario: its run, carried out on this stack, and judged."""
        load = {"scenario": f"scenarios/{scenario}.py", "for": f"{1000 * shows.for_s:.0f}ms"}
        load |= {"arrivals": {"constant": shows.arrivals.removeprefix("constant:")}} if shows.arrivals else {}
        made = {
            "service": "service/service.yaml",
            "load": load | {"may_fire": list(shows.may_fire)},
            "checks": ["slos", "quiet"] if shows.may_fire else ["slos"],  # what others left firing is theirs
            "generator": {"lag_p99": "200ms", "starved": "9s", "rate_within": "5%", "repeats": 0, "patience": "0s"}
            | bounds,
            "settle": "0s",
        }
        (self.project.folder / "gate.yaml").write_text(yaml.safe_dump(made))
        plan = planning.load(self.project.folder / "gate.yaml")
        folder = open_run(plan, self.tools, self.project.folder / "runs")
        (folder / "prometheus").symlink_to(self.live.stack.run / "prometheus")
        log = Log(folder / "events.jsonl")
        gate.record_settings(plan, log)
        live = replace(self.live, stack=replace(self.live.stack, run=folder))
        view = View(live.stack, time.monotonic(), lambda progress: None, live)
        gate.carry_out(Session(plan, live.stack, log, view, live))
        evidence.store_samples(plan, live.stack)
        if shows.may_fire:
            evidence.replay_all(plan, folder, self.tools, log)
        else:
            (folder / "replays.json").write_text("{}")
        for name in ("probes.jsonl", "notifications.jsonl"):  # those are written to the folder of the stack
            (folder / name).touch()
        log.event("run", "ended")
        return evidence.judge(folder)

    def load(self, scenario, shows):
        """The exit code of `harness load` on it, its rows, and whether others had the processors meanwhile."""
        rows = self.live.stack.run / "requests-load.rows"
        before = len(read_rows(rows))
        arrivals = ["--arrivals", shows.arrivals] if shows.arrivals else []
        file = str(self.project.folder / f"scenarios/{scenario}.py")
        code = cli.main(["load", file, "--for", f"{min(shows.for_s, 2.2)}s", *arrivals])
        return code, read_rows(rows)[before:], crowded(History.read(self.live.stack.run), LOADED)


@pytest.fixture
def here(bench, monkeypatch):
    """The same, known to `harness load` as the stack that is up, and its gates short of warming up."""
    monkeypatch.setattr(gate, "WARM_S", 0.2)
    monkeypatch.setenv(ENV, str(bench.live.stack.run))
    return bench


def look(shows, rows, busy):
    """What the rows must show, wherever it ran; on a machine that was busy with other things some go unanswered."""
    if busy:
        rows = rows[~np.isin(rows["outcome"], (Outcome.TIMEOUT, Outcome.UNSENT)) & (rows["status"] < 500)]
    good = rows["expected"] >= 0
    assert len(rows) and {(r["status"], r["outcome"]) for r in rows[good]} == shows.good, Counter(
        rows["status"].tolist()
    )
    rest = {(r["status"], r["outcome"]) for r in rows[~good]}
    assert rest <= shows.other and (busy or bool(rest) == bool(shows.other)), rest
    assert set(rows["turn"]) == shows.turns or busy
    assert bool(np.count_nonzero(rows["step"] & SLOW_CLIENT)) == shows.odd
    if shows.images:
        images = corpus.read(ROOT / "scenarios" / shows.images)
        sizes = {shown: [len(image.body) for image in images if image.expected == shown] for shown in (0, 1)}
        for row in rows[good]:
            heads = [int(row["bytes_out"]) - size for size in sizes[row["expected"]]]
            assert any(100 < head < 250 for head in heads), "it sent other images than its own, of that class"
        assert set(rows[good]["expected"]) == {0, 1} and set(rows[good]["predicted"]) <= {0, 1}


def test_the_table_is_of_all_scenarios_and_no_two_folders_of_images_are_alike():
    assert set(SHOWS) == {file.stem for file in FILES}
    folders = {shows.images for shows in SHOWS.values()} - {""}
    sizes = {
        folder: frozenset(map(len, (i.body for i in corpus.read(ROOT / "scenarios" / folder)))) for folder in folders
    }
    assert all(
        a == b or not sizes[a] & sizes[b] or {a, b} == {"mixed", "radiographs"} for a in folders for b in folders
    )


@pytest.mark.parametrize("scenario", SHOWS)
def test_a_scenario_shows_in_a_gate_and_under_harness_load_what_it_stands_for(scenario, here, capsys):
    shows = SHOWS[scenario]
    with ThreadPoolExecutor() as beside:  # both at once: most of it is Python that starts
        judging = beside.submit(here.gate, scenario, shows)
        if shows.alone:
            wait([judging])
        code, rows, others = here.load(scenario, shows)
        judged = judging.result()
    under_harness_load(shows, code, rows, others, capsys.readouterr().out)
    in_a_gate(shows, judged)
    if scenario == "malformed":
        noisy = Quiet("steady").noisy(judged.history)
        allowed = Quiet("steady", frozenset(shows.may_fire)).noisy(judged.history)
        assert noisy.keys() - allowed.keys() == {"MalformedInputAttack"}
        quiet = next(result for result in judged.results if result.check == "quiet")
        crowd = crowded(judged.history, "steady")
        assert quiet.verdict is ((INCONCLUSIVE if crowd else FAIL) if allowed else PASS), quiet


def under_harness_load(shows, code, rows, others, said):
    busy = "generator: INCONCLUSIVE: " in said or "generator: FAIL: " in said or others
    assert code == shows.code or (busy and code == INCONCLUSIVE.exit_code), said
    look(shows, rows, busy)
    assert ("had an unexpected status (bound 0)" in said) == (shows.code == 1), said


def in_a_gate(shows, judged):
    window, started = judged.history.phase("steady"), judged.history.of("load", "started")[-1].detail
    rows = judged.history.requests(window)
    # a scrape that a busy machine delayed by a quarter of a second is no downtime where every client was answered
    unscraped = [r for r in judged.results if r.check == "availability" and r.verdict is FAIL and r.measured == 1]
    said = {r.check: r for r in judged.results if r.check != "quiet" and r not in unscraped}
    busy = said["recorded"].verdict is not PASS or crowded(judged.history, "steady")
    look(shows, rows, busy)
    if shows.varies:
        assert window.start == started["epoch"] and rows["seq"].min() == 0, "judged from its first request on"
    else:
        assert window.start > started["epoch"] + 0.1
    failed = {kind for kind, r in said.items() if r.verdict is FAIL}
    assert failed == shows.fails or (busy and failed <= shows.fails), said
    for kind in said.keys() & {"latency", "availability", "error_ratio", "answers"} - shows.fails:
        few = shows.few and "too few to claim it" in said[kind].reason
        assert busy or said[kind].verdict is (INCONCLUSIVE if few else PASS), said[kind]
    slow = shows.odd and (0, GONE) not in shows.other
    assert ("slow clients left out" in said["latency"].reason) == slow, said["latency"]


@pytest.mark.parametrize(
    ("line", "arrivals", "says"),
    [
        pytest.param("import nosuch", "", "mistaken.py:16: ModuleNotFoundError: No module named 'nosuch'", id="module"),
        pytest.param("class Other(PredictUser)", "", "mistaken.py:16: ", id="syntax"),
        pytest.param("Steady.timeout_s = 5.0", "posson:9/s", "mistaken.py: arrivals: must be one of", id="arrivals"),
    ],
)
def test_a_mistake_is_one_line_and_no_broken_harness(line, arrivals, says, here, capsys):
    text = (ROOT / "scenarios/steady.py").read_text() + f"{line}\n"
    (here.project.folder / "scenarios/mistaken.py").write_text(text)
    code, rows, _ = here.load("mistaken", Shows(arrivals=arrivals, for_s=1.0))
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("load ")]
    assert code == 2 and not len(rows) and len(said) == 1 and said[0].startswith(f"harness: {says}"), said
    if not arrivals:
        with pytest.raises((UsageError, PlanError), match=re.escape(says)):  # the plan sees what is no Python
            here.gate("mistaken", Shows())


def test_a_schedule_that_is_over_too_soon_is_inconclusive_and_says_so(here):
    text = (ROOT / "scenarios/steady.py").read_text()
    text = text.replace("poisson(60, seed=7)", 'replay(Path(__file__).with_name("short.times"))')
    (here.project.folder / "scenarios/brief.py").write_text(text.replace("import poisson", "import replay"))
    (here.project.folder / "scenarios/short.times").write_text("".join(f"{k / 80}\n" for k in range(80)))
    judged = here.gate("brief", Shows(for_s=4.0))
    of_load = [r for r in judged.results if r.check not in ("routes", "messages", "rule_data")]
    assert {r.verdict for r in of_load} == {INCONCLUSIVE}
    of_requests = [r for r in of_load if r.check in ("latency", "availability", "error_ratio", "answers", "stalls")]
    assert len(of_requests) >= 4
    assert all(
        re.match(r"the schedule of the load ended after 1\S* s, before steady was over", r.reason) for r in of_requests
    )


def test_a_generator_that_cannot_keep_its_schedule_is_inconclusive(here):
    """Every tenth request takes 0.3 s to make."""
    (here.project.folder / "scenarios/blocked.py").write_text((HERE / "blocked_generator.py").read_text())
    judged = here.gate("blocked", Shows(), lag_p99="200ms")
    recorded = next(r for r in judged.results if r.check == "recorded")
    assert recorded.verdict is INCONCLUSIVE and "late" in recorded.reason
    assert max(r.verdict for r in judged.results) is INCONCLUSIVE, [
        r for r in judged.results if r.verdict > INCONCLUSIVE
    ]
