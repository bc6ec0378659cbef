"""`service.yaml`: what is watched, how it is started, probed and accessed, and by what it is watched.

Texts may hold placeholders like {port}, which are filled in when the stack comes up; any other brace stays as it is.
Paths of files beside service.yaml are absolute where `folder` is in the context of the validation.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from harness.parameters import Duration, Environment, EnvName, Size, Strict, no_nul
from harness.stack.control import BY_HARNESS
from harness.stack.place import PORTS, Place, place
from harness.telemetry import Telemetry

_ADDRESS = re.compile(r"[^\s:]+:(?:([0-9]{1,5})|\{(?:[a-z][a-z0-9-]*\.)?port\})")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?")
PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z][a-z0-9_.-]*)\}")  # ${port} is a variable of a shell
RESERVED = {"content-length", "host", "transfer-encoding", "x-request-id"}  # each request has its own
ATTACHED_READY_WITHIN_S = 30.0  # of what runs already
MIN_DISK = 8e6  # bytes that a file system with a journal takes
IN_PLACE = "must be {from_file: PATH} or {env: NAME}: a secret is not written into this file"


def filled(text: str, values: Mapping[str, object]) -> str:
    """A text of service.yaml with its placeholders replaced."""
    return PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), text)


def _holds(texts: Iterable[str], name: str) -> bool:
    return any(name in PLACEHOLDER.findall(text) for text in texts)


def _command(text: str) -> str:
    no_nul(text)
    try:
        if shlex.split(text):
            return text
    except ValueError as error:
        raise ValueError(f"cannot be split into arguments: {str(error).lower()}; write it as for a shell") from None
    raise ValueError("must name a program")


def _url(text: str) -> str:
    try:
        parts = urlsplit(PLACEHOLDER.sub("1", text))
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and text.isprintable():
            return text
    except ValueError:
        pass
    raise ValueError("must be a URL, like http://127.0.0.1:{port}/ready")


def _address(text: str) -> str:
    port = _ADDRESS.fullmatch(text)
    if port is None or not 1 <= int(port[1] or 1) <= 65535 or "\0" in text:
        raise ValueError("must be host:port, with a port from 1 to 65535")
    return text


def _fixed(text: str) -> str:
    if text.endswith("}"):
        raise ValueError("must be host:port, the port a number")
    return text


def _one_line(text: str) -> str:
    if any(ord(c) < 32 and c != "\t" for c in text):
        raise ValueError("must be one line of text without control characters")
    return text


def _not_reserved(name: str) -> str:
    if name.lower() in RESERVED:
        raise ValueError("the generator sets this header for each request; choose another")
    return name


def _absolute(path: str, info: ValidationInfo) -> str:
    """Beside service.yaml, but for what is in the run's own folder."""
    folder = (info.context or {}).get("folder")
    return path if folder is None or path.startswith("{state}/") else str(folder / path)


def _elsewhere(value: Any) -> Any:
    """Refuse a secret that is written in place, without quoting it."""
    if value is not None and not isinstance(value, dict):
        raise ValueError(IN_PLACE)
    return value


def _list(value: Any) -> Any:
    """A list that may be written as its one entry alone."""
    return (value,) if isinstance(value, str) else value


def _one_key(key: str) -> BeforeValidator:
    """A section that may be written as the value of this key alone."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


Command = Annotated[str, AfterValidator(_command)]  # its arguments are split as a shell does; there is no shell
File = Annotated[str, AfterValidator(_absolute)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
Address = Annotated[str, AfterValidator(_address)]  # host:port
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


class SecretSource(Strict):
    """Where a secret is: a file beside service.yaml or in {state}, or an environment variable of the harness."""

    from_file: File | None = None
    env: EnvName | None = None

    @model_validator(mode="after")
    def _one_of(self) -> SecretSource:
        if (self.from_file is None) == (self.env is None):
            raise ValueError(IN_PLACE)
        return self


class BasicSource(SecretSource):
    """A user, and where the password is."""

    user: str = Field(pattern="^[^:]+$")


class HeaderSource(SecretSource):
    """The name of a header, and where its value is."""

    name: Annotated[HeaderName, AfterValidator(_not_reserved)]


Secret = Annotated[SecretSource, BeforeValidator(_elsewhere)]
Basic = Annotated[BasicSource, BeforeValidator(_elsewhere)]
Header = Annotated[HeaderSource, BeforeValidator(_elsewhere)]


class Access(Strict):
    """How requests, or scrapes, get in."""

    scheme: Literal["http", "https"] = "http"
    bearer: Secret | None = None
    basic: Basic | None = None
    header: Header | None = None
    ca: File | None = None  # whose certificates to trust instead of the system's authorities
    insecure: bool = False  # trust any certificate
    client_cert: File | None = None
    client_key: File | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Access:
        if [self.bearer, self.basic, self.header].count(None) < 2:
            raise ValueError("must have one of bearer, basic and header at most")
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key belong together")
        if self.ca is not None and self.insecure:
            raise ValueError("must have one of ca and insecure at most")
        if self.scheme == "http" and (self.ca or self.insecure or self.client_cert):
            raise ValueError("ca, insecure and client_cert need scheme: https")
        return self


class Metrics(Access):
    """Where Prometheus scrapes the service, and how it is let in."""

    path: str = Field("/metrics", pattern="^/")
    port: int | None = Field(None, ge=1, le=65535)  # where it is not that of requests; {metrics_port} is a free one

    @model_validator(mode="after")
    def _can_be_scraped(self) -> Metrics:
        if self.header is not None:
            raise ValueError("Prometheus 2.42 sends no header of another name than Authorization; use bearer or basic")
        return self


class Start(Strict):
    """How a component is started here, in the folder of gate.yaml; plan/components.py knows the placeholders."""

    command: Command
    ready_within: Duration = 60
    environment: Environment = Field(default_factory=dict)
    disk: Annotated[Size, Field(ge=MIN_DISK)] | None = None  # its folder in {state} is a file system of this size

    @property
    def texts(self) -> tuple[str, ...]:
        """All that may hold placeholders."""
        return (self.command, *self.environment.values())


class Prepare(Strict):
    """A command that is run once, to its end, before the service is started."""

    command: Command
    output: str = Field("", pattern=r"^(\{state\}/[^/\x00]+)?$")  # gets what it prints, as a key; else its log does
    within: Duration = 60

    @field_validator("output")
    @classmethod
    def _is_a_file(cls, output: str) -> str:
        if output.endswith(("/.", "/..")):
            raise ValueError("must be a file in {state}, like {state}/key")
        return output


class ServiceStart(Start):
    """How the service is started here."""

    prepare: list[Annotated[Prepare, _one_key("command")]] = Field(default_factory=list)

    @field_validator("command")
    @classmethod
    def _names_the_port(cls, command: str) -> str:
        if not _holds([command], "port"):
            raise ValueError("must contain {port}, the free port the harness chooses")
        return command


def _placed(text: Any) -> Any:
    return place(text) if isinstance(text, str) else text


Url = Annotated[Place, PlainValidator(_placed)]


class Cluster(Strict):
    """The pods of a component, in a cluster."""

    namespace: str = Field(min_length=1)
    selector: str = Field(min_length=1)  # of their labels, like app=shop
    context: str = Field(min_length=1)  # of the kubeconfig; `in-cluster`: the account of the pod that this runs in
    kubeconfig: File | None = None  # else $KUBECONFIG, else ~/.kube/config


class ControlSpec(Strict):
    """What may be done to something that the harness did not start; nothing: it is observed only."""

    pid_file: File | None = None  # holds the number of its main process, on this machine
    container: str | None = Field(None, min_length=1)  # its name or id, as the engine knows it
    compose: File | None = None  # the file by which it was started
    service: str | None = Field(None, min_length=1)  # its name there
    number: int = Field(1, ge=1)  # of its containers, where it has several
    kubernetes: Cluster | None = None
    engine: str | None = Field(None, min_length=1)  # address of the API: unix:///run/docker.sock; else $DOCKER_HOST
    restarted_by: str = Field("", min_length=1)  # who starts it again when it has ended: `harness`, or whoever it is

    @property
    def kind(self) -> str:
        """Which control it is, by its name in the table of `control.CONTROLS`."""
        return next(
            (kind for kind in ("pid_file", "container", "compose", "kubernetes") if getattr(self, kind) is not None),
            "none",
        )

    @property
    def is_blind(self) -> bool:
        """Whether it does not show the processes, and so not what they take."""
        return self.kind in ("none", "kubernetes")

    @model_validator(mode="after")
    def _fits_together(self) -> ControlSpec:
        if [self.pid_file, self.container, self.compose, self.kubernetes].count(None) < 3:
            raise ValueError("must have one of pid_file, container, compose and kubernetes")
        if (self.compose is None) != (self.service is None) or (self.compose is None and self.number != 1):
            raise ValueError("compose, a file, and service, a name in it, belong together; number goes with them")
        if self.engine is not None and self.kind not in ("container", "compose"):
            raise ValueError("an engine goes with a container")
        if self.kind == "none" and self.restarted_by:
            raise ValueError("restarted_by goes with pid_file, container or compose: else nothing is ended")
        if self.kubernetes is not None and self.restarted_by:
            raise ValueError("pods are made anew by their controller; leave restarted_by out")
        if self.kind == "pid_file" and self.restarted_by == BY_HARNESS:
            raise ValueError("pid_file does not say how it is started; name who starts it again, like systemd")
        return self


def _controlled(value: Any) -> Any:
    return {} if value == "none" else value


Controlled = Annotated[ControlSpec, BeforeValidator(_controlled)]


class ScrapedAt(Strict):
    """Where the metrics of one instance are, where not at its own port and `metrics.path`."""

    port: int | None = Field(None, ge=1, le=65535)
    path: str | None = Field(None, pattern="^/")


class Instance(Strict):
    """One process of a service that runs already: probed and scraped by itself."""

    url: Url
    metrics: ScrapedAt = ScrapedAt()
    labels: dict[LabelName, str] = Field(default_factory=dict)  # of its target, beside monitoring.target_labels
    control: Controlled = ControlSpec()

    @field_validator("url")
    @classmethod
    def _has_no_path(cls, url: Place) -> Place:
        if url.path:
            raise ValueError(f"must hold no path, for probes and metrics have their own; got {url.path}")
        return url


class ReadyTest(Strict):
    """How to see that a dependency can be used."""

    tcp: Address | None = None  # host:port accepts a connection
    http: Annotated[str, AfterValidator(_url)] | None = None  # the URL is answered with a status below 400
    command: Command | None = None  # it exits with 0

    @model_validator(mode="after")
    def _one_of(self) -> ReadyTest:
        if [self.tcp, self.http, self.command].count(None) != 2:
            raise ValueError("must name one of tcp (host:port), http (a URL) and command")
        return self


class DependencySpec(Strict):
    """What the service needs: started before it, or there already at an address."""

    start: Start | None = None
    address: Annotated[Address, AfterValidator(_fixed)] | None = None
    ready: ReadyTest | None = None  # else: its port, or its address, accepts a connection
    control: Controlled = ControlSpec()  # of one that is there already

    @model_validator(mode="after")
    def _can_be_tested(self) -> DependencySpec:
        if (self.start is None) == (self.address is None):
            raise ValueError("must have either a start command or an address, host:port")
        if self.start is not None and self.ready is None and not self.takes_port:
            raise ValueError("must say when it is ready (tcp, http or command), for its start has no {port} to try")
        if self.start is not None and self.control.kind != "none":
            raise ValueError("control is of what runs already; what is started here is under control as it is")
        if self.control.restarted_by == BY_HARNESS:
            raise ValueError("restarted_by: the harness restarts by probes, which a dependency has none of")
        return self

    @property
    def is_controlled(self) -> bool:
        """Whether it is there already, and faults may be done to it."""
        return self.control.kind != "none"

    @property
    def is_component(self) -> bool:
        """Whether faults may name it."""
        return self.start is not None or self.is_controlled

    @property
    def takes_port(self) -> bool:
        """Whether it gets a port of the run."""
        return self.start is not None and _holds(self.start.texts, "port")

    @property
    def test(self) -> ReadyTest:
        """How to see that it can be used."""
        return self.ready or ReadyTest(tcp=self.address or "127.0.0.1:{port}")


class HttpHeader(Strict):
    """A header of a probe; a secret comes from elsewhere."""

    name: HeaderName
    value: Annotated[str, AfterValidator(_one_line)] | None = None
    valueFrom: Secret | None = None

    @model_validator(mode="after")
    def _one_of(self) -> HttpHeader:
        if (self.value is None) == (self.valueFrom is None):
            raise ValueError("must have either a value or a valueFrom, {from_file: PATH} or {env: NAME}")
        return self


def _port(value: Any) -> Any:
    number = type(value) is int and 1 <= value <= 65535
    if number or (isinstance(value, str) and _PORT_NAME.fullmatch(value) and "--" not in value):
        return value
    raise ValueError("must be a number from 1 to 65535, or a name of at most 15 lower-case letters, digits and -")


Port = Annotated[int | str, PlainValidator(_port)]
Whole = Annotated[int, Field(strict=True, le=2**31 - 1)]  # as Kubernetes keeps them


def _from_root(path: str) -> str:
    if "://" in path:
        raise ValueError("must be a path, not a URL; say host, port and scheme apart")
    return path if path.startswith("/") else f"/{path}"


ProbePath = Annotated[str, AfterValidator(_from_root)]  # Kubernetes takes it without its first slash, and nothing for /


class HttpGet(Strict):
    """A probe's HTTP request."""

    path: ProbePath = "/"
    port: Port | None = None  # the component's own, also for any name; a number is asked as it is
    host: str | None = Field(None, min_length=1)  # in place of this one
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    httpHeaders: list[HttpHeader] = Field(default_factory=list)  # in place of the kubelet's own of the same name


class TcpSocket(Strict):
    """A connection that a probe makes."""

    port: Port | None = None
    host: str | None = Field(None, min_length=1)


class Exec(Strict):
    """A command that a probe runs, in the folder and environment of the component, without a shell."""

    command: list[Annotated[str, AfterValidator(no_nul)]] = Field(min_length=1)


class Probe(Strict):
    """One probe, with the keys, units (seconds), defaults and bounds of a pod specification; what stands in httpGet may
    stand beside it in short, but for port and host."""

    httpGet: HttpGet | None = None
    tcpSocket: TcpSocket | None = None
    exec: Exec | None = None
    grpc: Any = None
    path: ProbePath | None = None
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    httpHeaders: list[HttpHeader] = Field(default_factory=list)
    periodSeconds: Whole = Field(10, ge=1)
    timeoutSeconds: Whole = Field(1, ge=1)
    failureThreshold: Whole = Field(3, ge=1)
    successThreshold: Whole = Field(1, ge=1)
    initialDelaySeconds: Whole = Field(0, ge=0)
    terminationGracePeriodSeconds: Whole | None = Field(None, ge=1)  # None: that of the service

    @field_validator("grpc")
    @classmethod
    def _is_not_asked(cls, grpc: Any) -> None:
        raise ValueError("is not asked here; have a client of it run by exec, or use httpGet or tcpSocket")

    @model_validator(mode="after")
    def _one_handler(self) -> Probe:
        given = [name for name in ("path", "httpGet", "tcpSocket", "exec") if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"got {' and '.join(given)}" if given else "got none"
            raise ValueError(f"must have exactly one of httpGet, tcpSocket and exec, or a path; {found}")
        if given != ["path"] and self.model_fields_set & {"scheme", "httpHeaders"}:
            raise ValueError("scheme and httpHeaders go with a path; those of an httpGet stand in it")
        return self

    @property
    def action(self) -> HttpGet | TcpSocket | Exec:
        """What it does."""
        short = {"path": self.path, "scheme": self.scheme, "httpHeaders": self.httpHeaders}
        return self.httpGet or self.tcpSocket or self.exec or HttpGet.model_construct(**short)


class Probes(Strict):
    """The probes that the prober sends."""

    startup: Probe | None = None
    liveness: Probe | None = None
    readiness: Probe

    @field_validator("startup", "liveness")
    @classmethod
    def _one_success(cls, probe: Probe | None) -> Probe | None:
        if probe is not None and probe.successThreshold != 1:
            raise ValueError("successThreshold must be 1 for startup and liveness, as in Kubernetes")
        return probe

    @field_validator("readiness")
    @classmethod
    def _restarts_nothing(cls, probe: Probe) -> Probe:
        if probe.terminationGracePeriodSeconds is not None:
            raise ValueError("terminationGracePeriodSeconds must not be set for readiness, which ends nothing")
        return probe

    def by_name(self) -> dict[str, Probe]:
        """Those that there are."""
        return {name: probe for name, probe in self if probe is not None}


class Relabelling(Strict):
    """One step of relabelling, with Prometheus' keys and defaults."""

    source_labels: list[str] = Field(default_factory=list)
    separator: str = ";"
    regex: str = "(.*)"
    modulus: int = Field(0, ge=0)
    target_label: str = ""
    replacement: str = "$1"
    action: Literal[
        "replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop", "labelkeep",
        "lowercase", "uppercase",
    ] = "replace"  # fmt: skip

    @model_validator(mode="after")
    def _complete(self) -> Relabelling:
        if self.action not in ("keep", "drop", "labelmap", "labeldrop", "labelkeep") and not self.target_label:
            raise ValueError(f"{self.action} needs a target_label")
        if self.action == "hashmod" and self.modulus < 1:
            raise ValueError("hashmod needs a modulus of 1 or more")
        return self


class Monitoring(Strict):
    """The production monitoring of the service; paths beside service.yaml."""

    job: str = Field(pattern=r'^[^"\\\x00-\x1f]+$')  # the value of a label, put into queries between quotes
    rules: list[str] = Field(min_length=1)
    alertmanager: File
    scrape_interval: Duration = Field(15, gt=0)
    evaluation_interval: Duration = Field(15, gt=0)
    scrape_timeout: Duration | None = Field(None, gt=0)  # 10 s as in Prometheus, or the interval where that is shorter
    external_labels: dict[LabelName, str] = Field(default_factory=dict)  # as in Prometheus' configuration
    alert_relabel_configs: list[Relabelling] = Field(default_factory=list)
    target_labels: dict[LabelName, str] = Field(default_factory=dict)  # what the discovery adds to each target
    needs: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # capability of the host -> alerts that need it
    severities: dict[str, Annotated[tuple[str, ...], BeforeValidator(_list)]] = Field(default_factory=dict)
    # the worst first -> receivers, or kinds of integration, that its alerts reach, and no others; []: nobody
    may_inhibit: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # alert -> its symptoms; "*": any
    runbooks: dict[str, File] = Field(default_factory=dict)  # beginning of a URL -> the file or folder that it shows

    @property
    def additions(self) -> dict[str, Any]:
        """What Prometheus adds to alerts and targets, by the names of its configuration."""
        steps = [step.model_dump(exclude_unset=True) for step in self.alert_relabel_configs]
        labels = {"external_labels": self.external_labels, "target_labels": self.target_labels}
        return {**labels, "alert_relabel_configs": steps}

    @property
    def scrape_timeout_s(self) -> float:
        """How long production waits for a scrape."""
        return min(10.0, self.scrape_interval) if self.scrape_timeout is None else self.scrape_timeout

    @model_validator(mode="after")
    def _scraped_in_time(self) -> Monitoring:
        if self.scrape_timeout_s > self.scrape_interval:
            raise ValueError(
                f"scrape_timeout is {self.scrape_timeout:g} s and scrape_interval {self.scrape_interval:g} s; "
                "Prometheus refuses a timeout that is longer"
            )
        return self

    @field_validator("target_labels")
    @classmethod
    def _not_the_target_itself(cls, labels: dict[str, str]) -> dict[str, str]:
        if taken := labels.keys() & {"job", "instance"}:
            raise ValueError(f"{' and '.join(sorted(taken))}: the job is monitoring.job, the instance each replica's")
        return labels


class ModelCard(Strict):
    """The card of the model, a JSON or YAML file, and where in it stands what the model promises."""

    card: File
    accuracy: str = Field("accuracy", min_length=1)  # share of right classes; within a section: held_out.accuracy


class ServiceSpec(Strict):
    """The whole of service.yaml."""

    name: str
    start: ServiceStart | None = None
    url: Url | None = None  # of one that runs, as its clients find it
    instances: list[Annotated[Instance, _one_key("url")]] = Field(default_factory=list, max_length=16)  # of it
    control: Controlled = ControlSpec()
    replicas: int = Field(1, ge=1, le=16)
    dependencies: dict[str, DependencySpec] = Field(default_factory=dict)
    requests: Access = Access()
    metrics: Annotated[Metrics, _one_key("path")] = Metrics()
    probes: Probes
    terminationGracePeriodSeconds: Whole = Field(30, ge=0)  # of a restart, where the probe has none of its own
    monitoring: Monitoring
    telemetry: Telemetry = Telemetry()
    model: ModelCard | None = None
    slos: str

    @model_validator(mode="before")
    @classmethod
    def _schemes(cls, given: Any) -> Any:
        """Requests and scrapes of what runs go by the scheme of its address, and it has as many replicas as said."""
        if not isinstance(given, dict) or not ("url" in given or "instances" in given):
            return given
        each = given.get("instances")
        each = [one.get("url") if isinstance(one, dict) else one for one in each] if isinstance(each, list) else []
        of_requests = given.get("url", each[0] if each else None)
        filled_in = {"requests": of_requests, "metrics": each[0] if each else of_requests}
        more: dict[str, Any] = {} if "replicas" in given or not each else {"replicas": len(each)}
        for section, url in filled_in.items():
            scheme, said = str(url).partition("://")[0].lower(), given.get(section, {})
            said = {"path": said} if isinstance(said, str) else said
            if scheme in PORTS and isinstance(said, dict):
                more[section] = {"scheme": scheme, **said}
        return given | more

    @model_validator(mode="after")
    def _is_somewhere(self) -> ServiceSpec:
        if (self.start is None) != self.attached:
            raise ValueError("must have either a start command, or the url or instances of one that runs")
        if not self.attached:
            if self.control.kind != "none":
                raise ValueError("control is of what runs already; what is started here is under control as it is")
            return self
        if self.url is not None and self.url.scheme != self.requests.scheme:
            raise ValueError(f"requests.scheme is {self.requests.scheme}, and the url says {self.url.scheme}")
        if {one.url.scheme for one in self.reached} != {self.metrics.scheme}:
            raise ValueError(f"metrics.scheme is {self.metrics.scheme}, and so must be that of each instance")
        if len({one.url.address for one in self.reached}) < len(self.reached):
            raise ValueError("instances must differ in their addresses")
        if self.instances and self.control.kind != "none":
            raise ValueError("control is that of each instance: say `instances: [{url: ..., control: ...}]`")
        if self.replicas != len(self.reached):
            raise ValueError(f"replicas is {self.replicas}, and {len(self.reached)} are named; leave it out")
        return self

    @property
    def attached(self) -> bool:
        """Whether it runs already, and nobody here starts or ends it."""
        return self.url is not None or bool(self.instances)

    @property
    def reached(self) -> tuple[Instance, ...]:
        """The instances of one that runs, in the order of `replica_names`."""
        if self.instances or self.url is None:
            return tuple(self.instances)
        return (Instance.model_construct(url=self.url._replace(path=""), control=self.control),)

    @property
    def controls(self) -> dict[str, ControlSpec]:
        """The control of each component that somebody else runs."""
        needed = {name: one.control for name, one in self.dependencies.items() if one.is_controlled}
        return needed | dict(zip(self.replica_names, (one.control for one in self.reached), strict=False))

    @property
    def ready_within(self) -> float:
        """How long it may take until it is in traffic."""
        return ATTACHED_READY_WITHIN_S if self.start is None else self.start.ready_within

    @property
    def prepare(self) -> list[Prepare]:
        """What is run before it is started."""
        return [] if self.start is None else self.start.prepare

    @property
    def replica_names(self) -> tuple[str, ...]:
        """The components that have probes."""
        return ("server",) if self.replicas == 1 else tuple(f"server-{i + 1}" for i in range(self.replicas))

    @property
    def traced_start(self) -> ServiceStart:
        """How it is started so that it sends its spans, where it has any."""
        traces = self.telemetry.traces
        more = {} if traces is None else traces.environment
        return self.start.model_copy(update={"environment": {**self.start.environment, **more}})

    @property
    def takes_metrics_port(self) -> bool:
        """Whether each replica gets a second port of the run, for its metrics."""
        return self.start is not None and _holds(self.start.texts, "metrics_port")
