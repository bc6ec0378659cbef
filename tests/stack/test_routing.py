"""Where a configuration leads an alert, held against amtool; what it says of receivers; and its mistakes by line."""

import json
import subprocess
from pathlib import Path

import pytest

from harness.stack import tools
from harness.stack.matchers import go_regex, parse
from harness.stack.routing import Route, read

RECEIVERS = "\nreceivers: [" + ", ".join(f"{{name: {name}}}" for name in ("top", *"abcdefgh")) + "]\n"


def routing(folder: Path, text: str, name: str = "alertmanager.yaml"):
    """A configuration as it is read, and the complaints about it without the folder's name."""
    (folder / name).write_text(text)
    problems: list[str] = []
    found = read(folder / name, problems)
    return found, [problem.replace(f"{folder}/", "") for problem in problems]


def by_amtool(file: Path, labels: dict[str, str]) -> list[str]:
    pairs = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items()]
    argv = [tools.find().amtool, "config", "routes", "test", f"--config.file={file}", *pairs]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return [name for line in done.stdout.splitlines() for name in line.split(",") if name]


WORDS = ("PROD", "Stage", "pro", "aB", "ab", "AB", "aC", "C", "c", "12", "1", "٣٣", "a.b", "a.bb", "a.b-3", "axb")
WORDS += ("z{,2}", "zz", "uu", "qxr", "s", "w1", "1y", "yw")
SCALARS = ("010", "8", "yes", "true", "1.10", "1.1", "2020-01-01", "1:30", "90", "~", "0x1F", "31", ".inf", "1_000")
KINDS = ("webhook", "email", "pagerduty", "slack", "opsgenie", "wechat", "victorops", "pushover", "sns", "telegram")
KINDS += ("discord", "webex", "msteams")
TREES = {
    "equality, regexes and a missing label": (
        """
route:
  receiver: top
  routes:
  - {receiver: a, match: {severity: page}}
  - {receiver: b, match_re: {severity: "tick|info"}}
  - {receiver: c, matchers: [owner = "", x != "1"]}
  - {receiver: d, matchers: ['owner!~"ml|.*ops"']}
""",
        [
            {"severity": "page"}, {"severity": "pager"}, {"severity": "tick"}, {"severity": "ticket", "x": "1"},
            {"x": "1"}, {"owner": "ml"}, {"owner": "devops"}, {"owner": "opsdev"}, {},
        ],
    ),
    "nested, some going on": (
        """
route:
  receiver: top
  routes:
  - receiver: a
    match: {team: x}
    continue: true
    routes:
    - {receiver: b, match: {severity: page}, continue: yes}
    - {match: {severity: page, env: prod}}
  - {receiver: c, match: {team: x, env: prod}}
  - {receiver: d, match: {team: x}}
""",
        [
            {"team": "x"}, {"team": "x", "severity": "page"}, {"team": "x", "severity": "page", "env": "prod"},
            {"team": "y"}, {"team": "x", "env": "prod"},
        ],
    ),
    "every way to write matchers": (
        r"""
route:
  receiver: top
  routes:
  - {receiver: a, matchers: ['{x="1", y=~"a|b,c"}']}
  - {receiver: b, matchers: ['x=2,y="say \"hi\"\n"']}
  - {receiver: c, matchers: [' x = two words ', 'y=~.+']}
  - {receiver: d, matchers: ["x='4'"]}
  - {receiver: e, matchers: ['x=~"a\\.b"', 'y=']}
  - {receiver: f, matchers: ['x="C:\dir"', "y!~'x'"]}
  - {receiver: g, matchers: ['x="7",']}
""",
        [
            {"x": "1", "y": "b,c"}, {"x": "1", "y": "b"}, {"x": "2", "y": 'say "hi"\n'}, {"x": "two words", "y": "z"},
            {"x": "two words"}, {"x": "'4'"}, {"x": "4"}, {"x": "a.b"}, {"x": "axb"}, {"x": "a.b", "y": "1"},
            {"x": "C:\\dir"}, {"x": "7"},
        ],
    ),
    "regexes of Go's": (
        r"""
route:
  receiver: top
  routes:
  - {receiver: a, match_re: {x: "(?i)prod|STAGE"}}
  - {receiver: b, match_re: {x: 'a(?i)b|c'}}
  - {receiver: c, match_re: {x: '[[:digit:]]{2,}\z'}}
  - {receiver: d, match_re: {x: '\Qa.b\E+(?P<n>-\d)?'}}
  - {receiver: e, match_re: {x: 'z{,2}'}}
  - {receiver: f, match_re: {x: '(?:(?-s)line.two)|(?U)u+'}}
  - {receiver: g, match_re: {x: 'q.r|s$'}}
  - {receiver: h, matchers: ['x=~"w)|(y"']}
""",
        [
            {"x": text}
            for text in WORDS
        ] + [{"x": "line\ntwo"}, {"x": "s\n"}, {"x": "q\nr"}],
    ),
    "scalars stay the text they are": (
        """
route:
  receiver: top
  routes:
  - {receiver: a, match: {x: 010}}
  - {receiver: b, match: {x: yes}}
  - {receiver: c, match: {x: 1.10}}
  - {receiver: d, match: {x: 2020-01-01}}
  - {receiver: e, match: {x: 1:30}}
  - {receiver: f, match: {x: ~, y: "1"}}
  - {receiver: g, match: {x: 0x1F}}
  - {receiver: h, match_re: {x: .inf|1_000}}
""",
        [{"x": text} for text in SCALARS]
        + [{"y": "1"}, {"y": "1", "x": "~"}],
    ),
    "aliases and merge keys, the last of two wins and matches add up": (
        """
route:
  receiver: top
  routes:
  - &base {match: {x: "1"}, receiver: a, continue: true}
  - {<<: *base, match: {y: "2"}, receiver: b}
  - {match: {z: "3"}, receiver: c, <<: *base}
  - {<<: [*base, {receiver: d, match: {w: "4"}}]}
  - *base
""",
        [
            {"x": "1"}, {"y": "2"}, {"x": "1", "y": "2"}, {"z": "3"}, {"x": "1", "z": "3"}, {"x": "1", "w": "4"},
            {"w": "4"},
        ],
    ),
    "what is left out": (
        """
route: {receiver: top, matchers: [], match: , routes: [{match: , receiver: a, group_by: [], group_wait: , routes: }]}
""",
        [{}, {"x": "1"}],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tree", "alerts"), TREES.values(), ids=TREES)
def test_an_alert_takes_the_routes_that_amtool_finds(tmp_path, tree, alerts):
    found, problems = routing(tmp_path, tree + RECEIVERS)
    assert not problems
    for labels in alerts:
        ours = [route.receiver for route in found.routes(labels)]
        assert ours == by_amtool(tmp_path / "alertmanager.yaml", labels), labels


def test_a_route_inherits_what_it_does_not_set(tmp_path):
    found, problems = routing(
        tmp_path,
        """
route:
  receiver: top
  group_by: [alertname]
  group_interval: 1w
  routes:
  - match: {x: "1"}
    group_by: ['...']
    group_wait: 0
    mute_time_intervals: [nights]
    routes:
    - {receiver: a, match: {y: "1"}, group_by: [], repeat_interval: 1y1h30m, active_time_intervals: [office]}
"""
        + RECEIVERS,
    )
    assert not problems
    week = 7 * 86400.0
    [top] = found.routes({})
    assert top == Route("top", ("alertname",), 30, week, 14400, place=top.place)
    [middle] = found.routes({"x": "1"})
    assert (middle.receiver, middle.group_by, middle.group_wait_s, middle.group_interval_s) == (
        "top",
        ("...",),
        0,
        week,
    )
    assert (middle.mute_intervals, middle.active_intervals) == (("nights",), ())
    [inner] = found.routes({"x": "1", "y": "1"})
    assert (inner.receiver, inner.group_by, inner.group_wait_s) == ("a", ("...",), 0)
    assert inner.repeat_interval_s == 365 * 86400 + 5400
    assert (inner.mute_intervals, inner.active_intervals) == ((), ("office",)), "not inherited"
    assert inner.place.endswith("alertmanager.yaml:12")
    assert [route.receiver for route in found.all_routes()] == ["top", "top", "a"]


def test_the_defaults_are_alertmanagers(tmp_path):
    found, _ = routing(tmp_path, "route: {receiver: top}" + RECEIVERS)
    [route] = found.routes({})
    assert (route.group_wait_s, route.group_interval_s, route.repeat_interval_s, route.group_by) == (30, 300, 14400, ())


def test_integrations_are_named_as_notifications_name_them_with_each_kinds_own_default(tmp_path):
    settings = "".join(f"  {kind}_configs: [{{}}]\n" for kind in KINDS)
    found, problems = routing(
        tmp_path,
        f"""
route: {{receiver: all}}
receivers:
- name: all
{settings}
- name: two
  slack_configs:
  - {{send_resolved: true}}
  - {{send_resolved: "yes"}}
  - {{}}
  webhook_configs:
  - {{send_resolved: off}}
- {{name: nobody, email_configs: }}
""",
    )
    assert not problems
    silent = {"email", "slack", "wechat"}
    assert [(i.name, i.kind, i.send_resolved) for i in found.integrations("all")] == [
        (kind, kind, kind not in silent) for kind in KINDS
    ]
    assert [(i.name, i.send_resolved) for i in found.integrations("two")] == [
        ("slack[0]", True), ("slack[1]", True), ("slack[2]", False), ("webhook", False),
    ]  # fmt: skip
    assert found.integrations("two")[1].place.endswith("alertmanager.yaml:22")
    assert found.integrations("nobody") == found.integrations("unheard of") == ()


def test_who_inhibits_whom(tmp_path):
    found, _ = routing(
        tmp_path,
        "route: {receiver: top}\n"
        "inhibit_rules:\n"
        "- {source_matchers: [severity=critical], target_match_re: {severity: critical|low}, equal: [cluster, zone]}\n"
        + RECEIVERS,
    )
    [rule] = found.inhibitions
    critical, low = {"severity": "critical", "cluster": "c"}, {"severity": "low", "cluster": "c", "zone": ""}
    assert rule.place.endswith("alertmanager.yaml:3")
    assert rule.inhibits(critical, low)
    assert not rule.inhibits(critical, low | {"zone": "z"})
    assert not rule.inhibits(low, critical)
    assert not rule.inhibits(critical, critical), "an alert of both sides inhibits no other of both"


def test_matchers_since_0_27():
    one, two = parse('{"größe.x"="a\\tb", foo🙂=~bar}')
    assert (one.label, one.operator, one.value) == ("größe.x", "=", "a\tb") and two.matches({"foo🙂": "bar"})
    assert parse("x=[y]") == parse('x="[y]"'), "what the older grammar takes is read by it"


REGEXES = {
    r"\pL": "Unicode",
    "(": "unterminated",
    "[[:foo:]]": "no such class",
    "x[a": "missing closing",
    "a**": "multiple repeat",
}


@pytest.mark.parametrize("text", REGEXES)
def test_a_regex_that_cannot_be_read_says_so(text):
    with pytest.raises(ValueError, match=REGEXES[text]):
        go_regex(text)


WRONG = {
    "a key twice": (
        """
route:
  receiver: top
  routes:
  - {receiver: a, receiver: b}
""",
        ["alertmanager.yaml:5: receiver: written twice (first on line 5)"],
    ),
    "forms and values": (
        """
route:
  receiver: tpo
  group_wait: soon
  group_by: alertname
  routes:
  - {receiver: a, group_interval: 999999999y, matchers: ['a b', 'x=~"("']}
  - {match: [x]}
inhibit_rules: {}
""",
        [
            "alertmanager.yaml:3: route.receiver: there is no receiver 'tpo'; did you mean top?",
            'alertmanager.yaml:4: route.group_wait: not a Prometheus duration: "soon"',
            "alertmanager.yaml:5: route.group_by: must be a list",
            "alertmanager.yaml:7: route.routes[0].group_interval: longer than Prometheus can count (292 years): "
            '"999999999y"',
            "alertmanager.yaml:7: route.routes[0].matchers[0]: not a matcher, like severity=\"critical\": 'a b'",
            "alertmanager.yaml:7: route.routes[0].matchers[1]: not a regular expression that can be read here: '(': "
            "missing ), unterminated subpattern",
            "alertmanager.yaml:8: route.routes[1].match: must be a mapping",
            "alertmanager.yaml:9: inhibit_rules: must be a list",
        ],
    ),
    "an alias that never ends": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        [
            "alertmanager.yaml:6: cannot be read: it holds more than 100,000 values, each alias counted as all that it "
            "stands for"
        ],
    ),
    "a part that holds itself": (
        "route: &r {receiver: top, routes: [*r]}",
        ["alertmanager.yaml:1: cannot be read: a part of it holds itself by an alias"],
    ),
    "too deep": (
        "route: " + "[" * 5000,
        ["alertmanager.yaml:1: cannot be read: lists and mappings are more than 100 deep in each other"],
    ),
    "an unclosed quote": (
        'route:\n  receiver: "top\n',
        ["alertmanager.yaml:2: not YAML: found unexpected end of stream while scanning a quoted scalar"],
    ),
    "nothing": ("# nothing\n", ["alertmanager.yaml:1: route: is missing, so no alert would reach anybody"]),
    "no route": ("receivers: []", ["alertmanager.yaml:1: route: is missing, so no alert would reach anybody"]),
    "a list": ("- route", ["alertmanager.yaml:1: the file: must be a mapping"]),
    "no character": (
        'route: "\\UFFFFFFFF"',
        ["alertmanager.yaml:1: not YAML: found invalid Unicode character escape code"],
    ),
}


@pytest.mark.parametrize(("text", "complaints"), WRONG.values(), ids=WRONG)
def test_mistakes_are_named_with_their_lines(tmp_path, text, complaints):
    found, problems = routing(tmp_path, text + (RECEIVERS if "top" in text or "tpo" in text else ""))
    assert found is None
    assert problems[: len(complaints)] == complaints


def test_a_file_that_is_none_is_a_complaint(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name, why in {"absent": "no such file", ".": "is a folder", "bytes": "not UTF-8"}.items():
        problems = []
        assert read(tmp_path / name, problems) is None and len(problems) == 1 and why in problems[0]
    problems = []
    assert read(Path("/dev/zero"), problems) is None and "is a device" in problems[0]


FORMS = {
    "JSON with tabs": '{"route":\t{"receiver": "a"},\n\t"receivers": [{"name": "a"}]}',
    "a byte order mark": "\ufeffroute: {receiver: a}\nreceivers: [{name: a}]\n",
    "only the first document counts": "route: {receiver: a}\nreceivers: [{name: a}]\n---\nroute: []\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_what_alertmanager_takes_is_read(tmp_path, text):
    found, problems = routing(tmp_path, text)
    assert not problems and [route.receiver for route in found.routes({})] == ["a"]
    assert by_amtool(tmp_path / "alertmanager.yaml", {"x": "1"}) == ["a"]
