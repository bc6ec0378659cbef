"""Routes: each rule to whoever its severity is for, in the files and in what was notified."""

from handmade import FAIL, PASS, expect, history, notified, table

from harness.alert import Alert
from harness.checks import Routes
from harness.checks.view import Finding, RuleFact, View
from harness.history import History
from harness.verdict import Verdict

TABLE = (("critical", ("pagerduty",)), ("low", ("default", "audit")), ("none", ()))
ASTRAY = Finding("rules.yaml:7", "Down, of severity critical, goes to default", "mend the route")
ROUTES = Routes("severities", 3, (), TABLE, ("Watchdog",))
INHIBITIONS = Routes("inhibitions", 2)
SENT = [
    notified(1, "pagerduty", "firing", "Down", severity="critical"),
    notified(1, "audit", "firing", "Slow", severity="low"),
    notified(1, "null", "firing", "Watchdog", severity="critical"),
    notified(2, "pagerduty", "resolved", "Down"),
]
CASES = [
    ("all go where they should", ROUTES, history(notifications=SENT), PASS, "all of 3 rules go where"),
    (
        "a rule goes astray",
        Routes("severities", 3, (ASTRAY,), TABLE),
        history(),
        FAIL,
        "1 finding among 3 rules, bound 0: rules.yaml:7: Down, of severity critical, goes to default",
    ),
    (
        "the run shows another receiver than the files",
        ROUTES,
        history(notifications=[notified(1, "default", "firing", "Down", severity="critical")]),
        FAIL,
        "Down, of severity critical, was notified to default in the run, 1 time, where monitoring.severities says pag",
    ),
    (
        "the run shows a severity that nobody named",
        ROUTES,
        history(notifications=[notified(1, "default", "firing", "Down", severity="critcal")]),
        FAIL,
        "Down, of severity critcal, was notified to default in the run",
    ),
    ("nothing is silenced", INHIBITIONS, history(), PASS, "2 inhibitions: none would silence"),
    (
        "something is silenced",
        Routes("inhibitions", 2, (ASTRAY, ASTRAY)),
        history(),
        FAIL,
        "2 findings among 2 inhibitions",
    ),
    (
        "many of one kind hide no other",
        Routes(
            "severities", 30, (*(8 * (ASTRAY,)), Finding("r.yaml:9", "Odd has severity urgent", "change it"), ASTRAY)
        ),
        history(),
        FAIL,
        "10 findings among 30 rules, bound 0: rules.yaml:7: Down, of severity critical, goes to default; "
        "r.yaml:9: Odd has severity urgent; rules.yaml:7: Down",
    ),
    ("no run", ROUTES, History(), Verdict.INCONCLUSIVE, "does not say the run's time_scale"),
]


@table(CASES)
def test_routes(check, record, verdict, says):
    result = expect(check, record, verdict, says)
    if verdict is FAIL and "in the run" in result.reason:
        assert [(r.kind, r.key) for r in result.evidence] == [("notification", "default")]
    if "rules.yaml:7" in result.reason:
        assert result.place == "rules.yaml:7" and result.remedy == "mend the route"


def test_each_side_is_judged_where_there_is_one():
    rule = RuleFact(Alert("Down"), "critical", "rules.yaml:7")
    assert Routes.from_plan(None, View(rules=(rule,))) == ()
    sides = [c.side for c in Routes.from_plan(None, View(rules=(rule,), severities=TABLE, inhibitions=2))]
    assert sides == ["severities", "inhibitions"]
