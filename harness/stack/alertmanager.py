"""Alertmanager as production configures it, with every receiver led to a local sink.

Routes, matchers, inhibition, templates and texts stay as they are: they are what a run proves. Only where messages go,
the secrets for getting there, and how long groups wait are rewritten, mechanically.
"""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from harness.errors import PlanError, ToolMissing
from harness.stack.messages import ALERTS_FIELD
from harness.units import prometheus_ms

GROUP_TIMES = {"group_wait": "30s", "group_interval": "5m", "repeat_interval": "4h"}  # with Alertmanager's defaults
ALERTS_TEMPLATE = "{{ range .Alerts }}{{ .Status }}={{ .Labels.alertname }};{{ end }}"
PLACEHOLDER = "0" * 32  # as long as a PagerDuty routing key

# A URL at one of these is text for the reader of a message; Alertmanager never opens it.
SHOWN = {"title_link", "icon_url", "image_url", "thumb_url", "client_url", "actions", "links", "images", "fields"}


def redirect(
    config: Mapping[str, Any], *, http_port: int, smtp_port: int, time_scale: float, folder: Path | None = None
) -> dict[str, Any]:
    """The configuration that sends every receiver's messages to its own path of the local sinks.

    `config` is a parsed production configuration. group_wait, group_interval and repeat_interval are divided by
    `time_scale` on every level (to the millisecond) and made explicit at the top, so that the defaults scale too.
    Template paths that are relative, as Alertmanager takes them, to `folder`, are made absolute where it is given.
    Raises PlanError with everything that cannot be redirected. Have `check_config` pass the original first: a key or an
    address that is missing there is given here.
    """
    result = copy.deepcopy(dict(config))
    problems: list[str] = []
    given = result.get("global") or {}
    result["global"] = {k: given[k] for k in ("resolve_timeout", "smtp_from", "smtp_hello") if k in given} | {
        "smtp_smarthost": f"127.0.0.1:{smtp_port}",
        "smtp_require_tls": False,
    }
    route = result.get("route")
    if isinstance(route, dict):
        result["route"] = GROUP_TIMES | route
        _scale(result["route"], "route", time_scale, problems)
    else:
        problems.append("alertmanager: route: missing")
    for i, receiver in enumerate(result.get("receivers") or ()):
        _redirect_receiver(receiver, f"receivers[{i}] ({receiver.get('name')!r})", http_port, smtp_port, problems)
    if folder is not None and result.get("templates"):
        result["templates"] = [str(folder.resolve() / path) for path in result["templates"]]
    problems += [f"alertmanager: {place}: would still leave this machine: {to}" for place, to in escaping(result)]
    if problems:
        raise PlanError(problems)
    return result


def _redirect_receiver(
    receiver: dict[str, Any], place: str, http_port: int, smtp_port: int, problems: list[str]
) -> None:
    name = quote(str(receiver.get("name", "")), safe="")
    for kinds, settings in receiver.items():
        kind = kinds.removesuffix("_configs")
        if kind == kinds or not settings:
            continue
        if kind not in ("pagerduty", "slack", "email", "webhook"):
            problems.append(f"alertmanager: {place}: there is no local sink for {kinds}")
            continue
        for setting in settings:
            if kind == "pagerduty" and setting.keys() & {"service_key", "service_key_file"}:
                problems.append(
                    f"alertmanager: {place}: service_key is Events API v1, which Alertmanager sends to a fixed address"
                    "; use routing_key"
                )
            for key in [k for k in setting if _is_secret(k)]:
                del setting[key]
            setting |= {
                "pagerduty": {"url": f"http://127.0.0.1:{http_port}/pagerduty/{name}", "routing_key": PLACEHOLDER},
                "slack": {"api_url": f"http://127.0.0.1:{http_port}/slack/{name}"},
                "webhook": {"url": f"http://127.0.0.1:{http_port}/webhook/{name}"},
                "email": {"smarthost": f"127.0.0.1:{smtp_port}", "require_tls": False},
            }[kind]
            # Alertmanager itself names the alerts where no reader looks: templates need not, and some do it in prose.
            if kind == "pagerduty":
                setting["details"] = {**(setting.get("details") or {}), ALERTS_FIELD: ALERTS_TEMPLATE}
            elif kind == "slack":
                setting.setdefault("callback_id", ALERTS_TEMPLATE)
            elif kind == "email":
                ours = {"X-Receiver": name, ALERTS_FIELD: ALERTS_TEMPLATE}
                taken = {key.lower() for key in ours}
                kept = {k: v for k, v in (setting.get("headers") or {}).items() if k.lower() not in taken}
                setting["headers"] = kept | ours


def _is_secret(key: str) -> bool:
    """Whether a receiver's setting is for getting out of this machine, or a credential there."""
    return (
        key in ("http_config", "tls_config", "app_token", "app_url") or key.endswith("_file") or key.startswith("auth_")
    )


def _scale(route: dict[str, Any], place: str, time_scale: float, problems: list[str]) -> None:
    for key in filter(route.__contains__, GROUP_TIMES):
        try:
            route[key] = scaled(route[key], time_scale)
        except ValueError as error:
            problems.append(f"alertmanager: {place}.{key}: {error}")
    for i, child in enumerate(route.get("routes") or ()):
        _scale(child, f"{place}.routes[{i}]", time_scale, problems)


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


def _host(address: str) -> str | None:
    return urlsplit(address if "//" in address else f"//{address}").hostname


def command(binary: str, config: Path, data_dir: Path, port: int) -> list[str]:
    """The command line of an Alertmanager on loopback, without gossip, which would hold back the first message 10 s."""
    return [
        binary,
        f"--config.file={config}",
        f"--storage.path={data_dir}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]


def check_config(amtool: str, path: Path) -> list[str]:
    """What amtool objects to in a configuration and its templates; empty where it is content. Raises ToolMissing."""
    try:
        done = subprocess.run([amtool, "check-config", str(path)], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise ToolMissing(f"{amtool}: no such program; `make tools` gets it") from None
    if done.returncode == 0:
        return []
    failure = re.search(r"FAILED:(.+)", done.stdout, re.S) or re.search(r"error:(.+)", done.stderr, re.S)
    lines = [line.strip() for line in failure[1].splitlines()] if failure else [f"amtool ended with {done.returncode}"]
    found = [line for line in lines if line and not line.endswith(":")]  # "yaml: unmarshal errors:" heads a list
    return [re.sub(r"^line (\d+)", rf"{path}:\1", line) if line[:5] == "line " else f"{path}: {line}" for line in found]
