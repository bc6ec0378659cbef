"""No secret of a configuration is in what is stored of it or said about it; its structure stays."""

import io
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.chaos.runner import _without_secrets
from harness.masking import HIDDEN, hidden, hidden_arguments, hidden_file, masked, secrets_of, shown_url
from harness.plan.plan import load
from harness.run.folder import open_run
from harness.stack import tools
from harness.stack.amtool import known
from harness.stack.yamltext import read

CONFIG = """
global:
  slack_api_url: &slack https://hooks.slack.com/services/S1
  smtp_smarthost: mail.example.org:587
  smtp_from: alertmanager@example.org
  smtp_auth_username: S2@example.org
  smtp_auth_password: S3  # not S4 either
  smtp_auth_secret: S5
  smtp_auth_identity: S6
  opsgenie_api_key: S7
  victorops_api_key: S8
  wechat_api_secret: S9
  wechat_api_corp_id: corp
  http_config:
    authorization: {type: Basic, credentials: S10}
    proxy_url: http://user:S11@proxy.example.org:3128
route:
  receiver: all
  routes: [{receiver: all, match: {token: shown, url: "https://shown.example.org/shown"}}]
receivers:
- name: all
  slack_configs: [{api_url: *slack, channel: '#shown', title_link: 'https://u:S12@wiki.example.org/shown?S13'}]
  pagerduty_configs: [{routing_key: S14}, {service_key: S15}, {routing_key_file: /shown/routing}]
  webhook_configs:
  - {url: 'https://S16:S17@h.org:8443/S18?token=S19#S20', http_config: {basic_auth: {username: S21, password: S22}}}
  - {url: 'https://example.org', http_config: {oauth2: {client_id: S23, client_secret: S24, token_url: 'https://t/S25'}}}
  - {url: 'https://h.org/', http_config: {bearer_token: S26, tls_config: {ca_file: /shown/ca, key_file: /shown/key}}}
  email_configs: [{to: a@example.org, auth_password: S27, headers: {Subject: shown, X-Auth: S28}}]
  telegram_configs: [{bot_token: S29, chat_id: 1}]
  pushover_configs: [{user_key: S30, token: S31, title: shown}]
  sns_configs: [{topic_arn: 'arn:shown', sigv4: {region: shown, access_key: S32, secret_key: S33}}]
  victorops_configs: [{api_key: S34, routing_key: S35}]
  discord_configs: [{webhook_url: 'https://discord.com/api/webhooks/S36'}]
  webex_configs: [{room_id: shown, http_config: {authorization: {credentials: S37}}}]
"""
SOMETHING_NEW = {"x_configs": [{"some_secret": "S1", "apiKey": "S2", "some_url": "https://h/S3", "a_file": "/shown"}]}


@pytest.fixture
def config(tmp_path) -> Path:
    (tmp_path / "am.yaml").write_text(CONFIG)
    return tmp_path / "am.yaml"


def names_of(text: str) -> set[str]:
    return {f"S{n}" for n in range(1, 38) if f"S{n}" in text.replace("SNS", "")}


def test_every_secret_is_masked_and_the_structure_stays(config):
    before, after = read(config), masked(read(config))
    assert names_of(json.dumps(before)) == {f"S{n}" for n in range(1, 38)} - {"S4"}
    assert names_of(json.dumps(after)) == set()

    def shape(value):
        if isinstance(value, dict):
            return {key: shape(part) for key, part in value.items()}
        return [shape(part) for part in value] if isinstance(value, list) else type(value) is type(None)

    assert shape(before) == shape(after)
    assert after["route"] == before["route"]
    assert json.dumps(after).count("shown") == json.dumps(before).count("shown")
    [slack] = after["receivers"][0]["slack_configs"]
    assert slack["api_url"] == f"https://hooks.slack.com/{HIDDEN}" == after["global"]["slack_api_url"]
    assert after["receivers"][0]["webhook_configs"][0]["url"].startswith(f"https://{HIDDEN}@h.org:8443/")
    assert "S14" in secrets_of(before) and "all" not in secrets_of(before)


def test_what_is_newer_is_masked_by_its_name():
    assert masked({"receivers": [SOMETHING_NEW]}) == {
        "receivers": [
            {
                "x_configs": [
                    {"some_secret": HIDDEN, "apiKey": HIDDEN, "some_url": f"https://h/{HIDDEN}", "a_file": "/shown"}
                ]
            }
        ]
    }


def test_a_run_stores_no_secret(config, tmp_path):
    plan = load(Path(__file__).parents[2] / "gate.yaml")
    monitoring = plan.service.monitoring.model_copy(update={"alertmanager": str(config)})
    plan = replace(plan, service=plan.service.model_copy(update={"monitoring": monitoring}))
    run = open_run(plan, tools.find(), tmp_path / "runs")
    assert (run / "production-alertmanager.yaml").exists() and (run / "gate.yaml").exists()
    for file in filter(Path.is_file, run.rglob("*")):
        assert not names_of(file.read_text().replace("SLO", "")), file
    assert (run / "gate.yaml").read_text() == plan.path.read_text(), "nothing in it looks like a secret"


def test_what_amtool_objects_to_is_quoted_without_secrets(config):
    wrong = ["chat_id: x", "chat_id: 1, send_resolved: S29", "chat_id: [S29]", "chat_id: 1, bot_tokn: S29"]
    texts = [CONFIG.replace("chat_id: 1", one) for one in wrong]
    texts += [CONFIG.replace("https://hooks", scheme) for scheme in ("hxxps://hooks", "ht tp://hooks", "hooks")]
    for text in texts:
        config.write_text(text)
        problems = known(tools.find().amtool, config).problems
        assert problems and not names_of(" ".join(problems).replace(str(config), "")), problems


TEXTS = {
    "x --token S1 --password=S2 API_KEY=S3 --port 80": "x --token * --password=* API_KEY=* --port 80",
    'curl -H "Authorization: Bearer S1" -H "X-Api-Key: S2"': 'curl -H "Authorization: Bearer *" -H "X-Api-Key: *"',
    "postgres://u:S1@db.example.org:5432/x?password=S2": "postgres://*@db.example.org:5432/*?*",
    "missing bot_token on telegram_config": "missing bot_token on telegram_config",
    "at most one of api_key & api_key_file": "at most one of api_key & api_key_file",
}


@pytest.mark.parametrize("text", TEXTS)
def test_messages_hide_what_looks_like_a_secret(text):
    assert hidden(text) == TEXTS[text].replace("*", HIDDEN)


def test_an_address_shows_its_host_alone():
    assert shown_url("https://u:p@h.example.org:1/a?b#c") == f"https://{HIDDEN}@h.example.org:1/{HIDDEN}?{HIDDEN}"
    assert shown_url("u:p@h.example.org:1/a") == "h.example.org:1"
    assert shown_url("https://h.example.org/") == "https://h.example.org"


@pytest.mark.parametrize(
    "address", ["hxxp:// S1", "https://h/a b/S1", "https://h/a'S1", "https://u:S1 S2@h/x", "https://h/<S1>", "://S1"]
)
def test_of_an_address_that_is_none_nothing_is_shown_that_may_be_a_secret(address):
    config = {"global": {"slack_api_url": address}}
    assert not names_of(str(masked(config))) and secrets_of(config) == {address}
    assert not names_of(hidden(f'parse "{address}": invalid', secrets_of(config)))


FILE = """
a: {token: "two S1", "--password": 'it''s S2', key: S3} # api_key=S4
secrets:
  \u00e4\U0001f600: {id: S5, n: 12, file: "a \\"S6\\""}
password: |
  S7
  S8

next: kept
passphrase: &one correct horse S9
pwd: [S10, {x: S11}]
auth: !!str S12
headers: {Authorization: S13, X: *one}
token_file: kept
url: https://u:S14@h.example.org/S15?x=S16
text: call it with --token S17, or https://h.example.org/kept?t=S18, or /kept?t=S19
token:
"""


@pytest.mark.parametrize("text", [FILE, FILE.replace("\n", "\r\n"), json.dumps(yaml.safe_load(FILE), indent="\t")])
def test_a_file_is_stored_without_its_secrets_wherever_they_stand(text):
    as_json = text.startswith("{")
    stored = hidden_file(text, as_json)
    assert not names_of(stored), stored
    assert (json.loads if as_json else yaml.safe_load)(stored)["next"] == "kept"
    assert stored.count("kept") == text.count("kept") and f"https://{HIDDEN}@h.example.org/{HIDDEN}?" in stored


def test_what_is_no_yaml_is_hidden_as_text():
    assert hidden_file("a: [\ntoken: S1") == f"a: [\ntoken: {HIDDEN}"


def test_the_arguments_in_a_journal_are_hidden_as_text():
    journal = {
        "run": [{"arguments": "--password S1 -H 'Authorization: Bearer S2'", "exception": ["GET /x?t=S3 failed"]}]
    }
    assert not names_of(json.dumps(masked(journal)))


def test_a_log_of_chaos_toolkit_quotes_no_secret():
    handler = logging.StreamHandler(out := io.StringIO())
    handler.addFilter(_without_secrets)
    try:
        raise ValueError("https://u:S1@h.example.org failed")
    except ValueError as error:
        wrong = (type(error), error, error.__traceback__)
    record = logging.LogRecord("chaostoolkit", logging.ERROR, "", 1, "%s failed", ("http://u:S2@h/x?t=S3",), wrong)
    handler.handle(record)
    assert "h.example.org" in out.getvalue() and not names_of(out.getvalue())


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig"])
def test_a_run_stores_files_in_every_encoding_that_is_read(tmp_path, coding):
    plan = load(Path(__file__).parents[2] / "gate.yaml")
    (tmp_path / "rules.yaml").write_text("groups: [{name: \u00e4, rules: []}]\n", encoding=coding)
    (tmp_path / "gate.yaml").write_text("token: S1\n", encoding=coding)
    plan = replace(plan, rules=(tmp_path / "rules.yaml",), path=tmp_path / "gate.yaml", workdir=tmp_path)
    run = open_run(plan, tools.find(), tmp_path / "runs")
    assert (run / "rules/rules.yaml").read_text() == "groups: [{name: \u00e4, rules: []}]\n"
    assert (run / "gate.yaml").read_text() == f'token: "{HIDDEN}"\n'


def test_the_argument_after_an_option_for_a_secret_is_hidden():
    argv = ("audit", "--api-token", "S", "--token=S", "--limit", "5", "https://u:S@h/x?key=S", "--password", "")
    shown = hidden_arguments(argv)
    assert "S" not in "".join(shown) and shown[4:6] == ("--limit", "5") and hidden_arguments(shown) == shown
    text = "checks:\n- command: [audit, --token, S, --limit, 5]\n"
    assert yaml.safe_load(hidden_file(text)) == {"checks": [{"command": ["audit", "--token", HIDDEN, "--limit", 5]}]}
