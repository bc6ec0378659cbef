"""Alertmanager as production configures it, with every receiver led to a local sink.

Routes, matchers, inhibition, templates and texts stay as they are: they are what a run proves. Only where messages go,
the secrets for getting there, and how long groups wait are rewritten, mechanically. What else the copy does otherwise
than the original is a remark.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.errors import PlanError
from harness.masking import hidden, shown_url
from harness.stack.matchers import unquoted
from harness.stack.messages import ALERTS_FIELD, RECEIVER_FIELD, coded
from harness.stack.relay import moment
from harness.stack.routing import sends_resolved
from harness.units import listed, prometheus_ms

GROUP_TIMES = {"group_wait": "30s", "group_interval": "5m", "repeat_interval": "4h"}  # with Alertmanager's defaults
INTERVALS = ("mute_time_intervals", "active_time_intervals")
# Each alert's status and all its labels, quoted so that no text in them can be taken for another part of this.
ALERTS_TEMPLATE = (
    "{{ range .Alerts }}{{ .Status }}"
    '{{ range .Labels.SortedPairs }} {{ printf "%+q=%+q" .Name .Value }}{{ end }};{{ end }}'
)
PLACEHOLDER = "0" * 32  # as long as a PagerDuty routing key
VALIDATED = {"pagerduty", "slack", "email", "webhook"}
MESSAGE_ONLY = {"wechat", "telegram", "webex", "discord"}  # have no other field than the text their reader sees

# A URL at one of these is text for the reader of a message; Alertmanager never opens it.
SHOWN = {"title_link", "icon_url", "image_url", "thumb_url", "avatar_url", "client_url", "url_title"}
SHOWN |= {"actions", "links", "images", "fields"}
# Which way to Slack is taken; without a bot's token only one is left.
OF_A_BOT = {"app_token", "app_url", "update_message", "message_strategy", "threaded_options"}
ONLY_IN_V2 = {"severity", "class", "component", "group", "source", "images", "links"}  # of PagerDuty's Events API


@dataclass
class Copy:
    """What a run's Alertmanager is started with."""

    config: dict[str, Any]
    remarks: list[str] = field(default_factory=list)  # what it does otherwise than the original
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    # (receiver, integration as Alertmanager's log has it) -> as notifications have it


def redirect(
    config: Mapping[str, Any],
    *,
    http_port: int,
    smtp_port: int,
    time_scale: float,
    folder: Path | None = None,
    name: str = "alertmanager",
) -> Copy:
    """The configuration that sends every receiver's messages to its own path of the local sinks.

    `config` is a production configuration as yamltext reads it, without what only a newer Alertmanager knows. The
    group's times are divided by `time_scale` on every level (to the millisecond) and made explicit at the top, so that
    the defaults scale too. Template paths that are relative, as Alertmanager takes them, to `folder`, are made absolute
    where it is given. Routes notify at any hour, so that a run does not depend on its own. `name`: of the file, in
    remarks.

    Raises PlanError with everything that cannot be redirected. Have `check_config` pass the original first: a key or an
    address that is missing there is given here.
    """
    result = copy.deepcopy(dict(config))
    made, problems = Copy(result), []
    given = result.get("global") or {}
    result["global"] = {k: given[k] for k in ("resolve_timeout", "smtp_from", "smtp_hello") if given.get(k)} | {
        "smtp_smarthost": f"127.0.0.1:{smtp_port}",
        "smtp_require_tls": False,
    }
    result.pop("tracing", None)  # it sends what it sees to another machine
    route = result.get("route")
    if isinstance(route, dict):
        result["route"] = GROUP_TIMES | {k: v for k, v in route.items() if v is not None}
        _rewrite_route(result["route"], "route", time_scale, problems, made.remarks, name)
    else:
        problems.append(f"{name}: route: missing")
    for i, receiver in enumerate(result.get("receivers") or ()):
        _redirect_receiver(
            receiver, f"receivers[{i}] ({str(receiver.get('name'))!r})", name, http_port, smtp_port, made, problems
        )
    if folder is not None and result.get("templates"):
        result["templates"] = [str(folder.resolve() / path) for path in result["templates"]]
    for place, address in escaping(result):
        problems.append(f"{_at(name, address)}: {place}: would still leave this machine: {shown_url(address)}")
    if problems:
        raise PlanError(problems)
    return made


def _redirect_receiver(
    receiver: dict[str, Any], place: str, name: str, http_port: int, smtp_port: int, made: Copy,
    problems: list[str],
) -> None:  # fmt: skip
    receiver_name = str(receiver.get("name") or "")
    stand_ins = []
    for key in [key for key in receiver if key.endswith("_configs")]:
        kind, settings = key.removesuffix("_configs"), receiver[key] or []
        if not isinstance(settings, list) or not all(isinstance(setting, dict) for setting in settings):
            problems.append(
                f"{_at(name, key)}: {place}.{key}: must be a list of mappings"
            )  # of a kind amtool knows not
            continue
        names = [f"{kind}[{i}]" if len(settings) > 1 else kind for i in range(len(settings))]
        led = []
        for integration, setting in zip(names, settings, strict=True):
            url = f"http://127.0.0.1:{http_port}/{coded(integration)}/{coded(receiver_name)}"
            at = f"{_at(name, key)}: {place}: {integration}"
            if kind in VALIDATED | LED.keys():
                _lead(setting, kind, url, smtp_port, at, made.remarks)
                made.names[receiver_name, f"{kind}[{len(led)}]"] = integration
                led.append(setting)
                if kind not in VALIDATED:
                    made.remarks.append(f"{at}: its messages are recorded, but nobody tells whether {kind} takes them")
            else:
                ends = sends_resolved(kind, str(setting.get("send_resolved") or ""))
                stand_ins.append((integration, {"url": url, "send_resolved": ends}))
                made.remarks.append(f"{at}: the run sends a webhook in its place: its message is not tried")
        if led:
            receiver[key] = led
        else:
            del receiver[key]
    if stand_ins:
        hooks = receiver.setdefault("webhook_configs", [])
        for integration, setting in stand_ins:
            made.names[receiver_name, f"webhook[{len(hooks)}]"] = integration
            hooks.append(setting)


LED = {  # kinds that nobody validates here, with what leads them to the sink and lets them write there
    "opsgenie": lambda url: {"api_url": f"{url}/", "api_key": PLACEHOLDER},
    "victorops": lambda url: {"api_url": f"{url}/", "api_key": PLACEHOLDER},
    "wechat": lambda url: {"api_url": f"{url}/", "api_secret": PLACEHOLDER, "corp_id": "harness"},
    "telegram": lambda url: {"api_url": url, "bot_token": PLACEHOLDER},
    "webex": lambda url: {"api_url": url, "http_config": {"authorization": {"credentials": PLACEHOLDER}}},
    "discord": lambda url: {"webhook_url": url},
    "sns": lambda url: {
        "api_url": url,
        "sigv4": {"region": "harness", "access_key": PLACEHOLDER, "secret_key": PLACEHOLDER},
    },
}


def _lead(setting: dict[str, Any], kind: str, url: str, smtp_port: int, at: str, remarks: list[str]) -> None:
    """Lead an integration to its sink.

    Alertmanager itself names the alerts where no reader looks and no setting of the user's can be: templates need not
    name them, and some do it in prose. Webhooks name them by themselves.
    """
    if kind == "pagerduty" and not (setting.get("routing_key") or setting.get("routing_key_file")):
        remarks.append(f"{at}: the run sends Events v2 for its service_key, as Alertmanager lets v1 go nowhere else")
        for key in ONLY_IN_V2 & setting.keys():
            del setting[key]
    for key in [key for key in setting if _is_secret(key)]:
        del setting[key]
    if kind == "pagerduty":
        setting |= {"url": url, "routing_key": PLACEHOLDER}
        setting["details"] = {**(setting.get("details") or {}), ALERTS_FIELD: ALERTS_TEMPLATE}
    elif kind == "slack":
        setting["api_url"] = url
        mark = {"title": ALERTS_FIELD, "value": ALERTS_TEMPLATE, "short": False}
        setting["fields"] = [*(setting.get("fields") or ()), mark]
    elif kind == "webhook":
        setting["url"] = url
    elif kind == "email":
        setting |= {"smarthost": f"127.0.0.1:{smtp_port}", "require_tls": False}
        ours = {RECEIVER_FIELD: url.partition("://")[2].partition("/")[2], ALERTS_FIELD: ALERTS_TEMPLATE}
        taken = {key.lower() for key in ours}
        kept = {k: v for k, v in (setting.get("headers") or {}).items() if k.lower() not in taken}
        setting["headers"] = kept | ours
    else:
        setting |= LED[kind](url)
        if kind in MESSAGE_ONLY:
            text = setting.get("message") or f'{{{{ template "{kind}.default.message" . }}}}'
            setting["message"] = f"{ALERTS_TEMPLATE}\n{text}"
        else:
            key = {"opsgenie": "details", "victorops": "custom_fields", "sns": "attributes"}[kind]
            setting[key] = {**(setting.get(key) or {}), ALERTS_FIELD: ALERTS_TEMPLATE}


def _is_secret(key: str) -> bool:
    """Whether a receiver's setting is for getting out of this machine, or a credential there."""
    return (
        key in ("http_config", "tls_config", "service_key", "force_implicit_tls", *OF_A_BOT)
        or key.endswith("_file")
        or key.startswith("auth_")
    )


def _rewrite_route(
    route: dict[str, Any], place: str, time_scale: float, problems: list[str], remarks: list[str], name: str
) -> None:
    for key in [key for key in GROUP_TIMES if route.get(key) is not None]:
        try:
            route[key] = scaled(route[key], time_scale)
        except ValueError as error:
            problems.append(f"{_at(name, route[key])}: {place}.{key}: {error}")
    for key in [key for key in INTERVALS if route.get(key)]:
        intervals = route.pop(key)
        why = f"{listed(intervals)}: the run notifies at any hour, so what the interval withholds is not tried"
        remarks.append(f"{_at(name, intervals[0])}: {place}.{key}: {why}")
    for i, child in enumerate(route.get("routes") or ()):
        _rewrite_route(child, f"{place}.routes[{i}]", time_scale, problems, remarks, name)


def scaled(duration: Any, time_scale: float) -> str:
    """A duration as Prometheus writes them, divided; whole milliseconds, at least 1 unless it was 0."""
    whole_ms = prometheus_ms(str(duration))
    return f"{max(1, round(whole_ms / time_scale)) if whole_ms else 0}ms"


def escaping(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every (place, address) in a configuration that Alertmanager would reach outside this machine."""

    def walk(value: Any, place: str, key: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            for k, v in value.items():
                if k not in SHOWN:
                    yield from walk(v, f"{place}.{k}".lstrip("."), k)
        elif isinstance(value, list):
            for i, v in enumerate(value):
                yield from walk(v, f"{place}[{i}]", key)
        elif isinstance(value, str) and re.search(r"(url|host|proxy)$", key) and _host(value) != "127.0.0.1":
            yield place, value

    yield from walk(config.get("global") or {}, "global", "")
    yield from walk(config.get("receivers") or [], "receivers", "")


def _at(name: str, value: Any) -> str:
    """The file, with the line that a value stands on where that is known."""
    return f"{name}:{value.line}" if getattr(value, "line", 0) else name


def _host(address: str) -> str | None:
    try:
        return urlsplit(address if "//" in address else f"//{address}").hostname
    except ValueError:
        return None


@dataclass(frozen=True)
class Failure:
    """An integration that Alertmanager gave up to notify, as its log says."""

    at: float  # Unix seconds
    receiver: str
    integration: str  # as the log has it: "slack[0]"
    reason: str


_GAVE_UP = re.compile(r'^(?:ts|time)=(\S+) .*msg="Notify for alerts failed" .*\berr="((?:[^"\\]|\\.)*)"', re.M)
_ONE = re.compile(r"(?:^|; )((?:(?!; ).)+?)/(\w+\[\d+\]): (.*?)(?=; (?:(?!; ).)+?/\w+\[\d+\]: |\Z)", re.S)


def failures(log: str, since: float = 0.0) -> list[Failure]:
    """Which integrations were not notified and why, from Alertmanager's log; each reason once, without secrets."""
    found: dict[tuple[str, str, str], Failure] = {}
    for at, errors in _GAVE_UP.findall(log):
        for receiver, integration, reason in _ONE.findall(unquoted(f'"{errors}"')) if moment(at) >= since else ():
            reason = hidden(reason.rpartition(" attempts: ")[2])
            found.setdefault((receiver, integration, reason), Failure(moment(at), receiver, integration, reason))
    return list(found.values())


def command(binary: str, config: Path, data_dir: Path, port: int) -> list[str]:
    """The command line of an Alertmanager on loopback, without gossip, which would hold back the first message 10 s."""
    return [
        binary,
        f"--config.file={config}",
        f"--storage.path={data_dir}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
