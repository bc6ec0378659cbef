"""Every mistake in the user's files is one line with file, place and remedy; all of them come at once."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from five import with_five

from harness import checks
from harness.alert import Alert
from harness.checks import CHECKS
from harness.errors import PlanError
from harness.faults import needs
from harness.plan import plan as planning
from harness.plan import stored, watched
from harness.run.preflight import planned, preflight
from harness.stack.tools import find

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The repository's own plan and all it names, in a folder where they may be spoilt."""
    for name in ("gate.yaml", "experiments", "scenarios", "docs"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "model_server").mkdir()
    shutil.copy(ROOT / "model_server/service.yaml", tmp_path / "model_server")
    shutil.copytree(ROOT / "model_server/monitoring", tmp_path / "model_server/monitoring")
    shutil.copytree(ROOT / "model_server/weights", tmp_path / "model_server/weights")
    (tmp_path / "gate.yaml").write_text(with_five((ROOT / "gate.yaml").read_text()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spoil(project, file, old, new):
    path = project / file
    text = path.read_text()
    assert old in text, f"{file} has no {old!r} to spoil"
    path.write_text(text.replace(old, new, 1))


DOWN = Alert("ServiceDown", (("service", "pneumonia-detector"), ("severity", "critical")))
EXPERIMENTS = ("sham", "server-crash", "server-hang", "graceful-stop", "overload")
NINES = 400 * "9"
ROUTES, SLOS = "model_server/monitoring/alertmanager.yaml", "model_server/monitoring/slos.yaml"
RULES = "model_server/monitoring/rules/service.yaml"
GATE, SERVICE, CRASH = "gate.yaml", "model_server/service.yaml", "experiments/server-crash.yaml"
STOP = "experiments/graceful-stop.yaml"


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        pytest.param(GATE, "time_scale:", "time_scael:", "time_scael: unknown key; did you mean time_scale?", id="key"),
        pytest.param(GATE, "time_scale: 60 ", "time_scale: 600 ", "less than or equal to 60; got 600", id="time scale"),
        pytest.param(GATE, "120/s", "120 per s", "load.arrivals: poisson: rate must be like 60/s", id="rate"),
        pytest.param(GATE, "for: 42s", "for: 42", "must be a duration with its unit, like 30s", id="duration"),
        pytest.param(GATE, ", seed: 7", "", "poisson needs a seed", id="no seed"),
        pytest.param(GATE, "poisson: 120/s", "ramp: 1/s..9/s", "ramp: over must be given", id="half a ramp"),
        pytest.param(GATE, "poisson: 120/s, seed: 7", "replay: gone.bin", "gone.bin: no such file", id="no record"),
        pytest.param(
            GATE,
            "poisson: 120/s, seed: 7",
            "ramp: 120/s..0/s, over: 30s",
            "the schedule is over after 30 s, but the load is judged for 42 s and then experiments need 50 s at least",
            id="too short",
        ),
        pytest.param(
            GATE,
            "poisson: 120/s, seed: 7",
            "spike: 0/s..120/s, at: 1s, for: 90s",
            "is over after 91 s",
            id="just too short",
        ),
        pytest.param(GATE, "poisson: 120/s, seed: 7", "spike: 0/s..120/s, at: 1s, for: 92s", "", id="just long enough"),
        pytest.param(GATE, "  arrivals: {poisson: 120/s, seed: 7}\n", "", "", id="the scenario's own schedule"),
        pytest.param(
            GATE,
            "for: 42s",
            "for: 42s\n  may_fire: [AuthenticationAttak]",
            "load.may_fire[0]: no rule is called AuthenticationAttak; did you mean AuthenticationAttack?",
            id="may fire",
        ),
        pytest.param(GATE, "for: 42s", "for: 42s\n  may_fire: AuthenticationAttack", "load.may_fire: ", id="one alert"),
        pytest.param(GATE, "seed: 7", "sed: 7", "sed: unknown key; did you mean seed?", id="arrivals key"),
        pytest.param(GATE, "- quiet", "- quite", "unknown check 'quite'; did you mean quiet?", id="unknown check"),
        pytest.param(GATE, "server-hang,", "server-hagn,", "did you mean server-hang?", id="unknown experiment"),
        pytest.param(GATE, "scenarios/steady.py", "scenarios/no.py", "no such file: scenarios/no.py", id="scenario"),
        pytest.param(
            GATE, "for: 42s", "for: 42s\n  corpus: scenarios/no", "load.corpus: no such file: scenarios/no", id="corpus"
        ),
        pytest.param(
            GATE, "for: 42s", "for: 42s\n  user: Stedy", "load.user: no class Stedy in scenarios/steady.py", id="user"
        ),
        pytest.param(
            GATE, "- quiet ", "- answers: {right_at_least: 100%}\n- quiet ", "should be less than 1", id="never proven"
        ),
        pytest.param(GATE, "critical: 100%", "critical: 100", "write 100% for per cent", id="share without per cent"),
        pytest.param(
            GATE,
            "critical: 100%",
            "urgent: 100%",
            "no severity of a rule is called urgent; known: critical, high, low, medium",
            id="severity",
        ),
        pytest.param(GATE, "load:", "load: &a", "", id="an anchor is no mistake"),
        pytest.param(GATE, "service:", "service: x\nservice:", "service: written twice (first on line 1)", id="twice"),
        pytest.param(GATE, "service:", "\tservice:", "not YAML", id="not YAML"),
        pytest.param(SERVICE, "{port}", "8000", "must contain {port}", id="no port"),
        pytest.param(SERVICE, "periodSeconds: 2", "periodSeconds: 0", "greater than or equal to 1; got 0", id="period"),
        pytest.param(SERVICE, "rules/*.yaml", "rulez/*.yaml", "no file matches monitoring/rulez/*.yaml", id="no rules"),
        pytest.param(SERVICE, "slos.yaml", "slo.yaml", "model_server/monitoring/slo.yaml: no such file", id="no slos"),
        pytest.param(
            SERVICE, "small-cnn.json", "big-cnn.json", "weights/big-cnn.json: no such file (named", id="no card"
        ),
        pytest.param(
            SERVICE,
            "held_out_accuracy",
            "held_out.accuracy",
            "model.accuracy: held_out.accuracy in model_server/weights/small-cnn.json must be a share above 0 and at "
            "most 1, such as 0.97; there is none",
            id="no figure",
        ),
        pytest.param(SERVICE, "held_out_accuracy", "version", "such as 0.97; got '1.0.0'", id="no share"),
        pytest.param(SERVICE, "held_out_accuracy", "held_out.images", "got 2000", id="more than all"),
        pytest.param(CRASH, "ServiceDown", "ServiceDwon", "no rule is called ServiceDwon; did you mean", id="no rule"),
        pytest.param(CRASH, "severity: critical", "severity: page", "to be page, but its rule says critical", id="sev"),
        pytest.param(
            CRASH, "severity: critical", "severity: low", "is to be low, but its rule says critical", id="severe"
        ),
        pytest.param(
            CRASH,
            "probes: {server",
            "probes: {srever",
            "no component with probes is called srever; did you mean",
            id="who",
        ),
        pytest.param(
            GATE,
            "- contracts",
            "- quiet",
            "checks: nothing judges experiment sham by its whole contract; add `- contracts`",
            id="no judge",
        ),
        pytest.param(
            GATE,
            "- contracts",
            "- contracts: {experiment: sham}",
            "nothing judges experiment server-crash by",
            id="one judged",
        ),
        pytest.param(
            GATE,
            "- contracts",
            "- clients: {experiment: sham, errors_at_most: 100%, recovered_within: 1h}",
            "nothing judges experiment sham by",
            id="a loose bound",
        ),
        pytest.param(
            GATE,
            "- contracts",
            "".join(f"- contracts: {{experiment: {name}}}\n" for name in EXPERIMENTS),
            "",
            id="each by its name",
        ),
        pytest.param(
            STOP, "stops: {server:", "stops: {sever:", "stops: no component with probes is called sever", id="?"
        ),
        pytest.param(STOP, "exits_within", "exits_in", "stops.server.exits_in: unknown key", id="a bound of a stop"),
        pytest.param(
            STOP, "exits_within: 5s", "lost_at_most: -1", "stops.server.lost_at_most: input", id="less than 0"
        ),
        pytest.param(GATE, "- quiet   ", "- answers ", "and none is about steady, sham, ", id="no quiet"),
        pytest.param(
            GATE, "- quiet   ", "- quiet: {phase: steady} ", "and none is about sham, server-crash", id="quiet in part"
        ),
        pytest.param(
            SERVICE, "gpu: [GpuM", "gpus: [GpuM", "unknown capability gpus; did you mean gpu?", id="capability"
        ),
        pytest.param(
            SERVICE,
            "NvmlLost]",
            "NvmlLots]",
            "needs.gpu[5]: no rule is called NvmlLots; did you mean NvmlLost?",
            id="nd",
        ),
        pytest.param(GATE, "[sham, server-crash", "[sham, sham", "sham is named 2 times", id="the same twice"),
        pytest.param(CRASH, "extensions:", "x-tensions:", "has no `- name: harness`", id="no contract"),
        pytest.param(
            CRASH, "func: kill", "func: kil", "there is no action kil; did you mean kill?", id="no such action"
        ),
        pytest.param(
            CRASH, "probes: {server", "probs: {server", "probs: unknown key; did you mean probes", id="contract"
        ),
        pytest.param(CRASH, "component: server,", "component: sever,", "component is called sever; did", id="to whom"),
        pytest.param(
            CRASH,
            "again_for_s: 3}",
            "again_for_s: 3, lease_s: 0}",
            "method[0].provider.arguments.lease_s: must be a number of seconds above 0; got 0",
            id="no lease",
        ),
        pytest.param(
            CRASH,
            "again_for_s: 3}",
            "again_for_s: 3, lease_s: true}",
            "lease_s: must be a number, not true",
            id="no number",
        ),
        pytest.param(CRASH, "again_for_s: 3}", "again_for_s: 3, lease_s: 12}", "", id="a lease"),
        pytest.param(
            CRASH,
            "again_for_s: 3}",
            "again_for_s: 3, times: 0}",
            "method[0].provider.arguments.times: must be from 1 to 20; got 0",
            id="what the fault refuses",
        ),
        pytest.param(CRASH, "extensions:", "extensions: 5\nx:", "Chaos Toolkit rejects it", id="no list"),
        pytest.param(GATE, "60 ", "2024-02-30 ", "gate.yaml:2: not YAML: no valid timestamp", id="no day"),
        pytest.param(GATE, "60 ", "!!int abc ", "gate.yaml:2: not YAML: no valid int", id="no integer"),
        pytest.param(GATE, "60 ", "!!bool abc ", "gate.yaml:2: not YAML: no valid bool", id="no switch"),
        pytest.param(GATE, "60 ", "!!timestamp abc ", "gate.yaml:2: not YAML: no valid timestamp", id="no time"),
        pytest.param(
            GATE, "60 ", '"\\UFFFFFFFF" ', "gate.yaml:2: not YAML: found invalid Unicode char", id="no character"
        ),
        pytest.param(
            GATE, "60 ", "&a [*a] ", "gate.yaml:2: cannot be read: a part of it holds itself", id="holds itself"
        ),
        pytest.param(
            GATE, "60 ", 2000 * "[", "gate.yaml:2: cannot be read: lists and mappings are more", id="too deep"
        ),
        pytest.param(GATE, "60 ", "\0", "gate.yaml:1: not YAML: unacceptable character #x0000", id="NUL"),
        pytest.param(
            GATE,
            "scenarios/steady.py",
            '"x\\0"',
            "load.scenario: cannot be read: no file can have",
            id="a NUL in a path",
        ),
        pytest.param(
            GATE,
            "scenarios/steady.py",
            300 * "x",
            "load.scenario: cannot be read: File name too long",
            id="a long path",
        ),
        pytest.param(GATE, "[sham,", "[" + 300 * "x" + ",", "experiments[0]: no file x", id="a long experiment"),
        pytest.param(GATE, "[sham,", '["x\\0",', "experiments[0]: no file x", id="an experiment with a NUL"),
        pytest.param(RULES, "groups:", "groups: 5\nx:", "groups must be a list; got a text", id="no groups"),
        pytest.param(RULES, "groups:", "groups: [x]\nx:", "a group is a mapping, not a text", id="no group"),
        pytest.param(
            RULES, "groups:", "groups: [{rules: 5}]\nx:", "rules must be a list; got a text", id="no rules of it"
        ),
        pytest.param(
            RULES,
            "groups:",
            "groups: [{rules: [{alert: X, labels: [a]}]}]\nx:",
            "labels maps names to texts",
            id="labels",
        ),
        pytest.param(
            RULES,
            "groups:",
            "groups: [{rules: [{alert: [x]}]}]\nx:",
            "alert must be text; got a list",
            id="an alert of no name",
        ),
        pytest.param(CRASH, "title:", "tile:", "Chaos Toolkit rejects it", id="no title"),
        pytest.param(GATE, "for: 42s", f"for: {NINES}d", "load.for: must be at most 100 years", id="nines"),
        pytest.param(GATE, "for: 42s", "for: 1.0e+400", "load.for: must be a duration with its unit", id="infinite"),
        pytest.param(GATE, "for: 42s", "for: 0s", "load.for: input should be greater than 0", id="no time"),
        pytest.param(GATE, "time_scale: 60", "time_scale: true", "time_scale: must be a number, not true", id="true"),
        pytest.param(
            GATE, "- quiet ", "- growth: {series: false}\n- quiet ", "series: must be a number, not false", id="false"
        ),
        pytest.param(
            GATE, "- quiet ", "- scrape: {samples_at_most: true}\n- quiet ", "must be a number, not true", id="count"
        ),
        pytest.param(GATE, "time_scale: 60", "time_scale: .nan", "time_scale: input should be", id="no scale"),
        pytest.param(GATE, "seed: 7", f"seed: {NINES}", "gate.yaml:5: not YAML: no valid int", id="a seed of nines"),
        pytest.param(GATE, "120/s", f"{NINES}/s", "arrivals: poisson: rate must be above 0/s", id="a rate of nines"),
        pytest.param(GATE, "120/s", "1/h", "load.arrivals: no request is due in the 42 s that are judged", id="rare"),
        pytest.param(
            GATE, "poisson: 120/s, seed: 7", "spike: 0/s..9/s, at: 2m, for: 5m", "no request is due in", id="too late"
        ),
        pytest.param(GATE, "poisson: 120/s, seed: 7", "replay: /dev/zero", "is a device; name a", id="endless"),
        pytest.param(GATE, "for: 42s", "for: 42s\n  corpus: gate.yaml", "load.corpus: must be a folder", id="file"),
        pytest.param(GATE, "scenarios/steady.py", "scenarios", "load.scenario: is a folder; name a", id="a folder"),
        pytest.param(CRASH, "receiver: pagerduty", "receiver: pagerdty", "did you mean pagerduty?", id="no receiver"),
        pytest.param(CRASH, "receiver: pagerduty", "receiver: nobody", "no receiver is called nobody; kno", id="who?"),
        pytest.param(
            ROUTES,
            "receiver: email",
            "receiver: mail",
            "route.routes[2].receiver: there is no receiver 'mail'",
            id="no way",
        ),
        pytest.param(
            ROUTES,
            "- name: email",
            "- name: default",
            "receivers[3]: there is another receiver called 'def",
            id="one name",
        ),
        pytest.param(ROUTES, "group_wait: 10s", f"group_wait: {NINES}y", "292 years", id="a wait of nines"),
        pytest.param(SLOS, "target: 99.9%", "target: 100%", "availability.target: no number of requests", id="100 %"),
        pytest.param(SLOS, "percentile: 95", "percentile: 100", "99.9 % takes 4,603 of them", id="p100"),
        pytest.param(SLOS, "target: 0.1%", "target: 0%", "error_rate.target: no number of requests", id="no error"),
        pytest.param(
            CRASH, "again_for_s: 3}", "again_for_s: .inf}", "again_for_s: input should be a finite", id="ever"
        ),
        pytest.param(
            CRASH,
            "extensions:\n",
            "extensions:\n- {name: harness, expect: {}}\n",
            "extensions[1]: is a second contract",
            id="two contracts",
        ),
    ],
)
def test_a_mistake_is_said_with_its_file_and_line(project, file, old, new, complaint):
    spoil(project, file, old, new)
    if not complaint:
        planning.load(project / GATE)
        return
    with pytest.raises(PlanError) as said:
        planning.load(project / GATE)
    matching = [p for p in said.value.problems if complaint in p]
    assert matching, said.value.problems
    assert matching[0].startswith((file.split("/")[0], "model_server")), matching[0]


def test_a_receiver_that_no_route_leads_to_is_named_where_the_contract_wants_it(project):
    spoil(project, ROUTES, "critical]\n      receiver: pagerduty", "critical]\n      receiver: default")
    with pytest.raises(PlanError) as said:
        planning.load(project / GATE)
    want = r"experiments/server-crash.yaml:\d+: alerts\[0\].receiver: no route leads to the receiver pagerduty; known: "
    assert any(re.match(want, problem) for problem in said.value.problems)


def test_all_mistakes_come_at_once_in_every_file(project):
    spoil(project, SERVICE, "rules/*.yaml", "rulez/*.yaml")
    spoil(project, GATE, "- quiet", "- quite")
    spoil(project, CRASH, "fires_within: 2m", "fires_within: 2")
    spoil(project, GATE, "scenarios/steady.py", "scenarios/no.py")
    with pytest.raises(PlanError) as said:
        planning.load(project / GATE)
    text = "\n".join(said.value.problems)
    for part in ("rulez", "quite", "unit, like 30s, 2m or 500ms; got 2", "no.py"):
        assert part in text


def test_all_mistakes_of_several_experiments_come_at_once_each_with_its_line(project):
    spoil(project, GATE, "- quiet", "- quite")
    spoil(project, CRASH, "again_for_s: 3}", "again_for: 3, lease_s: 0}")
    spoil(project, CRASH, "fires_within: 2m", "fires_within: 10s")
    spoil(project, STOP, "pauses: {after: 4}", "pauses: {after: -4}")
    with pytest.raises(PlanError) as said:
        planning.load(project / GATE)
    wanted = [
        (CRASH, "again_for: 3", "method[0].provider.arguments.again_for: unknown key; did you mean"),
        (CRASH, "lease_s: 0", "method[0].provider.arguments.lease_s: must be a number of seconds above 0; got 0"),
        (CRASH, "fires_within: 10s", "alerts[0].fires_within: cannot be met: its rule waits, by `for`, for"),
        (STOP, "after: -4", "method[0].pauses.after: must be a number of seconds, 0 or more"),
        (GATE, "- quite", "unknown check 'quite'; did you mean quiet?"),
    ]
    for file, text, complaint in wanted:
        line = next(n for n, one in enumerate((project / file).read_text().splitlines(), 1) if text in one)
        found = [one for one in said.value.problems if complaint in one]
        assert len(found) == 1 and found[0].startswith(f"{file}:{line}: "), (complaint, said.value.problems)


def test_a_wrong_gate_file_does_not_hide_what_is_wrong_in_the_files_it_names(project):
    spoil(project, GATE, "120/s", "120")
    spoil(project, SERVICE, "periodSeconds: 2", "periodSeconds: 0")
    spoil(project, CRASH, "fires_within: 2m", "fires_within: 2")
    with pytest.raises(PlanError) as said:
        planning.load(project / GATE)
    text = "\n".join(said.value.problems)
    for part in (
        "rate must be like 60/s, got '120'",
        "greater than or equal to 1",
        "unit, like 30s, 2m or 500ms; got 2",
    ):
        assert part in text


def test_a_line_number_is_that_of_the_mistake(project):
    spoil(project, GATE, "- quiet", "- quite")
    line = next(i for i, text in enumerate((project / GATE).read_text().splitlines(), 1) if "quite" in text)
    with pytest.raises(PlanError, match=rf"^gate\.yaml:{line}: checks\[2\]"):
        planning.load(project / GATE)


def test_a_service_without_objectives_has_no_slos_to_judge(project):
    (project / "model_server/monitoring/slos.yaml").write_text("slos: {}\n")
    with pytest.raises(PlanError, match=r"checks\[0\]: slos: the service states no objective"):
        planning.load(project / GATE)


def test_an_entry_that_stands_for_no_check_is_a_mistake(project):
    spoil(project, GATE, "[sham, server-crash, server-hang, graceful-stop, overload]", "[]")
    spoil(project, GATE, "- contracts", "- injected")
    with pytest.raises(PlanError) as said:
        planning.load(project / GATE)
    (problem,) = said.value.problems
    assert "checks[1]: injected: stands for no check" in problem


@pytest.mark.parametrize(
    ("name", "expr", "found"),
    [
        ("Watchdog", "vector(1)", ["Watchdog"]),
        ("DeadMansSwitch", "vector(1)", ["DeadMansSwitch"]),
        ("PrometheusAlertingAlive", "1", ["PrometheusAlertingAlive"]),
        ("Watchdog", "up >= 0", ["Watchdog"]),
        ("Alive", "up >= 0", [""]),
    ],
)
def test_any_rule_that_always_fires_is_a_watchdog_and_without_one_the_check_is_there(project, name, expr, found):
    spoil(project, RULES, "alert: Watchdog", f"alert: {name}")
    spoil(project, RULES, "expr: vector(1)", f"expr: {expr}")
    plan = planning.load(project / GATE)
    assert [check.alert for check in plan.checks if check.kind == "watchdog"] == found
    assert plan.always_firing == {*found} - {""}
    assert {check.watchdog for check in plan.checks if check.kind == "quiet"} == {*found}


def test_a_dot_in_an_experiments_name_is_part_of_it(project):
    (project / "experiments/sham.yaml").rename(project / "experiments/sham.v2.yaml")
    spoil(project, GATE, "[sham,", "[sham.v2,")
    plan = planning.load(project / GATE)
    assert plan.experiments[0].name == "sham.v2"
    spoil(project, GATE, "- quiet ", "- injected: {experiment: sham}\n- quiet ")
    with pytest.raises(PlanError, match=r"no experiment is called sham; did you mean sham.v2\?"):
        planning.load(project / GATE)


def test_an_experiment_may_not_take_the_name_of_another_phase(project):
    shutil.copy(project / CRASH, project / "experiments/steady.yaml")
    spoil(project, GATE, "[sham,", "[steady,")
    with pytest.raises(PlanError, match="steady is the name of a phase"):
        planning.load(project / GATE)


def test_one_experiment_asked_for_by_its_file_is_judged_by_its_contract_whatever_the_plan_says(project):
    spoil(project, GATE, "- contracts", "- quiet")
    plan = planning.load(project / GATE, experiment_files=[project / CRASH])
    assert {"alert_fires", "alert_delivered", "probes", "clients"} <= {check.kind for check in plan.checks}
    loose = "clients: {experiment: server-crash, errors_at_most: 100%, recovered_within: 1h}"
    spoil(project, GATE, "- quiet ", f"- {loose}\n- quiet ")
    again = planning.load(project / GATE, experiment_files=[project / CRASH]).checks
    assert {*plan.checks} < {*again} and len(again) == len(plan.checks) + 1


def test_a_part_of_the_experiments_is_not_asked_to_cover_all_alerts(project):
    assert "alert_coverage" in {check.kind for check in planning.load(project / GATE).checks}
    assert "alert_coverage" not in {check.kind for check in planning.load(project / GATE, only=["sham"]).checks}


def test_a_plan_without_checks_decides_nothing(project):
    text = (project / GATE).read_text()
    (project / GATE).write_text(text[: text.index("checks:")] + "checks: []\n")
    with pytest.raises(PlanError, match="a plan without checks decides nothing"):
        planning.load(project / GATE)


def test_a_missing_gate_file_is_one_line(project):
    with pytest.raises(PlanError, match=r"^nowhere\.yaml: no such file$"):
        planning.load(Path("nowhere.yaml"))


def test_a_profile_is_laid_over_the_plan_and_an_unknown_one_named(project):
    quick = planning.load(project / GATE, profile="quick")
    assert [e.name for e in quick.experiments] == ["sham", "server-crash"]
    with pytest.raises(PlanError, match="unknown profile 'quik'; did you mean quick"):
        planning.load(project / GATE, profile="quik")


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("[quick]", "profiles: input should be a valid dictionary"),
        ("{quick: 5}", r"profiles\.quick: must be a mapping; got 5"),
        ("{5: {}}", "unknown profile 'quick'; known: 5"),
    ],
)
def test_profiles_of_another_form_are_a_mistake(project, written, complaint):
    text = (project / GATE).read_text()
    (project / GATE).write_text(text[: text.index("profiles:")] + f"profiles: {written}\n")
    with pytest.raises(PlanError, match=complaint):
        planning.load(project / GATE, profile="quick")


@pytest.mark.parametrize("path", ["x\0.yaml", "x" * 300, "\ud800"])
def test_a_path_that_no_file_can_have_is_one_line(path):
    with pytest.raises(PlanError, match="cannot be read: "):
        planning.load(Path(path))


def test_no_experiment_is_known_where_the_plan_has_none(project):
    spoil(project, GATE, "[sham, server-crash, server-hang, graceful-stop, overload]", "[]")
    spoil(project, GATE, "- contracts ", "- clients: {experiment: foo, errors_at_most: 1%, recovered_within: 5s} ")
    with pytest.raises(PlanError, match=r"clients\.experiment: no experiment is called foo; the plan has none"):
        planning.load(project / GATE)


def test_the_model_is_held_to_its_card_or_to_what_gate_yaml_says_instead(project):
    (by_bound,) = (c for c in planning.load(project / GATE).checks if isinstance(c, checks.Predictions))
    assert by_bound.right_at_least == 0.97
    assert by_bound.accuracy == (0.9945, "model_server/weights/small-cnn.json:5: held_out_accuracy")
    spoil(project, GATE, "- predictions: {right_at_least: 97%}", "")
    plan = planning.load(project / GATE)
    (unasked,) = (c for c in plan.checks if isinstance(c, checks.Predictions))
    assert unasked == replace(by_bound, right_at_least=None), "an entry replaces it"
    (project / "plan.yaml").write_text(stored.dump(plan.resolved()))
    assert unasked in stored.stored_checks(project)[0]
    card = (project / "model_server/weights/small-cnn.json").read_text()
    (project / "model_server/weights/small-cnn.json").write_text(card.replace("0.9945", '"97%"'))
    (percent,) = (c for c in planning.load(project / GATE).checks if isinstance(c, checks.Predictions))
    assert percent.accuracy[0] == 0.97


def test_only_keeps_the_named_experiments_and_names_unknown_ones(project):
    assert [e.name for e in planning.load(project / GATE, only=["sham"]).experiments] == ["sham"]
    with pytest.raises(PlanError, match=r"--only shame: gate\.yaml has no such experiment; did you mean sham"):
        planning.load(project / GATE, only=["shame"])


def test_some_checks_are_in_every_gate_unasked(project):
    kinds = {check.kind for check in planning.load(project / GATE, profile="quick").checks}
    assert {"answers", "injected", "recorded", "watchdog", "metrics_true", "scrape", "clocks"} <= kinds


def test_an_entry_takes_the_place_of_what_is_judged_unasked(project):
    spoil(project, GATE, "- contracts ", "- scrape: {takes_at_most: 20%}\n- metrics_true: {outliers: 5%}\n- contracts ")
    found = planning.load(project / GATE).checks
    assert [c.takes_at_most for c in found if isinstance(c, checks.Scrape)] == [0.2]
    metrics = [c for c in found if isinstance(c, checks.MetricsTrue)]
    assert {c.outliers for c in metrics} == {0.05} and len(metrics) == 5


def test_the_stored_plan_gives_back_the_very_same_checks(project):
    plan = planning.load(project / GATE)
    (project / "plan.yaml").write_text(stored.dump(plan.resolved()))
    checks, facts, _ = stored.stored_checks(project)
    assert (
        stored.dump(replace(plan, checks=checks).resolved()) == stored.dump(plan.resolved())
        and facts == plan.rule_facts
    )
    assert list(map(type, checks)) == list(map(type, plan.checks))
    again = yaml.safe_load(stored.dump(plan.resolved()))
    assert all(again[part] == plan.resolved()[part] for part in ("rules", "checks", "not_applicable"))  # one plain form
    assert {c.kind for c in checks} <= set(CHECKS)


NAMED = [
    ("latency: {percentile: 99, under: 300ms}", checks.Latency("steady", 99, 300)),
    ("latency: {percentile: 50, under: 1s, phase: server-crash}", checks.Latency("server-crash", 50, 1000)),
    ("error_ratio: {target: 1%, phase: server-crash}", checks.ErrorRatio("server-crash", 0.01)),
    ("availability: {target: 99.5%}", checks.Availability("steady", 0.995)),
    ("answers: {phase: sham}", checks.Answers("sham")),
    ("answers: {right_at_least: 90%}", checks.Answers("steady", right_at_least=0.9)),
    (
        "clients: {experiment: sham, errors_at_most: 0.1%, recovered_within: 5s}",
        checks.Clients("sham", 0.001, 5),
    ),
    ("probes: {experiment: sham, restart: never}", checks.ProbeDecisions("sham")),
    ("quiet: {phase: sham, may_fire: [ServiceDown]}", checks.Quiet("sham", frozenset({"ServiceDown"}))),
    ("promql: {query: up, at_least: 1}", checks.Promql("up", "at_least", 1.0)),
    ("promql: {query: 'max(x)', below: 5, phase: sham}", checks.Promql("max(x)", "below", 5.0, "sham")),
    ("command: [python, audit.py]", checks.Command(("python", "audit.py"))),
    ("command: {run: [./audit], timeout: 2m}", checks.Command(("./audit",), 120)),
    ("alert_coverage: {low: 50%}", None),
    ("contracts: {experiment: sham}", None),
]


@pytest.mark.parametrize(("entry", "check"), NAMED, ids=[entry for entry, _ in NAMED])
def test_any_check_may_be_named_with_its_parameters_in_plan_units(project, entry, check):
    before = planning.load(project / GATE).checks
    spoil(project, GATE, "- quiet ", f"- {entry}\n- quiet ")
    plan = planning.load(project / GATE)
    assert check is None or check in plan.checks
    assert len(plan.checks) == len({*before, *plan.checks}), "none twice, none lost"
    (project / "plan.yaml").write_text(stored.dump(plan.resolved()))
    again = stored.stored_checks(project)[0]
    assert [stored.stored(c) for c in again] == [stored.stored(c) for c in plan.checks]


def test_an_alert_may_be_asked_for_beside_the_contracts(project):
    about = "{experiment: server-crash, alert: ServiceDown, fires_within: 1m, resolves_within: 90s"
    spoil(
        project, GATE, "- quiet ", f"- alert_fires: {about}}}\n- alert_delivered: {about}, receiver: slack}}\n- quiet "
    )
    mine = [c for c in planning.load(project / GATE).checks if (c.alert, c.experiment) == (DOWN, "server-crash")][2:]
    assert all((c.severity, "service.yaml:" in c.place) == ("critical", True) for c in mine)
    fires, delivered = mine
    assert (fires.fires_within_s, fires.resolves_within_s) == (60, 90)
    assert (delivered.receiver, delivered.notified_within_s, delivered.resolved_notified_within_s) == (
        "slack",
        120,
        150,
    )


def test_a_check_about_an_experiment_that_is_left_out_is_left_out_with_it(project):
    spoil(project, GATE, "- quiet ", "- error_ratio: {target: 60%, phase: server-crash}\n- quiet ")
    mine = checks.ErrorRatio("server-crash", 0.6)
    assert mine in planning.load(project / GATE).checks
    assert mine not in planning.load(project / GATE, only=["sham"]).checks
    assert mine in planning.load(project / GATE, experiment_files=[project / CRASH]).for_experiments_alone().checks


WRONG = {
    "no parameters": ("latency", "must bound something, as in {p99: 300ms} or {percentile: 99, under: 300ms} (latency"),
    "half a bound": ("latency: {percentile: 99}", "percentile and under belong together"),
    "a size without its unit": (
        "growth: {memory: 5}",
        "growth.memory: must be a size with its unit, like 1 kB or 2 MiB",
    ),
    "no negative growth": ("growth: {threads: -1}", "growth.threads: "),
    "no quantity of that name": ("growth: {thread: 1}", "thread: unknown key; did you mean threads?"),
    "faster than before": ("recovery: {times: 1}", "recovery.times: "),
    "a typing error": (
        "latency: {percentil: 9, under: 1s}",
        "percentil: unknown key; did you mean percentile? (latency",
    ),
    "no unit": (
        "latency: {percentile: 99, under: 300}",
        "must be a duration with its unit, like 30s, 2m or 500ms; got 300",
    ),
    "no share": ("error_ratio: {target: 1}", ""),
    "out of range": ("latency: {percentile: 101, under: 1s}", "less than or equal to 100; got 101"),
    "the slowest of all": (
        "latency: {percentile: 100, under: 1s}",
        "latency.percentile: no number of requests proves the percentile 100; 99.9 % takes 4,603 of them",
    ),
    "always there": ("availability: {target: 100%}", "availability.target: no number of requests proves 100 %"),
    "ten nines": ("availability: {target: 99.99999999%}", "availability.target: no number of requests proves 100 %"),
    "seven nines": ("availability: {target: 99.99999%}", "10,000,000 requests without an error do not prove"),
    "never an error": ("error_ratio: {target: 0%}", "error_ratio.target: no number of requests proves a share of 0 %"),
    "no such phase": ("error_ratio: {target: 1%, phase: stedy}", "no phase is called stedy; did you mean steady?"),
    "no such experiment": ("injected: {experiment: shame}", "no experiment is called shame; did you mean sham?"),
    "steady is no experiment": ("injected: {experiment: steady}", "no experiment is called steady; known: "),
    "no such rule": ("quiet: {may_fire: [ServiceDwon]}", "no rule is called ServiceDwon; did you mean ServiceDown?"),
    "none to give": ("slos: {target: 1%}", "slos.target: unknown key; known: none (slos takes no parameters)"),
    "no mapping": ("latency: 99", "checks[2].latency: must be a mapping; got 99"),
    "no list": ("quiet: {may_fire: ServiceDown}", "quiet.may_fire: must be a list; got 'ServiceDown'"),
    "no bound": ("promql: {query: up}", "must give one bound: below, at_most, above, at_least"),
    "two bounds": ("promql: {query: up, below: 1, above: 0}", "must give one bound"),
    "a switch for a bound": ("promql: {query: up, below: true}", "promql.below: must be a number; got True"),
    "no bound at all": ("promql: {query: up, below: .inf}", "promql.below: input should be a finite number"),
    "no number": ("promql: {query: up, at_least: .nan}", "promql.at_least: input should be a finite number"),
    "a blank query": ("promql: {query: ' ', at_least: 1}", "promql.query: string should match pattern"),
    "half a query": ("promql: {query: 'sum(up', at_least: 1}", "promql: not PromQL: unclosed left parenthesis"),
    "a deep query": (f"promql: {{query: '{300 * '('}up{300 * ')'}', at_least: 1}}", "more than 200 operators and brac"),
    "no query": ("promql: {below: 1}", "promql.query: is missing"),
    "no command": ("command: []", "command.run: "),
    "half a command": ("command: {timeout: 1s}", "command.run: is missing (command takes run, timeout)"),
    "a command of other things": ("command: [{}]", "command.run[0]: "),
    "no severity": ("alert_coverage", "must name a severity, like {critical: 100%}"),
    "not a name": ("[latency]", "unknown check ['latency']"),
    "two names": ("{latency: {}, quiet: {}}", "unknown check {'latency'"),
}


@pytest.mark.parametrize(("entry", "complaint"), WRONG.values(), ids=WRONG)
def test_a_wrong_parameter_is_one_line_with_its_place_and_what_the_check_takes(project, entry, complaint):
    spoil(project, GATE, "- quiet ", f"- {entry}\n- quiet ")
    if not complaint:
        planning.load(project / GATE)
        return
    line = next(i for i, text in enumerate((project / GATE).read_text().splitlines(), 1) if text == f"- {entry}")
    with pytest.raises(PlanError) as error:
        planning.load(project / GATE)
    (problem,) = [p for p in error.value.problems if complaint in p]
    assert problem.startswith(f"gate.yaml:{line}: checks[2]"), problem
    spoil(project, SERVICE, "rules/*.yaml", "rulez/*.yaml")
    with pytest.raises(PlanError) as error:
        planning.load(project / GATE)
    assert any("rulez" in p for p in error.value.problems)
    if "no rule" not in complaint:  # those are not known then
        assert problem in error.value.problems, "it comes at once with what is wrong elsewhere"


@pytest.mark.parametrize("there", [True, False], ids=["a GPU", "no GPU"])
def test_an_alert_that_needs_what_the_host_lacks_is_not_applicable(project, monkeypatch, there):
    monkeypatch.setitem(watched.CAPABILITIES, "gpu", (str(project / ("gate.yaml" if there else "none")),))
    plan = planning.load(project / GATE)
    of_a_gpu = ("GpuMemoryHigh", "GpuThrottled", "GpuErrors", "GpuApplicationErrors", "GpuUnused", "NvmlLost")
    lacking = () if there else of_a_gpu
    (covered,) = [check for check in plan.checks if check.kind == "alert_coverage"]
    assert covered.not_applicable == lacking
    (project / "plan.yaml").write_text(stored.dump(plan.resolved()))
    assert tuple(fact.alert.name for fact in stored.stored_checks(project)[1] if not fact.applicable) == lacking


ARRIVALS = [
    ("{constant: 90/m}", "constant:1.5/s"),
    ("{ramp: 10/s..100/s, over: 60s, seed: 7}", "ramp:10/s..100/s:over=60s:seed=7"),
    ("{step: [10/s, 50/s], every: 1m}", "step:10/s,50/s:every=60s"),
    ("{spike: 20/s..200/s, at: 30s, for: 10s}", "spike:20/s..200/s:at=30s:for=10s"),
    ("{sine: 20/s..100/s, over: 24h}", "sine:20/s..100/s:over=86400s"),
]


@pytest.mark.parametrize(("written", "means"), ARRIVALS, ids=[a[0] for a in ARRIVALS])
def test_every_kind_of_arrivals_can_be_written_in_a_gate_file(project, written, means):
    spoil(project, GATE, "{poisson: 120/s, seed: 7}", written)
    assert planning.load(project / GATE).arrivals == means


@pytest.mark.parametrize(
    ("written", "corpus"),
    [
        pytest.param("", None, id="the scenario's own"),
        pytest.param("\n  corpus: scenarios/drifted", "drifted", id="another"),
    ],
)
def test_a_corpus_goes_to_the_generator_only_where_the_plan_writes_one(project, written, corpus):
    spoil(project, GATE, "scenario: scenarios/steady.py", f"scenario: scenarios/steady.py{written}")
    assert planning.load(project / GATE).corpus == (corpus and project / "scenarios" / corpus)


def test_a_scenario_keeps_its_own_schedule_where_the_plan_writes_none(project):
    assert planning.load(project / GATE).arrivals == "poisson:120/s:seed=7"
    spoil(project, GATE, "  arrivals: {poisson: 120/s, seed: 7}\n", "")
    assert planning.load(project / GATE).arrivals is None


def test_what_the_load_may_raise_is_allowed_under_it_and_in_no_experiment(project):
    spoil(project, GATE, "for: 42s", "for: 42s\n  may_fire: [MalformedInputAttack]")
    allowed = {check.phase: check.allowed for check in planning.load(project / GATE).checks if check.kind == "quiet"}
    assert allowed["steady"] == {"MalformedInputAttack"} and "MalformedInputAttack" not in allowed["sham"]


def test_a_record_to_replay_lies_beside_the_gate_file(project):
    (project / "access.times").write_text("0\n300\n")
    spoil(project, GATE, "{poisson: 120/s, seed: 7}", "{replay: access.times, speed: 2}")
    assert planning.load(project / GATE).arrivals == f"replay:{project / 'access.times'}:speed=2"


@pytest.mark.parametrize("ending", [".json", ".yml"])
def test_an_experiment_may_have_any_ending_that_chaos_toolkit_reads(project, ending):
    path = project / "experiments/sham.yaml"
    content = yaml.safe_load(path.read_text())
    path.unlink()
    text = json.dumps(content, indent="\t") if ending == ".json" else yaml.safe_dump(content)  # tabs are no YAML
    path.with_suffix(ending).write_text(text)
    assert planning.load(project / GATE).experiments[0].path.suffix == ending
    given = planning.load(project / GATE, experiment_files=[path.with_suffix(ending)])
    assert [e.name for e in given.experiments] == ["sham"]
    shutil.copy(path.with_suffix(ending), path)
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(PlanError, match=rf"experiments\[0\]: sham is both sham.yaml and sham\{ending}; name one as"):
        planning.load(project / GATE)


def test_a_mistake_in_json_has_its_line(project):
    path = project / "experiments/sham.yaml"
    content = yaml.safe_load(path.read_text())
    content["extensions"][0]["expect"]["clients"]["recovered_within"] = 5
    path.unlink()
    lines = json.dumps(content, indent="\t").splitlines()
    path.with_suffix(".json").write_text("\n".join(lines))
    line = next(i for i, text in enumerate(lines, 1) if "recovered_within" in text)
    with pytest.raises(PlanError, match=rf"^experiments/sham.json:{line}: .*recovered_within: must be a duration"):
        planning.load(project / GATE)


def test_every_plan_file_may_be_json(project):
    for file, name in ((GATE, "gate.json"), (SERVICE, "model_server/service.json"), (SLOS, SLOS[:-4] + "json")):
        text = (project / file).read_text().replace("service.yaml", "service.json").replace("slos.yaml", "slos.json")
        (project / name).write_text(json.dumps(yaml.safe_load(text), indent="\t"))
        (project / file).unlink()
    plan = planning.load(project / "gate.json")
    assert plan.service.name == "pneumonia-detector" and len(plan.experiments) == 5


def test_rule_patterns_may_be_absolute_and_deep_and_a_file_named_twice_is_read_once(project):
    folder = project / "model_server/monitoring"
    (folder / "rules/team/more").mkdir(parents=True)
    (folder / "rules/slos.yaml").rename(folder / "rules/team/more/slos.yaml")
    (folder / "again.yaml").symlink_to(folder / "rules/service.yaml")
    before = planning.load(project / GATE, only=["sham"])
    patterns = f"[{folder}/rules/**/*.yaml, monitoring/rules/*.yaml, monitoring/again.yaml, {folder}/rules/**]"
    spoil(project, SERVICE, "[monitoring/rules/*.yaml]", patterns)
    after = planning.load(project / GATE, only=["sham"])
    names = [path.name for path in after.rules]
    assert len(names) == len({*names}) and {*names} == {path.name for path in before.rules} | {"slos.yaml"}


NONE_LIVE = """groups:
- name: g
  rules:
  - {alert: Watchdog, expr: vector(1)}
  - {alert: ServiceDown, expr: time() - last_success > 300, labels: {severity: critical}}
"""


@pytest.mark.parametrize("proof", ["both", "replay"])
def test_a_plan_in_which_nobody_can_be_notified_is_refused_unless_the_replay_is_enough(project, proof):
    for file in (project / "model_server/monitoring/rules").iterdir():
        file.unlink()
    (project / RULES).write_text(NONE_LIVE)
    gpu = "{gpu: [GpuMemoryHigh, GpuThrottled, GpuErrors, GpuApplicationErrors, GpuUnused, NvmlLost]}"
    spoil(project, SERVICE, gpu, "{}")
    spoil(project, GATE, "[sham, server-crash, server-hang, graceful-stop, overload]", "[server-crash]")
    spoil(project, GATE, "    experiments: [sham, server-crash]\n", "")
    crash = yaml.safe_load((project / CRASH).read_text())
    crash["extensions"][0]["expect"]["alerts"] = [
        want | {"proof": proof} for want in crash["extensions"][0]["expect"]["alerts"] if want["alert"] == "ServiceDown"
    ]
    crash["extensions"][0]["expect"]["may_fire"] = []
    (project / CRASH).write_text(yaml.safe_dump(crash))
    plan, tools = planning.load(project / GATE), find()
    if proof == "replay":
        assert "Watchdog" in preflight(plan, tools)[1]
        return
    with pytest.raises(PlanError, match=r"^gate.yaml:2: time_scale: no alert rule has a live copy, .*wall clock"):
        preflight(plan, tools)


def test_what_promtool_and_amtool_reject_comes_with_what_is_wrong_elsewhere(project):
    spoil(project, GATE, "120/s", "120")
    spoil(project, RULES, "expr: vector(1)", "expr: vector(1")
    spoil(project, ROUTES, "group_wait: 10s", "group_wiat: 10s")
    with pytest.raises(PlanError) as error:
        planned(project / GATE)
    text = "\n".join(error.value.problems)
    for part in ("got '120'", "unclosed left parenthesis", "group_wiat"):
        assert part in text


@pytest.mark.skipif(not shutil.which("mkfifo"), reason="there are no named pipes here")
def test_a_template_that_is_a_pipe_is_not_opened(project):
    os.mkfifo(project / "model_server/monitoring/pipe.tmpl")
    (project / ROUTES).write_text((project / ROUTES).read_text() + "\ntemplates: [pipe.tmpl]\n")
    with pytest.raises(PlanError, match=r"templates\[0\]: model_server/monitoring/pipe.tmpl: is a named pipe"):
        preflight(planning.load(project / GATE), find())


STALL = "experiments/loop-stalled.yaml"
FOLDER = "PYTHONPATH: experiments/inside"
WITHOUT = f"start: {{environment: {{{FOLDER}}}}}"
STARTS = {
    "as it is": (FOLDER, FOLDER, ""),
    "two folders": (FOLDER, "PYTHONPATH: 'experiments/inside:scenarios'", ""),
    "anything else": (FOLDER, "MODEL_SERVER_MAX_QUEUE: '8'", ""),
    "a number": (FOLDER, "MODEL_SERVER_MAX_QUEUE: 8", "MODEL_SERVER_MAX_QUEUE: must be text: put it in"),
    "no such folder": (FOLDER, "PYTHONPATH: experiments/insid", "PYTHONPATH: no folder experiments/insid"),
    "a file": (FOLDER, "PYTHONPATH: gate.yaml", "PYTHONPATH: no folder gate.yaml"),
    "a folder that no file system can have": (FOLDER, f"PYTHONPATH: {300 * 'x'}", "PYTHONPATH: no folder xxx"),
    "no name": (FOLDER, "'a b': c", "start.environment.a b"),
    "nothing": (FOLDER, "", "start.environment: dictionary should have at least 1 item"),
    "one of ours": (FOLDER, "HARNESS_RUN: x", "HARNESS_RUN is one that the harness sets itself; drop it"),
    "no list of preparations": ("{environment:", "{prepare: {a: b}, environment:", "start.prepare: must be a list"),
    "a preparation that is none": (
        "{environment:",
        '{prepare: ["x \'"], environment:',
        "start.prepare[0]: cannot be split into arguments",
    ),
    "an empty preparation": ("{environment:", "{prepare: ['  '], environment:", "prepare[0]: must name a program"),
    "what no preparation is given": (
        "{environment:",
        "{prepare: ['x {scrach}'], environment:",
        "unknown placeholder {scrach}; did you mean scratch?",
    ),
    "a preparation": ("{environment:", "{prepare: ['{python} -c 1', 'x {scratch}/x'], environment:", ""),
    "NUL": (FOLDER, 'A: "s3cret\\0"', "start.environment.A: must not hold the character NUL"),
    "an unknown key": ("{environment:", "{enviroment:", "start.enviroment: unknown key; did you mean environment?"),
    "another fault of this kind without it": (
        WITHOUT,
        "",
        "method[0].provider.func: nothing in the service follows it; add to extensions[0].expect start: {environment: ",
    ),
}


@pytest.mark.parametrize(("old", "new", "complaint"), STARTS.values(), ids=STARTS)
def test_how_an_experiment_has_the_service_started(project, old, new, complaint):
    spoil(project, STALL, old, new)
    if not complaint:
        [experiment] = planning.load(project / GATE, experiment_files=[project / STALL]).experiments
        start = experiment.contract.start
        given = {**start.environment, "prepare": list(start.prepare)} if "prepare" in new else start.environment
        assert given.items() >= yaml.safe_load("{" + new.strip("{").removesuffix(", environment:") + "}").items()
        return
    with pytest.raises(PlanError) as said:
        planning.load(project / GATE, experiment_files=[project / STALL])
    [problem] = [p for p in said.value.problems if complaint in p]
    assert problem.startswith("experiments/loop-stalled.yaml:") and "s3cret" not in problem


def test_the_folders_of_a_path_are_those_beside_gate_yaml_wherever_the_harness_runs(project, monkeypatch):
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    spoil(project, STALL, FOLDER, f"PYTHONPATH: 'experiments/inside:{elsewhere}', OTHER: experiments/inside")
    monkeypatch.chdir(elsewhere)
    [experiment] = planning.load(project / GATE, experiment_files=[project / STALL]).experiments
    path = f"{project / 'experiments/inside'}{os.pathsep}{elsewhere}"
    assert experiment.environment == {"PYTHONPATH": path, "OTHER": "experiments/inside"}


def test_what_an_experiment_has_the_service_started_with_is_kept_for_its_judgement(project):
    plan = planning.load(project / GATE, experiment_files=[project / STALL, project / CRASH])
    kept = {check.experiment: check.starts for check in plan.checks if check.kind == "injected"}
    assert kept == {"loop-stalled": True, "server-crash": False}
    folder = project / "run"
    folder.mkdir()
    (folder / "plan.yaml").write_text(stored.dump(plan.resolved()))
    again = stored.stored_checks(folder)[0]
    assert {check.experiment: check.starts for check in again if check.kind == "injected"} == kept


def test_an_experiment_that_asks_for_nothing_adds_nothing(project):
    assert not any(experiment.environment for experiment in planning.load(project / GATE).experiments)


@pytest.fixture
def no_compiler(monkeypatch):
    """A host without a compiler, and a fault of the plan that needs one."""
    monkeypatch.setattr("harness.faults.kill.Kill.needs", ("compiler",))
    lacking = needs.Need("a C compiler", lambda: needs.Found(False, "there is no cc"), "apt-get install gcc")
    monkeypatch.setitem(needs.NEEDS, "compiler", lacking)


def test_an_experiment_that_the_host_lacks_something_for_is_not_applicable_and_does_not_run(project, no_compiler):
    plan = planning.load(project / GATE)
    assert "server-crash" not in [each.name for each in plan.experiments] and plan.experiments
    assert "server-crash" not in {check.experiment for check in plan.checks}
    [found] = plan.not_applicable
    assert found.experiment == "server-crash" and found.reason == "compiler (there is no cc)"
    assert found.remedy == "apt-get install gcc" and "ServiceDown" in found.alerts
    assert plan.resolved()["not_applicable"] == [found._asdict() | {"alerts": list(found.alerts)}]
    [covered] = [check for check in plan.checks if check.kind == "alert_coverage"]
    assert "ServiceDown" not in covered.not_applicable
    assert [alert for alert, _ in covered.not_run] == ["AvailabilityBurn1h"]  # server-hang proves the other


def test_a_required_alert_whose_only_experiment_cannot_run_here_keeps_the_plan_from_passing(project, no_compiler):
    spoil(project, GATE, "[sham, server-crash, server-hang, graceful-stop, overload]", "[sham, server-crash]")
    plan = planning.load(project / GATE)
    [covered] = [check for check in plan.checks if check.kind == "alert_coverage"]
    why = "server-crash cannot run here: this host lacks compiler (there is no cc)"
    assert covered.not_run == (("ServiceDown", why), ("AvailabilityBurn1h", why))
    (project / "plan.yaml").write_text(stored.dump(plan.resolved()))
    assert covered in stored.stored_checks(project)[0]


def test_an_experiment_asked_for_by_name_that_cannot_take_place_is_an_error(project, no_compiler):
    with pytest.raises(PlanError) as error:
        planning.load(project / GATE, only=["server-crash"])
    assert list(error.value.problems) == [
        "server-crash cannot run: this host lacks compiler (there is no cc); apt-get install gcc"
    ]


def test_what_a_fault_itself_refuses_is_said_with_its_line(project):
    file = project / CRASH
    text = re.sub(
        r"func: kill(.*)",
        "func: gpu, arguments: {answers: {nvmlDeviceGetCont_v2: 1}, witness_query: q}}",
        file.read_text(),
    )
    file.write_text(text)
    with pytest.raises(PlanError) as error:
        planning.load(project / GATE)
    assert any("no call nvmlDeviceGetCont_v2; did you mean" in problem for problem in error.value.problems), error.value
