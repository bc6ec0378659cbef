"""What is wrong with the components of a service that one section of service.yaml alone does not show."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from harness.plan import attached
from harness.plan.yamlfile import Loc, YamlFile, dotted
from harness.stack.spec import PLACEHOLDER, Access, SecretSource, ServiceSpec
from harness.units import nearest

NAME = re.compile(r"[a-z][a-z0-9-]*")
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
MORE = {"traces": ["otlp", "port", "python"], "audit": ["python", "file"]}  # placeholders of sections of telemetry
TAKEN = re.compile(
    r"server(-\d+)?|watchdog|prometheus|alertmanager|sinks|collector|frontdoor|prepare|load|surge|(chaos|probe)-.*"
    r"|proxy|clients|scrape|alerts|notifications"  # and of links
)


def mistakes(service: ServiceSpec, file: YamlFile, beside: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Every unknown placeholder, unusable name, and secret or certificate that is not where it should be."""
    found = [
        *_names(service), *_placeholders(service), *_metrics(service), *_shared_ports(service),
        *_missing(service, beside, environ), *_telemetry(service), *_disks(service), *attached.mistakes(service),
    ]  # fmt: skip
    return [f"{file.place(loc)}: {dotted(loc)}: {problem}" for loc, problem in found]


def _names(service: ServiceSpec) -> Iterator[tuple[Loc, str]]:
    for name in service.dependencies:
        if not NAME.fullmatch(name):
            yield ("dependencies", name), "must be lower-case letters, digits and -, as a fault names it"
        elif TAKEN.fullmatch(name):
            yield ("dependencies", name), "is the name of another process of the stack; give it another"


def _placeholders(service: ServiceSpec) -> Iterator[tuple[Loc, str]]:
    """Dependencies are started in their order, so each may name those before it; the service may name all."""
    words = {"state", "python", "port", "metrics_port", "replica", "otlp"}
    words |= {f"{name}.{part}" for name in service.dependencies for part in ("host", "port")}

    def unknown(loc: Loc, text: str, known: list[str]) -> Iterator[tuple[Loc, str]]:
        """What is meant as a placeholder and is none here. Any other brace is the command's own."""
        for name in dict.fromkeys(PLACEHOLDER.findall(text)):
            meant = name.endswith((".host", ".port")) or any(_slip(name, word) for word in words)
            if meant and name not in known:
                yield loc, f"unknown placeholder {{{name}}}; {nearest(name, known)}"

    known = ["state", "python"]
    for name, dependency in service.dependencies.items():
        at: Loc = ("dependencies", name)
        own = [*known, "port"] if dependency.takes_port else known
        if dependency.start is not None:
            yield from unknown((*at, "start", "command"), dependency.start.command, own)
            for key, text in dependency.start.environment.items():
                yield from unknown((*at, "start", "environment", key), text, own)
        for kind, text in dependency.ready.model_dump(exclude_none=True).items() if dependency.ready else ():
            yield from unknown((*at, "ready", kind), text, own)
        if dependency.address or dependency.takes_port:
            known = [*known, f"{name}.host", f"{name}.port"]
    for i, step in enumerate(service.prepare):
        yield from unknown(("start", "prepare", i), step.command, known)
    own = [*known, "port", "metrics_port", "replica"]
    if service.start is not None:
        yield from unknown(("start", "command"), service.start.command, own)
        for key, text in service.start.environment.items():
            yield from unknown(("start", "environment", key), text, own)
    for which, probe in service.probes.by_name().items():
        for i, part in enumerate(probe.exec.command if probe.exec else ()):
            yield from unknown(("probes", which, "exec", "command", i), part, own)


def _telemetry(service: ServiceSpec) -> Iterator[tuple[Loc, str]]:
    """What of the signals cannot be found by what is said of them."""
    telemetry, known = service.telemetry, ["state", "replica"]
    addresses = [f"{name}.{part}" for name in service.dependencies for part in ("host", "port")]
    for section in ("logs", "audit", "database", "traces"):
        if (form := getattr(telemetry, section)) is None:
            continue
        at: Loc = ("telemetry", section)
        if form.label is not None and not telemetry.classes:
            yield (
                (*at, "label"),
                "nothing says which class is which; add telemetry.classes, in the order of their numbers",
            )
        if section == "audit" and not form.file:
            yield at, "file is missing: say where it is written, like {state}/{replica}/audit.jsonl"
        texts = {"file": getattr(form, "file", ""), "url": getattr(form, "url", "")}
        texts["verify"] = getattr(form, "verify", None) or ""
        texts |= {f"environment.{key}": text for key, text in getattr(form, "environment", {}).items()}
        for key, text in texts.items():
            may = [*known, *addresses, *MORE.get(section, [])]
            for name in dict.fromkeys(PLACEHOLDER.findall(text)):
                if name not in may:
                    yield (*at, *key.split(".")), f"unknown placeholder {{{name}}}; {nearest(name, may)}"
        if section == "database" and form.url.startswith("postgres") and find_spec("psycopg") is None:
            yield (*at, "url"), "to read PostgreSQL takes `pip install psycopg[binary]`"


def _shared_ports(service: ServiceSpec) -> Iterator[tuple[Loc, str]]:
    """A port by its number is the same for all replicas, of which one at most can have it."""
    for which, probe in service.probes.by_name().items() if service.replicas > 1 and not service.attached else ():
        for kind in ("httpGet", "tcpSocket"):
            if type(getattr(getattr(probe, kind), "port", None)) is int:
                why = f"{service.replicas} replicas cannot have it each"
                yield ("probes", which, kind, "port"), f"{why}; leave it out, then each is asked at its own"


def _slip(word: str, meant: str) -> bool:
    """Whether one is the other but for one letter more, less, different, or swapped with the next."""
    one, other = _unlike(word, meant)
    one, other = _unlike(one[::-1], other[::-1])
    return max(len(one), len(other)) <= 1 or (len(one) == 2 and one == other[::-1])


def _unlike(one: str, other: str) -> tuple[str, str]:
    """Both without what they begin with alike."""
    alike = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[alike:], other[alike:]


def _metrics(service: ServiceSpec) -> Iterator[tuple[Loc, str]]:
    if service.metrics.port is not None and not service.attached:
        if service.takes_metrics_port:
            yield ("metrics", "port"), "the start command takes {metrics_port}, a free one; drop one of the two"
        elif service.replicas > 1:
            why = f"{service.replicas} replicas cannot share it"
            yield ("metrics", "port"), f"{why}; have the start command take {{metrics_port}}, a free one for each"


def _disks(service: ServiceSpec) -> Iterator[tuple[Loc, str]]:
    """A disk that nothing is kept on."""
    starts = [] if service.start is None else [(("start",), service.start, "{state}/{replica}")]
    for name, dependency in service.dependencies.items():
        if dependency.start is not None:
            starts.append((("dependencies", name, "start"), dependency.start, f"{{state}}/{name}"))
    for loc, start, folder in starts:
        if start.disk is not None and not any(folder in text for text in start.texts):
            yield (*loc, "disk"), f"the start does not name its folder, {folder}; have it keep there what it keeps"


def _missing(service: ServiceSpec, beside: Path, environ: Mapping[str, str]) -> Iterator[tuple[Loc, str]]:
    sources: list[tuple[Loc, SecretSource]] = []
    files: list[tuple[Loc, str]] = []
    for section in ("requests", "metrics"):
        access: Access = getattr(service, section)
        for kind in ("bearer", "basic", "header"):
            if (source := getattr(access, kind)) is not None:
                sources.append(((section, kind), source))
        for key in ("ca", "client_cert", "client_key"):
            if (path := getattr(access, key)) is not None:
                files.append(((section, key), path))
    for which, probe in service.probes.by_name().items():
        at = ("probes", which) if probe.httpGet is None else ("probes", which, "httpGet")
        for i, header in enumerate(getattr(probe.action, "httpHeaders", ())):
            if header.valueFrom is not None:
                sources.append(((*at, "httpHeaders", i, "valueFrom"), header.valueFrom))
    for loc, source in sources:
        if source.from_file is not None:
            files.append(((*loc, "from_file"), source.from_file))
        elif not environ.get(source.env or ""):
            named = VARIABLE.fullmatch(source.env or "")  # else it may be the secret itself
            yield (*loc, "env"), f"the environment variable {f'{source.env} ' if named else 'that it names '}is not set"
    for loc, path in files:
        if path.startswith("{state}/"):
            if not service.prepare:
                yield loc, f"nothing makes {path}: there is no start.prepare"
        elif not os.path.isfile(path):
            public = loc[-1] in ("ca", "client_cert")  # else it may be the secret itself
            yield loc, f"no such file{f': {os.path.relpath(path, beside)}' if public else ''}"
