"""The redirected Alertmanager configuration: what changes, what must not, and what cannot be redirected."""

import copy
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.errors import PlanError, ToolMissing
from harness.stack import routing, tools
from harness.stack.alertmanager import ALERTS_TEMPLATE, command, escaping, failures, redirect, scaled
from harness.stack.amtool import known
from harness.stack.messages import ALERTS_FIELD
from harness.stack.yamltext import dump, read

PRODUCTION = yaml.safe_load(
    """
global:
  resolve_timeout: 3m
  http_config: {proxy_url: 'http://proxy.example.org:3128'}
  slack_api_url_file: /run/secrets/slack
  pagerduty_url: https://events.eu.pagerduty.com/v2/enqueue
  smtp_smarthost: mail.example.org:587
  smtp_from: alertmanager@example.org
  smtp_hello: example.org
  smtp_auth_username: alertmanager
  smtp_auth_password_file: /run/secrets/smtp
route:
  receiver: default
  group_by: [alertname, cluster, service]
  group_wait: 10s
  routes:
  - receiver: on call/primary
    matchers: [severity="critical", 'note=~"a,b.*"']
    group_interval: 1m30s
    continue: true
    routes:
    - {receiver: team, match: {owner: ml}, repeat_interval: 1h, mute_time_intervals: [nights]}
  - {receiver: nobody, match_re: {severity: info|none}}
time_intervals:
- name: nights
  time_intervals: [{times: [{start_time: '22:00', end_time: '24:00'}]}]
inhibit_rules:
- source_matchers: [alertname="ServiceDown"]
  target_matchers: [severity=~"high|medium"]
  equal: [cluster, service]
receivers:
- name: default
  webhook_configs:
  - url: https://example.org/hook
    send_resolved: false
    http_config: {authorization: {credentials_file: /run/secrets/hook}}
  email_configs:
  - {to: ml@example.org, from: x@example.org, smarthost: 'other.example.org:25', require_tls: true,
     auth_password: secret, tls_config: {insecure_skip_verify: true}, send_resolved: true,
     headers: {Subject: '{{ .Status }}', x-receiver: us}}
- name: on call/primary
  pagerduty_configs:
  - {routing_key_file: /run/secrets/pagerduty, url: 'https://events.pagerduty.com/v2/enqueue',
     severity: '{{ .CommonLabels.severity }}', client_url: 'https://wiki.example.org/oncall',
     links: [{href: 'https://wiki.example.org', text: runbook}],
     details: {firing: '{{ len .Alerts }}', cluster: ml}}
- name: team
  slack_configs:
  - {api_url: 'https://hooks.slack.com/services/T/B/secret', channel: '#ml', title: 'see https://wiki.example.org',
     title_link: 'https://wiki.example.org', http_config: {proxy_url: 'http://proxy.example.org'},
     actions: [{type: button, text: runbook, url: 'https://wiki.example.org'}]}
  - {channel: '#other', callback_id: ours, text: "{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}"}
- name: nobody
templates: [templates/*.tmpl]
"""
)


def copied(config=PRODUCTION, time_scale=60, **more):
    return redirect(config, http_port=8123, smtp_port=2525, time_scale=time_scale, **more)


def redirected(config=PRODUCTION, time_scale=60, **more):
    return copied(config, time_scale, **more).config


def check_config(amtool: str, path: Path) -> list[str]:
    return known(amtool, path).problems


def receiver(config, name):
    return next(r for r in config["receivers"] if r["name"] == name)


def addresses(value):
    """Every string anywhere in a configuration that looks like an address of another machine."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [found for part in value for found in addresses(part)]
    return re.findall(r"\w+://(?!127\.0\.0\.1:)\S+|\b[\w.-]+\.example\.org:\d+", str(value))


def test_no_address_is_left_but_those_a_reader_is_shown():
    assert len(addresses(PRODUCTION)) == 13  # the walk sees them
    left = addresses(redirected())
    assert set(left) == {"https://wiki.example.org", "https://wiki.example.org/oncall"} and len(left) == 5
    assert list(escaping(redirected())) == []


def test_no_secret_is_left():
    text = json.dumps(redirected())
    assert "secret" in json.dumps(PRODUCTION) and "secret" not in text
    assert "_file" not in text and "auth_" not in text and "http_config" not in text and "tls_config" not in text


def test_each_receiver_has_a_path_of_its_own_for_each_kind():
    result = redirected()
    assert receiver(result, "default")["webhook_configs"][0]["url"] == "http://127.0.0.1:8123/webhook/default"
    [page] = receiver(result, "on call/primary")["pagerduty_configs"]
    assert page["url"] == "http://127.0.0.1:8123/pagerduty/on~20call~2Fprimary"
    assert [s["api_url"] for s in receiver(result, "team")["slack_configs"]] == [
        "http://127.0.0.1:8123/slack~5B0~5D/team",
        "http://127.0.0.1:8123/slack~5B1~5D/team",
    ]
    [mail] = receiver(result, "default")["email_configs"]
    assert (mail["smarthost"], mail["require_tls"]) == ("127.0.0.1:2525", False)
    assert mail["headers"]["X-Harness-Receiver"] == "email/default" and mail["headers"]["x-receiver"] == "us"
    assert receiver(result, "nobody") == {"name": "nobody"}


def test_routing_inhibition_and_texts_stay_as_they_are():
    def without_times(route):
        others = ("group_wait", "group_interval", "repeat_interval", "mute_time_intervals", "active_time_intervals")
        kept = {k: v for k, v in route.items() if k not in others}
        return kept | {"routes": [without_times(r) for r in route["routes"]]} if "routes" in route else kept

    result = redirected()
    assert without_times(result["route"]) == without_times(PRODUCTION["route"])
    for key in ("inhibit_rules", "time_intervals", "templates"):
        assert result[key] == PRODUCTION[key]
    assert [r["name"] for r in result["receivers"]] == [r["name"] for r in PRODUCTION["receivers"]]
    same = {
        ("default", "webhook_configs"): ("send_resolved",),
        ("default", "email_configs"): ("to", "from", "send_resolved"),
        ("on call/primary", "pagerduty_configs"): ("severity", "client_url", "links"),
        ("team", "slack_configs"): ("channel", "title", "text", "title_link", "actions"),
    }
    for (name, kind), keys in same.items():
        for was, now in zip(receiver(PRODUCTION, name)[kind], receiver(result, name)[kind], strict=True):
            assert {k: now.get(k) for k in keys} == {k: was.get(k) for k in keys}
    assert receiver(result, "default")["email_configs"][0]["headers"]["Subject"] == "{{ .Status }}"
    details = receiver(result, "on call/primary")["pagerduty_configs"][0]["details"]
    assert (details["firing"], details["cluster"]) == ("{{ len .Alerts }}", "ml")
    assert receiver(result, "team")["slack_configs"][1]["callback_id"] == "ours"


def test_group_times_are_divided_on_every_level_and_the_defaults_made_explicit():
    route = redirected()["route"]
    assert (route["group_wait"], route["group_interval"], route["repeat_interval"]) == ("167ms", "5000ms", "240000ms")
    first, second = route["routes"]
    assert first["group_interval"] == "1500ms" and "group_wait" not in first, "children inherit"
    assert first["routes"][0]["repeat_interval"] == "60000ms"
    assert "group_interval" not in second


def test_what_it_is_given_stays_untouched():
    before = copy.deepcopy(PRODUCTION)
    redirected()
    assert before == PRODUCTION


def test_routes_notify_at_any_hour_and_it_is_said():
    made = copied(name="am.yaml")
    inner = made.config["route"]["routes"][0]["routes"][0]
    assert "mute_time_intervals" not in inner and inner["receiver"] == "team"
    assert [line for line in made.remarks if "nights" in line] == [
        "am.yaml: route.routes[0].routes[0].mute_time_intervals: nights: the run notifies at any hour, "
        "so what the interval withholds is not tried"
    ]


def test_every_kind_of_receiver_has_a_sink_and_what_nobody_validates_is_said():
    settings = {f"{kind}_configs": [{}] for kind in ("opsgenie", "victorops", "wechat", "telegram", "webex", "discord")}
    settings |= {f"{kind}_configs": [{"send_resolved": "false"}] for kind in ("pushover", "some2028")}
    settings |= {"rocketchat_configs": [{}], "sns_configs": [{}], "webhook_configs": [{"url": "https://example.org"}]}
    made = copied({"route": {"receiver": "a"}, "receivers": [{"name": "a"} | settings]})
    [result] = made.config["receivers"]
    assert "pushover_configs" not in result and list(escaping(made.config)) == []
    assert [(h["url"].rsplit("/", 2)[1], h.get("send_resolved")) for h in result["webhook_configs"]] == [
        ("webhook", None), ("pushover", False), ("some2028", False), ("rocketchat", False),
    ]  # fmt: skip
    assert result["discord_configs"] == [
        {
            "webhook_url": "http://127.0.0.1:8123/discord/a",
            "message": ALERTS_TEMPLATE + '\n{{ template "discord.default.message" . }}',
        }
    ]
    for kind in settings:
        said = [line for line in made.remarks if f": {kind.removesuffix('_configs')}: " in line]
        assert len(said) == (kind != "webhook_configs"), kind
    assert made.names["a", "webhook[2]"] == "some2028" and made.names["a", "webhook[0]"] == "webhook"


def test_events_v1_is_sent_as_v2_and_is_not_held_against_what_only_v2_takes():
    receiver = {"name": "old", "pagerduty_configs": [{"service_key": "k", "severity": "page", "description": "d"}]}
    made = copied({"route": {"receiver": "old"}, "receivers": [receiver]})
    [page] = made.config["receivers"][0]["pagerduty_configs"]
    assert "service_key" not in page and "severity" not in page and page["description"] == "d"
    assert len(page["routing_key"]) == 32
    [said] = made.remarks
    assert "('old'): pagerduty: the run sends Events v2 for its service_key" in said


def test_the_mark_is_where_no_setting_of_the_users_can_be():
    settings = {
        "pagerduty_configs": [{"routing_key": "k", "details": {ALERTS_FIELD: "mine", "cluster": "ml"}}],
        "slack_configs": [{"callback_id": "ours", "fields": [{"title": ALERTS_FIELD, "value": "mine"}]}],
        "email_configs": [{"to": "a@example.org", "headers": {ALERTS_FIELD.lower(): "mine"}}],
    }
    [made] = copied({"route": {"receiver": "a"}, "receivers": [{"name": "a"} | settings]}).config["receivers"]
    assert made["pagerduty_configs"][0]["details"] == {ALERTS_FIELD: ALERTS_TEMPLATE, "cluster": "ml"}
    assert [f["value"] for f in made["slack_configs"][0]["fields"]] == ["mine", ALERTS_TEMPLATE]
    headers = made["email_configs"][0]["headers"]
    assert {k: v for k, v in headers.items() if k.lower() == ALERTS_FIELD.lower()} == {ALERTS_FIELD: ALERTS_TEMPLATE}


SCALARS = """
global: {smtp_smarthost: "h:25", smtp_from: a@b, http_config: {follow_redirects: yes}}
route:
  receiver: 010
  group_by: [alertname, "on", off]
  routes:
  - {receiver: yes, match: {site: 010, on: off, empty: ~, quoted: "~"}}
  - {receiver: '010', matchers: [a = 1:30], match_re: {day: 2020-01-01, tag: !!str 12, b: !!binary YWJj}}
  - {receiver: 1_000, match: {x: "a \u00e9", y: 'it''s', z: "a: b # c"}, continue: True}
receivers:
- {name: 010, slack_configs: &chat [{api_url: 'https://h/x', channel: 010, send_resolved: yes, short_fields: on}]}
- name: yes
  slack_configs: *chat
  email_configs:
  - to: 1e3
    require_tls: no
    text: |
      lines
        indented: "kept"

      {{ range .Alerts }}
    headers:
      Subject: >-
        folded
        text
- {name: 1_000, webhook_configs: [{url: "https://example.org/x", max_alerts: 0x10}]}
"""


def test_scalars_stay_the_text_they_were_and_aliases_are_parts_of_their_own(amtool, tmp_path):
    (tmp_path / "production.yaml").write_text(SCALARS)
    original = read(tmp_path / "production.yaml")
    (tmp_path / "again.yaml").write_text(dump(original))
    assert read(tmp_path / "again.yaml") == original
    assert check_config(amtool, tmp_path / "production.yaml") == []
    made = redirected(original)
    (tmp_path / "copy.yaml").write_text(dump(made))
    assert read(tmp_path / "copy.yaml")["route"]["routes"] == original["route"]["routes"]
    assert check_config(amtool, tmp_path / "copy.yaml") == []
    first, second, _ = made["receivers"]
    assert first["slack_configs"][0]["api_url"].endswith("/slack/010")
    assert second["slack_configs"][0]["api_url"].endswith("/slack/yes")
    assert (first["slack_configs"][0]["channel"], second["email_configs"][0]["to"]) == ("010", "1e3")
    assert second["email_configs"][0]["headers"]["Subject"] == "folded text"
    assert "      lines\n".strip() in second["email_configs"][0]["text"]
    alerts = [
        {"site": "010", "on": "off", "quoted": "~"},
        {"a": "1:30", "day": "2020-01-01", "tag": "12", "b": "abc"},
        {"x": "a é", "y": "it's", "z": "a: b # c"},
        {"site": "8"},
    ]
    expected = [["yes"], ["010"], ["1_000"], ["010"]]
    for name in ("production.yaml", "copy.yaml"):
        assert [receivers_for(amtool, tmp_path / name, labels) for labels in alerts] == expected


def test_an_aliased_route_is_scaled_once(tmp_path):
    (tmp_path / "am.yaml").write_text(
        "route: {receiver: a, routes: [&r {receiver: a, group_wait: 1w, match: {x: '1'}}, *r, {<<: *r, receiver: a}]}\n"
        "receivers: [{name: a}]\n"
    )
    routes = redirected(read(tmp_path / "am.yaml"))["route"]["routes"]
    assert [route["group_wait"] for route in routes] == ["10080000ms"] * 3


def test_template_paths_stay_where_they_were(tmp_path):
    assert redirected(folder=tmp_path)["templates"] == [str(tmp_path / "templates/*.tmpl")]
    absolute = PRODUCTION | {"templates": ["/etc/t.tmpl"]}
    assert redirected(absolute, folder=tmp_path)["templates"] == ["/etc/t.tmpl"]


DURATIONS = {
    "seconds": ("10s", 60, "167ms"),
    "compound": ("1h30m", 60, "90000ms"),
    "milliseconds": ("500ms", 10, "50ms"),
    "never rounded to nothing": ("10ms", 60, "1ms"),
    "nothing stays nothing": ("0s", 60, "0ms"),
    "a bare nothing": (0, 60, "0ms"),
    "weeks": ("1w", 60, "10080000ms"),
    "uncompressed": ("4h", 1, "14400000ms"),
}


@pytest.mark.parametrize(("duration", "time_scale", "result"), DURATIONS.values(), ids=DURATIONS)
def test_durations(duration, time_scale, result):
    assert scaled(duration, time_scale) == result


def test_everything_that_cannot_be_redirected_is_named_at_once():
    config = copy.deepcopy(PRODUCTION)
    config["route"]["group_wait"] = "10 s"
    config["route"]["routes"][1]["group_interval"] = "soon"
    config["receivers"] += [
        {"name": "new", "slack_configs": [{"channel": "c", "some_future_url": "https://u:pw@slack.com/api/TOKEN"}]},
        {"name": "empty", "victorops_configs": []},
    ]
    with pytest.raises(PlanError) as error:
        redirected(config, name="am.yaml")
    assert error.value.problems == (
        'am.yaml: route.group_wait: not a Prometheus duration: "10 s"',
        'am.yaml: route.routes[1].group_interval: not a Prometheus duration: "soon"',
        "am.yaml: receivers[4].slack_configs[0].some_future_url: would still leave this machine: "
        "https://<secret>@slack.com/<secret>",
    )


def test_a_configuration_without_routes_is_an_error():
    with pytest.raises(PlanError, match="route: missing"):
        redirected({"receivers": []})


# What the real programs make of it


@pytest.fixture
def amtool():
    return tools.find().amtool


def written(folder: Path, config) -> Path:
    (folder / "alertmanager.yaml").write_text(dump(config))
    return folder / "alertmanager.yaml"


def test_amtool_takes_the_redirected_configuration(amtool, tmp_path):
    assert check_config(amtool, written(tmp_path, redirected())) == []


REJECTED = {
    "a receiver that does not exist": (lambda c: c["route"].update(receiver="nobdy"), 'undefined receiver "nobdy"'),
    "a duration that is none": (lambda c: c["route"].update(group_interval="0s"), "group_interval cannot be zero"),
    "an unknown key": (lambda c: c.update(rotue={}), r"alertmanager.yaml:\d+: field rotue not found"),
}


@pytest.mark.parametrize(("break_it", "why"), REJECTED.values(), ids=REJECTED)
def test_amtool_rejects(amtool, tmp_path, break_it, why):
    config = redirected()
    break_it(config)
    problems = check_config(amtool, written(tmp_path, config))
    assert re.search(why, " ".join(problems)) and all(p.startswith(str(tmp_path)) for p in problems)


def test_amtool_rejects_a_broken_template_and_a_missing_file(amtool, tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.tmpl").write_text('{{ define "a" }}{{ nonsense }}{{ end }}')
    assert "nonsense" in check_config(amtool, written(tmp_path, redirected(folder=tmp_path)))[0]
    with pytest.raises(PlanError, match=r"no\.yaml: no such file"):
        check_config(amtool, tmp_path / "no.yaml")


ROUTED = {
    "the first route": ({"severity": "critical", "note": "a,b c"}, ["on call/primary"]),
    "a child of it": ({"severity": "critical", "note": "a,b", "owner": "ml"}, ["team"]),
    "no route": ({"severity": "high"}, ["default"]),
    "values that need escaping": ({"severity": 'a "b" \\ c\n{d}'}, ["default"]),
}


def receivers_for(amtool, path, labels):
    """The receivers that amtool finds for an alert with these labels, in order of the tree."""
    pairs = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items()]
    argv = [amtool, "config", "routes", "test", f"--config.file={path}", *pairs]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return [name for line in done.stdout.splitlines() for name in line.split(",") if name]


@pytest.mark.parametrize(("labels", "receivers"), ROUTED.values(), ids=ROUTED)
def test_routes_lead_where_production_leads(amtool, tmp_path, labels, receivers):
    assert receivers_for(amtool, written(tmp_path, redirected()), labels) == receivers


def test_a_route_that_continues_gives_every_receiver(amtool, tmp_path):
    config = {
        "route": {
            "receiver": "a",
            "routes": [
                {"receiver": "b", "matchers": ['x="1"'], "continue": True},
                {"receiver": "c", "match": {"x": "1"}},
            ],
        },
        "receivers": [{"name": name} for name in "abc"],
    }
    assert receivers_for(amtool, written(tmp_path, config), {"x": "1"}) == ["b", "c"]


NEWER = """
global: {telegram_bot_token: abc, jira_api_url: "https://jira.example.org"}
route:
  receiver: a
  labels: {team: ml}
  routes: [{receiver: nobdy}]
receivers:
- name: a
  webhook_configs:
  - {url_file: /x, timeout: 3s, http_config: {http_headers: {X-Key: {secrets: [s]}}}}
  - url: "https://example.org/x"
    chanel: "#x"
  telegram_configs: [{chat_id: 1}]
  slack_configs: [{app_token: xoxb, update_message: true}]
  msteams_configs: [{webhook_url: "https://example.org/x"}]
  slak_configs: []
tracing: {endpoint: "trace.example.org:4317"}
"""


def test_what_only_a_newer_alertmanager_knows_is_a_remark_and_hides_no_mistake(amtool, tmp_path):
    (tmp_path / "am.yaml").write_text(NEWER)
    found = known(amtool, tmp_path / "am.yaml")
    assert [line.removeprefix(f"{tmp_path}/") for line in found.problems] == [
        "am.yaml:12: field chanel not found in type config.plain",
        "am.yaml:16: field slak_configs not found in type config.plain",
        'am.yaml: undefined receiver "nobdy" used in route',
    ]
    assert {line.split(": ")[1] for line in found.remarks} == {
        "global.telegram_bot_token",
        "global.jira_api_url",
        "route.labels",
        "receivers[0].webhook_configs[0].timeout",
        "receivers[0].webhook_configs[0].url_file",
        "receivers[0].webhook_configs[0].http_config.http_headers",
        "receivers[0].slack_configs[0].app_token",
        "receivers[0].slack_configs[0].update_message",
        "tracing",
    }
    made = redirected(found.config | {"route": {"receiver": "a"}})
    assert "msteams" in made["receivers"][0]["webhook_configs"][-1]["url"]
    assert check_config(amtool, written(tmp_path, made)) == []


def test_what_amtool_says_quotes_no_secret(amtool, tmp_path):
    secret = "hxxps://hooks.slack.com/services/SECRET"
    config = PRODUCTION | {"global": {"slack_api_url": secret, "smtp_from": ["SECRET"]}}
    problems = check_config(amtool, written(tmp_path, config))
    assert problems and "SECRET" not in " ".join(problems)
    config = PRODUCTION | {"global": {"slack_api_url": secret}}
    problems = check_config(amtool, written(tmp_path, config))
    assert problems and "SECRET" not in " ".join(problems)


def test_a_missing_amtool_is_an_error(tmp_path):
    with pytest.raises(ToolMissing, match="make tools"):
        check_config(str(tmp_path / "amtool"), written(tmp_path, PRODUCTION))


def test_the_command_line_keeps_to_loopback_and_itself(tmp_path):
    line = command("/bin/am", tmp_path / "c.yaml", tmp_path / "data", 9093)
    assert line[0] == "/bin/am" and "--cluster.listen-address=" in line
    assert "--web.listen-address=127.0.0.1:9093" in line


LOG = r"""
ts=2026-11-28T15:42:58.000Z caller=notify.go:1 level=warn receiver=a msg="Notify attempt failed, will retry later"
ts=2026-11-28T15:42:59.670Z caller=dispatch.go:352 level=error component=dispatcher msg="Notify for alerts failed" num_alerts=1 err="on call/1/slack[0]: notify retry canceled due to unrecoverable error after 1 attempts: template: :1:12: executing \"\" at <{{template \"house.text\" .}}>: template \"house.text\" not defined; b/slack[1]: notify retry canceled due to unrecoverable error after 1 attempts: channel \" x\": unexpected status code 400: channel_not_found"
ts=2026-11-28T15:43:00.670Z caller=dispatch.go:352 level=error component=dispatcher msg="Notify for alerts failed" num_alerts=1 err="b/webhook[0]: notify retry canceled after 2 attempts: Post \"https://h.org/SECRET\": context deadline exceeded"
ts=2026-11-28T15:43:01.670Z caller=dispatch.go:352 level=error component=dispatcher msg="Notify for alerts failed" num_alerts=1 err="b/webhook[0]: notify retry canceled after 2 attempts: Post \"https://h.org/SECRET\": context deadline exceeded"
"""  # noqa: E501


def test_whom_alertmanager_gave_up_to_notify_is_read_from_its_log():
    first, second, third = failures(LOG)
    template = 'template: :1:12: executing "" at <{{template "house.text" .}}>: template "house.text" not defined'
    assert (first.receiver, first.integration, first.reason) == ("on call/1", "slack[0]", template)
    assert (second.receiver, second.integration) == ("b", "slack[1]") and "channel_not_found" in second.reason
    assert third.reason == 'Post "https://h.org/<secret>": context deadline exceeded'
    assert third.at - first.at == pytest.approx(1.0)
    assert [one.integration for one in failures(LOG, first.at + 0.5)] == ["webhook[0]"]


def test_a_rule_of_inhibition_with_sources_is_left_out_whole(amtool, tmp_path):
    file = tmp_path / "alertmanager.yaml"
    file.write_text(
        "route: {receiver: all}\nreceivers: [{name: all}]\ninhibit_rules:\n"
        "- sources: [{matchers: [alertname=Down]}]\n  name: down\n  target_matchers: [severity=page]\n"
        "- {source_matchers: [a=b], target_matchers: [c=d], name: other}\n"
    )
    found = known(amtool, file)
    assert [rule.keys() for rule in found.config["inhibit_rules"]] == [{"source_matchers", "target_matchers"}]
    assert [remark.partition(": ")[2] for remark in found.remarks] == [
        "inhibit_rules[0].sources: only a newer Alertmanager knows it; the run is without the rule",
        "inhibit_rules[0].name: only a newer Alertmanager knows it; the run is without the rule",
        "inhibit_rules[1].name: only a newer Alertmanager knows it; the run is without it",
    ]
    assert found.problems == []
    assert [len(rule.source) for rule in routing.read(file, []).inhibitions] == [1]
