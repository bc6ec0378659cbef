"""Secrets in configurations and texts: nothing that is stored or shown has them.

What stays is the structure, and of an address the host: enough to see what was configured, too little to use it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from harness.document import Unreadable, compose_json, documents

HIDDEN = "<secret>"
_SECRET_KEY = re.compile(
    r"token|secret|passw|passphrase|credential|bearer|cookie|private|auth_(username|identity)|authorization"
    r"|(^|[_-]|api|access|private|user)key(_id|s)?$|^-*(pwd|pass|auth|dsn)$",
    re.I,
)
_SECRET_PART = {"basic_auth", "authorization", "oauth2", "sigv4", "http_headers", "proxy_connect_header", "headers"}
_OPEN_IN_PART = {"type", "region", "scopes", "profile", "role_arn", "tls_config", "proxy_from_environment", "Subject"}
_ADDRESS_KEY = re.compile(r"(^|_)(url|uri|webhook|proxy|endpoint)$", re.I)
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)([^/?#\s\"'`<>{}]*)([^?#\s\"'`<>]*)((?:[?#][^\s\"'`<>]*)?)")
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://)([^/?#]*@)?([\w.:\[\]-]+)(?:/([^?#]*))?([?#].*)?", re.I | re.S)
_NAME = r"[\w-]*(?:password|passwd|passphrase|token|secret|credential|api[-_]?key|access[-_]?key|private[-_]?key)[\w-]*"
_ASSIGNED = re.compile(
    rf"((?:{_NAME}[\"']?\s*[=:]|--{_NAME})\s*[\"']?)(?:(?:Bearer|Basic|Token)\s+)?[^\s\"',;&]++(?<!:)", re.I
)
_OPTION = re.compile(rf"-{{1,2}}{_NAME}", re.I)
_QUERY = re.compile(r"([?&][\w.~%-]+=)[^\s\"'`<>&)]+")  # also of a path alone
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")  # an anchor and a tag
_COMMENT = re.compile(r"#[^\r\n]*")
_SCHEME = re.compile(r"\b(Bearer|Basic)\s+[^\s\"',;]+", re.I)


def masked(config: Any, texts: Iterable[str] = ("route", "inhibit_rules", "time_intervals", "templates")) -> Any:
    """A configuration with every secret replaced. `texts`: its sections that hold none."""
    open_sections = set(texts)
    if not isinstance(config, Mapping):
        return config
    return {key: value if key in open_sections else _masked(value, key) for key, value in config.items()}


def secrets_of(config: Any) -> set[str]:
    """The texts in a configuration that are replaced."""
    found: set[str] = set()

    def walk(before: Any, after: Any) -> None:
        if isinstance(before, Mapping):
            for key, value in before.items():
                walk(value, after[key])
        elif isinstance(before, list):
            for one, other in zip(before, after, strict=True):
                walk(one, other)
        elif before is not None and before != after:
            found.add(str(before))

    walk(config, masked(config))
    return found


def _masked(value: Any, key: str, secret: bool = False) -> Any:
    if isinstance(value, Mapping):
        inside = secret or key in _SECRET_PART or bool(_SECRET_KEY.search(key))
        return {k: _masked(v, k, inside and k not in _OPEN_IN_PART) for k, v in value.items()}
    if isinstance(value, list):
        options = ("", *(v if isinstance(v, str) else "" for v in value))
        return [_masked(v, key, secret or _is_option(o)) for o, v in zip(options, value, strict=False)]
    if value is None or isinstance(value, bool) or not str(value) or key.endswith("_file"):
        return value
    if secret or _SECRET_KEY.search(key):
        return HIDDEN
    if not isinstance(value, str):
        return value
    return shown_url(value) if _ADDRESS_KEY.search(key) and "://" in value else hidden(value, paths=False)


def shown_url(address: str) -> str:
    """An address as it may be shown: scheme, host and port; paths, queries and users are often the secret itself."""
    if "://" not in address:
        return address.rpartition("@")[2].partition("/")[0]
    if not (found := _ADDRESS.fullmatch(address)):
        return HIDDEN
    scheme, users, host, path, query = found.groups(default="")
    query = f"{query[0]}{HIDDEN}" if query else ""
    return f"{scheme}{HIDDEN * bool(users)}{users[-1:]}{host}{f'/{HIDDEN}' if path else ''}{query}"


def hidden_urls(text: str, paths: bool = True) -> str:
    """A text whose addresses show no user, no query and, where `paths`, no path."""

    def shown(found: re.Match[str]) -> str:
        scheme, host, path, query = found.groups()
        users, _, host = host.rpartition("@")
        path = f"/{HIDDEN}" if paths and path not in ("", "/") else path
        return f"{scheme}{f'{HIDDEN}@' if users else ''}{host}{path}{f'{query[0]}{HIDDEN}' if query else ''}"

    return _URL.sub(shown, text)


def hidden(text: str, known: Iterable[str] = (), paths: bool = True) -> str:
    """A text without what looks like a secret, and without those that are known."""
    for secret in sorted((one for one in known if len(one) > 2), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    text = _QUERY.sub(rf"\1{HIDDEN}", hidden_urls(text, paths))
    return _ASSIGNED.sub(rf"\1{HIDDEN}", _SCHEME.sub(rf"\1 {HIDDEN}", text))


def _is_option(argument: str) -> bool:
    """Whether the argument of a command line that follows this one is a secret."""
    return _OPTION.fullmatch(argument) is not None


def hidden_arguments(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line without what looks like a secret: also the argument that follows an option like `--token`. What it
    gives stays the same when it is given that again."""
    before = ("", *argv)
    return tuple(
        HIDDEN if _is_option(option) and argument else hidden(argument, paths=False)
        for option, argument in zip(before, argv, strict=False)
    )


def hidden_file(text: str, as_json: bool = False) -> str:
    """The text of a YAML or JSON file with its secrets replaced where they stand; comments and lines are kept.

    What is a secret by its key is replaced whole, however it is quoted or folded.
    """
    try:
        roots = [compose_json(text)] if as_json else documents(text)
    except Unreadable:
        return hidden(text, paths=False)
    places: dict[int, tuple[int, str | None]] = {}
    for root in roots:
        for start, end, shown in _shown(root):
            if places.get(start, (0, None))[1] is None:  # else it is a secret where an alias puts it
                places[start] = end, shown
    parts, at = [], 0
    for start, (end, shown) in sorted(places.items()):
        old = text[start:end]
        if shown is not None:
            old = _PROPERTIES.match(old).group() + json.dumps(shown) + old[len(old.rstrip()) :]
        parts += [_comments_hidden(text[at:start]), old]
        at = end
    return "".join([*parts, _comments_hidden(text[at:])])


def _comments_hidden(between: str) -> str:
    """What stands between two values, which may be a comment."""
    return _COMMENT.sub(lambda comment: hidden(comment.group(), paths=False), between)


def _shown(node: yaml.Node, key: str = "", secret: bool = False) -> Iterator[tuple[int, int, str | None]]:
    """Where each key and value stands, and what takes its place, None where it stays; by the rules of `_masked`."""
    if isinstance(node, yaml.MappingNode):
        inside = secret or key in _SECRET_PART or bool(_SECRET_KEY.search(key))
        for name, value in node.value:
            word = name.value if isinstance(name, yaml.ScalarNode) else ""
            yield from _shown(name)
            yield from _shown(value, word, inside and word not in _OPEN_IN_PART)
    elif isinstance(node, yaml.SequenceNode):
        options = ("", *(item.value if isinstance(item, yaml.ScalarNode) else "" for item in node.value))
        for option, item in zip(options, node.value, strict=False):
            yield from _shown(item, key, secret or _is_option(option))
    else:
        nothing = node.tag.rpartition(":")[2] in ("null", "bool")
        shown = node.value if nothing else _masked(node.value, key, secret)
        yield node.start_mark.index, node.end_mark.index, None if shown == node.value else shown
