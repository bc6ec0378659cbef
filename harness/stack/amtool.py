"""What amtool objects to in an Alertmanager configuration, and what in it only a newer Alertmanager knows.

Production may run a newer Alertmanager than the one here. What only that knows is a remark and is left out of the run's
copy; what nobody knows is a mistake.
"""

from __future__ import annotations

import copy
import difflib
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.document import shown
from harness.errors import ToolMissing
from harness.masking import hidden, secrets_of
from harness.stack.yamltext import Text, dump, lines, read

# Fields that came after 0.25, by where they may stand.
_SETTINGS = """
    api_secret_file app_token app_token_file app_url auth_secret_file avatar_url bot_token_file chat_id_file content
    device force_implicit_tls message_strategy message_text message_thread_id monospace payload summary thread_message
    threaded_options threading timeout token_file ttl update_alerts update_message url_file user_key_file username
    webhook_url_file ca cert key ca_ref cert_ref key_ref http_headers no_proxy proxy_from_environment
    proxy_connect_header username_file username_ref password_ref credentials_ref client_secret_ref
    client_certificate_key client_certificate_key_file client_certificate_key_id signature_algorithm grant_type iss
    claims audience external_id use_fips_sts_endpoint"""
_GLOBAL = """
    smtp_auth_secret_file smtp_tls_config smtp_force_implicit_tls slack_app_token slack_app_token_file slack_app_url
    telegram_bot_token telegram_bot_token_file wechat_api_secret_file http_headers no_proxy proxy_from_environment
    proxy_connect_header"""
NEWER = {
    "": {"tracing"},
    "global": set(_GLOBAL.split()) | set(_SETTINGS.split()),
    "route": {"labels"},
    "inhibit_rules": {"name", "sources"},
    "receivers": set(_SETTINGS.split()) | {"labels"},
    "time_intervals": {"location"},
}
NEW_KINDS = ("msteams", "msteamsv2", "jira", "rocketchat", "mattermost", "incidentio", "signl4", "jsm", "jsmops")
KINDS = ("webhook", "email", "pagerduty", "slack", "opsgenie", "wechat", "victorops", "pushover", "sns", "telegram")
KINDS += ("discord", "webex", *NEW_KINDS)
# What an older Alertmanager wants where the newer one takes this.
STANDS_FOR = {
    "url_file": ("url", "http://127.0.0.1/"),
    "webhook_url_file": ("webhook_url", "http://127.0.0.1/"),
    "app_token": ("api_url", "http://127.0.0.1/"),
    "app_token_file": ("api_url", "http://127.0.0.1/"),
    "bot_token_file": ("bot_token", "-"),
    "chat_id_file": ("chat_id", "1"),
    "user_key_file": ("user_key", "-"),
    "token_file": ("token", "-"),
    "api_secret_file": ("api_secret", "-"),
    "slack_app_token": ("slack_api_url", "http://127.0.0.1/"),
    "slack_app_token_file": ("slack_api_url", "http://127.0.0.1/"),
    "wechat_api_secret_file": ("wechat_api_secret", "-"),
}
Place = tuple[str | int, ...]
Field = tuple[int, str]  # the line it stands on, its name
_UNKNOWN = re.compile(r"line (\d+): field (\S+) not found in type \S+")


@dataclass(frozen=True)
class Known:
    """A configuration as the Alertmanager here takes it."""

    config: dict[str, Any]  # without what only a newer one knows
    problems: list[str]  # each with its file
    remarks: list[str]  # what only a newer one knows


def known(amtool: str, path: Path) -> Known:
    """What amtool makes of a configuration and its templates. Raises ToolMissing, and PlanError where it is no YAML.

    amtool says of one part what is wrong in it only once it knows every field, so it is asked again without those that
    it does not know.
    """
    original = read(path)
    if not isinstance(original, dict):
        return Known({}, [f"{shown(path)}:1: must be a mapping with a route and receivers"], [])
    secrets, given = secrets_of(original), _with_global_tokens(original)
    problems: list[str] = []
    newer: dict[Field, Place] = {}
    left_out: set[Field] = set()
    said = _objections(amtool, path) if given is original else _left(amtool, path, given)
    while unknown := {(int(m[1]), m[2]): one for one in said if (m := _UNKNOWN.fullmatch(one))}:
        places = dict(_places(given, unknown.keys()))
        newer |= {field: place for field, place in places.items() if _is_newer(place)}
        problems += [one for field, one in unknown.items() if field not in newer]
        if not unknown.keys() - left_out:  # they were left out already, and still it finds them
            break
        left_out |= unknown.keys()
        said = _left(amtool, path, _without(given, left_out))
    kinds = {field for field, place in newer.items() if len(place) == 3 and place[-1].endswith("_configs")}
    rules = [place[:2] for place in newer.values() if place[0] == "inhibit_rules" and place[-1] == "sources"]
    remarks = [
        f"{shown(path)}:{field[0]}: {_dotted(place)}: only a newer Alertmanager knows it; the run is without "
        + ("the rule" if place[:2] in rules else "it")
        for field, place in newer.items()
        if field not in kinds
    ]
    worded = [hidden(_worded(path, one), secrets) for one in dict.fromkeys([*problems, *said])]
    config = _without(given, left_out - kinds)
    if rules:  # without its sources a rule would let any alert inhibit its targets
        config["inhibit_rules"] = [
            rule for i, rule in enumerate(config["inhibit_rules"]) if ("inhibit_rules", i) not in rules
        ]
    return Known(config, worded, remarks)


def rendered(amtool: str, text: str, data: Path, templates: Iterable[str]) -> tuple[str, str]:
    """A template of a receiver, filled in with an alert's data, and why it cannot be; one of the two is empty. What
    Alertmanager brings itself (`slack.default.title`) shows nothing. Raises ToolMissing."""
    built_in = data.with_suffix(".built-in.tmpl")
    names = sorted(set(re.findall(r'template\s+"(__[\w.]+|\w+\.default\.\w+)"', text)))
    built_in.write_text("".join(f'{{{{ define "{name}" }}}}{{{{ end }}}}' for name in names))
    globs = [f"--template.glob={path}" for path in (*templates, str(built_in))]
    argv = [amtool, "template", "render", *globs, f"--template.data={data}", f"--template.text={text}"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise ToolMissing(f"amtool cannot be started: {error}") from None
    if done.returncode == 0:
        return done.stdout, ""
    return "", " ".join(done.stderr.replace("amtool: error: ", "").split())


def _with_global_tokens(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with what a newer Alertmanager takes from `global` written where an older one wants it."""
    keys = [key for key in config.get("global") or () if key in ("telegram_bot_token", "telegram_bot_token_file")]
    if not keys:
        return config
    config = copy.deepcopy(config)
    for receiver in _mappings(config.get("receivers")):
        for setting in _mappings(receiver.get("telegram_configs")):
            if not {"bot_token", "bot_token_file"} & setting.keys():
                setting[Text("bot_token", True, keys[0].line)] = Text("-", False, keys[0].line)
    return config


def _mappings(value: Any) -> list[dict[str, Any]]:
    """The mappings in a list; none where it is none, which amtool objects to."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _left(amtool: str, path: Path, config: dict[str, Any]) -> list[str]:
    """What amtool objects to in what is left of a file, with the lines of that file."""
    with tempfile.TemporaryDirectory() as folder:
        rest = Path(folder) / path.name
        templates = [str(path.parent.resolve() / one) for one in config.get("templates") or () if isinstance(one, str)]
        rest.write_text(dump(config | ({"templates": templates} if templates else {})))
        before = dict(zip(lines(read(rest)), lines(config), strict=False))
        said = _objections(amtool, rest)
    return [re.sub(r"^line (\d+)", lambda m: f"line {before.get(int(m[1]), m[1])}", one) for one in said]


def _objections(amtool: str, path: Path) -> list[str]:
    """What amtool says is wrong with a file, in its words; empty where it is content."""
    try:
        done = subprocess.run([amtool, "check-config", str(path)], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise ToolMissing(f"{amtool}: no such program; `make tools` gets it") from None
    if done.returncode == 0:
        return []
    failure = re.search(r"FAILED:(.+)", done.stdout, re.S) or re.search(r"error:(.+)", done.stderr, re.S)
    found = [line.strip() for line in failure[1].splitlines()] if failure else [f"amtool ended with {done.returncode}"]
    return [line for line in found if line and not line.endswith(":")]  # "yaml: unmarshal errors:" heads a list


def _worded(path: Path, said: str) -> str:
    said = re.sub(r" `[^`]*`", "", said) if "cannot unmarshal" in said else said  # the value, which may be a secret
    return f"{shown(path)}{re.sub(r'^line ', ':', said) if said.startswith('line ') else f': {said}'}"


def _places(data: Any, wanted: Collection[Field], at: Place = ()) -> Iterator[tuple[Field, Place]]:
    """Where the keys are that stand on these lines."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data if isinstance(data, list) else ()):
        if isinstance(key, Text) and (key.line, key) in wanted:
            yield (key.line, str(key)), (*at, str(key))
        yield from _places(value, wanted, (*at, key))


def _is_newer(place: Place) -> bool:
    name = str(place[-1])
    if place[0] == "receivers" and len(place) == 3 and name.endswith("_configs"):
        kind = name.removesuffix("_configs")
        return kind in NEW_KINDS or not difflib.get_close_matches(kind, KINDS, 1, 0.75)
    if len(place) == 1:
        return name in NEWER[""]
    of_new_kind = place[0] == "global" and name.startswith(tuple(f"{kind}_" for kind in NEW_KINDS))
    return of_new_kind or name in NEWER.get(str(place[0]), ())


def _without(data: Any, fields: Collection[Field]) -> Any:
    """The same without the fields on these lines, but with what an older Alertmanager wants in their place."""
    if isinstance(data, list):
        return [_without(value, fields) for value in data]
    if not isinstance(data, dict):
        return data
    kept = {key: _without(value, fields) for key, value in data.items() if (key.line, str(key)) not in fields}
    for key in data.keys() - kept.keys():
        if key in STANDS_FOR:
            name, value = STANDS_FOR[key]
            kept.setdefault(Text(name, True, key.line), Text(value, value.isdigit(), key.line))
    return kept


def _dotted(place: Place) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")
