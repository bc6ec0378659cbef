"""What a check may know of the plan when it is made: plain frozen data, filled by the plan."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, field_validator, model_validator

from harness.alert import Alert, selector
from harness.parameters import Duration, Environment, Share, Strict, no_nul
from harness.telemetry import Telemetry
from harness.units import duration, listed, nearest
from harness.witness import Witness

STEADY = "steady"  # the phase before the first experiment
NONE, TEMPLATE = "none", "template"  # the severity of a rule without one, and of one whose is known when it fires
DEPLOYMENT = frozenset(  # labels that a discovery adds to targets, by their usual names: a host without it has none
    {
        "namespace", "pod", "container", "node", "cluster", "region", "zone", "environment", "env", "service", "tenant",
        "prometheus", "datacenter", "dc", "host", "hostname", "team", "app", "stack", "kubernetes_namespace",
        "kubernetes_pod_name",
    }
)  # fmt: skip
OURS = "HARNESS_"  # what variables of the environment begin with that a stack marks its processes by
DELIVERY_S = 60.0  # production seconds from the rule to its receiver, where a contract does not bound them itself


class AlertBounds(Strict):
    """By when a rule fires and its receiver is notified; production time, counted from the fault's start, and from the
    end of its effect. Without a bound on its end, that it is over is not judged."""

    fires_within: Duration
    notified_within: Duration | None = None  # fires_within and a minute
    resolves_within: Duration | None = None
    resolved_notified_within: Duration | None = None  # resolves_within, where that is given, and a minute

    @property
    def notified_s(self) -> float:
        """The bound on the notification that it fires."""
        return self.fires_within + DELIVERY_S if self.notified_within is None else self.notified_within

    @property
    def resolved_notified_s(self) -> float | None:
        """The bound on the notification that it is over."""
        if self.resolved_notified_within is None and self.resolves_within is not None:
            return self.resolves_within + DELIVERY_S
        return self.resolved_notified_within


class AlertExpectation(AlertBounds):
    """An alert that must fire for this fault."""

    alert: str
    severity: str  # as its rule says it, `none` where that has none; of a template the value expected
    labels: dict[str, str] = Field(default_factory=dict)  # where name and severity are those of several rules
    receiver: str
    proof: Literal["both", "replay"] = "both"
    held: Duration | None = None  # how long the recorded fault is to last in the replay; production time
    growing: tuple[str, ...] = ()  # gauges that go on growing then; all else goes on as it was

    @model_validator(mode="after")
    def _held_long_enough(self) -> Any:
        if self.held is None:
            if self.growing:
                raise ValueError("growing: says how a fault is held; say for how long by held:")
            return self
        if self.proof != "replay":
            raise ValueError("held: is a replay of what did not last so long; say proof: replay with it")
        if self.fires_within > self.held:
            raise ValueError(f"fires_within: {duration(self.fires_within)} is longer than held: {duration(self.held)}")
        return self


class ProbeExpectation(Strict):
    """What the kubelet must decide for one process."""

    restart: Literal["exit", "liveness", "never"]
    readiness: Literal["ready", "unready", "any"] = "any"
    at_most: int = Field(1, ge=1)  # restarts, where one is expected


class StopExpectation(Strict):
    """What a component does that is asked to end by the fault `stop`; gate time."""

    exits_within: Duration | None = None  # by itself; None: within terminationGracePeriodSeconds
    exit_codes: tuple[int, ...] = (0,)  # 143 where it raises SIGTERM again once it has drained
    readiness_first: bool = True  # its readiness probe is answered no before it refuses connections
    lost_at_most: int = Field(0, ge=0)  # of the requests that came while it was in traffic


class ClientExpectation(Strict):
    """What the clients may see; gate time."""

    errors_at_most: Share
    recovered_within: Duration  # from the fault on, until they are served again


def _command(text: str) -> str:
    """The same, which must be a command without a shell, and name nothing but what it is given. Raises ValueError."""
    no_nul(text)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"cannot be split into arguments: {str(error).lower()}; write it as for a shell") from None
    if not words:
        raise ValueError("must name a program")
    if others := {*re.findall(r"(?<!\$)\{([a-z_]+)\}", text)} - {"scratch", "python"}:
        raise ValueError(f"unknown placeholder {{{min(others)}}}; {nearest(min(others), ['scratch', 'python'])}")
    return text


Command = Annotated[str, AfterValidator(_command)]


class StartExpectation(Strict):
    """How the service is started for an experiment, and for no other: with more in the environment of its replicas.
    In both {scratch} is a folder of the run."""

    prepare: tuple[Command, ...] = ()  # commands that are run before, each to its end
    environment: Environment = Field(min_length=1)  # of PYTHONPATH and the like: what comes before the service's own

    @field_validator("environment")
    @classmethod
    def _is_not_ours(cls, given: dict[str, str]) -> dict[str, str]:
        if ours := [name for name in given if name.startswith(OURS)]:
            raise ValueError(f"{ours[0]} is one that the harness sets itself; drop it")
        return given


class Contract(Strict):
    """All that an experiment promises. Without probes and clients it would decide too little, so both are asked for."""

    alerts: list[AlertExpectation]
    may_fire: tuple[str, ...] = ()
    probes: dict[str, ProbeExpectation] = Field(min_length=1)
    clients: ClientExpectation
    stops: dict[str, StopExpectation] = Field(default_factory=dict)
    start: StartExpectation | None = None  # None: as service.yaml says
    may_lose: tuple[Literal["logs", "audit", "database"], ...] = ()  # what its answers need not have left there
    may_be_wrong: tuple[Literal["answers", "times"], ...] = ()  # while its fault lasts; times: of what is recorded
    scrape_gap: Duration = Field(0, ge=0)  # gate time that its fault may keep Prometheus from scraping, at a stretch
    witness: Witness | None = None  # of an action that is none of the harness' own


@dataclass(frozen=True)
class RuleFact:
    """What a check must know of a production alert rule."""

    alert: Alert
    severity: str  # the text of its label; NONE or TEMPLATE
    place: str
    applicable: bool = True  # False: this host lacks what the rule watches, a GPU, say
    always: bool = False  # it fires by its form alone, whatever it is called: a Watchdog, a dead man's switch
    reads: tuple[str, ...] = ()  # the metrics that its expression names
    fires_s: tuple[float, float] | None = None  # when it fires at the earliest and latest, by its form alone
    for_s: float = 0.0  # how long it waits before it fires, whatever its expression
    keeps_s: float = 0.0  # how long it goes on firing, `keep_firing_for`


def severity_of(labels: Mapping[str, str]) -> str:
    """The severity of a rule, by which coverage counts."""
    text = labels.get("severity", "")
    return TEMPLATE if "{{" in text else text or NONE


def named(text: str, facts: Sequence[RuleFact]) -> list[RuleFact]:
    """The rules that an entry means: all of one name, or, as `Errors{severity="page"}`, those with the labels.

    Without any rule there is nothing to compare it with, so it means none. Raises ValueError.
    """
    if not facts or (found := [fact for fact in facts if fact.alert.name == text]):
        return found if facts else []
    name, labels = selector(text)
    return _with_labels(name, labels, facts)


def promised(want: AlertExpectation, facts: Sequence[RuleFact]) -> RuleFact:
    """The one rule that a contract means. Raises ValueError where none or several fit."""
    if not facts:  # none could be read
        return RuleFact(Alert(want.alert), want.severity, "")
    found = _with_labels(want.alert, want.labels, facts)
    fitting = [fact for fact in found if fact.severity == want.severity]
    fitting = fitting or [fact for fact in found if fact.severity == TEMPLATE]
    if not fitting:
        raise ValueError(f"{want.alert} is to be {want.severity}, but its rule says {_said(found)}")
    if len({fact.alert for fact in fitting}) > 1:
        raise ValueError(f"{want.alert} of severity {want.severity} is one of {_said(fitting)}; say `labels:` of one")
    return fitting[0]


def unmet(want: AlertBounds, fact: RuleFact) -> Iterator[tuple[str, str]]:
    """(bound, why) for each that no arithmetic can meet: its rule waits for longer than that."""
    for name, waits_s, what in (
        ("fires_within", fact.for_s, "waits, by `for`,"),
        ("notified_within", fact.for_s, "waits, by `for`,"),
        ("resolves_within", fact.keeps_s, "goes on firing, by `keep_firing_for`,"),
        ("resolved_notified_within", fact.keeps_s, "goes on firing, by `keep_firing_for`,"),
    ):
        within_s = getattr(want, name)
        if within_s is not None and (within_s < waits_s or within_s <= 0):
            waits = (
                f"its rule {what} for {duration(waits_s)} ({fact.place})" if waits_s else "nothing is done in no time"
            )
            yield name, f"cannot be met: {waits}; got {duration(within_s)}"


def _with_labels(name: str, labels: Mapping[str, str], facts: Sequence[RuleFact]) -> list[RuleFact]:
    mine = [fact for fact in facts if fact.alert.name == name]
    if not mine:
        raise ValueError(f"no rule is called {name}; {nearest(name, list(dict.fromkeys(f.alert.name for f in facts)))}")
    if not (found := [fact for fact in mine if labels.items() <= fact.alert.said.items()]):
        wanted = ", ".join(f'{label}="{value}"' for label, value in labels.items())
        raise ValueError(f"no rule {name} has {wanted}; there is {_said(mine)}")
    return found


def _said(facts: Iterable[RuleFact]) -> str:
    return listed(
        [f"{f.severity} ({f.place})" if str(f.alert) == f.alert.name else f"{f.alert} ({f.place})" for f in facts]
    )


class Finding(NamedTuple):
    """Something that is wrong with the files of the monitoring, as far as they show it."""

    place: str  # file:line
    said: str  # a sentence without its end
    remedy: str


class Shown(NamedTuple):
    """A label that a text of a rule shows, which the series of its expression may have or not."""

    place: str
    alert: str
    text: str  # of which annotation
    label: str
    metrics: tuple[str, ...]  # all that the expression reads


class Read(NamedTuple):
    """A selector of a rule."""

    place: str
    rule: str
    selector: str  # as written
    metric: str
    matchers: tuple[tuple[str, str, str], ...]  # (label, = != =~ !~, value)
    may_be_empty: bool = False  # by the form of the expression: in absent(), after `unless`, beside `or`


@dataclass(frozen=True)
class Way:
    """One way that an alert may take through Alertmanager; production seconds."""

    receiver: str
    place: str  # of the route
    group_wait_s: float
    group_interval_s: float
    group_by: tuple[str, ...] = ()
    intervals: tuple[str, ...] = ()  # names of the route's mute and active times
    inhibiting: tuple[tuple[Alert, str], ...] = ()  # alerts that may inhibit it, and the place of that


@dataclass(frozen=True)
class StartBudget:
    """Which probe ends a component that has not started, and for how long it lets it; seconds, as in Kubernetes."""

    probe: Literal["startup", "liveness"]
    delay_s: float
    period_s: float
    failures: int

    @property
    def seconds(self) -> float:
        """initialDelaySeconds + periodSeconds * failureThreshold."""
        return self.delay_s + self.period_s * self.failures


@dataclass(frozen=True)
class View:
    """The plan as the checks see it. Seconds and shares; production time unless a name says otherwise."""

    time_scale: float = 1.0
    rules: tuple[RuleFact, ...] = ()
    phases: tuple[str, ...] = (STEADY,)  # the steady load, then each experiment by its name
    not_run: tuple[tuple[str, str], ...] = ()  # alerts of whose experiments none can take place here, and why
    left_out: tuple[str, ...] = ()  # experiments of the plan that do not take place this time
    contracts: tuple[tuple[str, Contract], ...] = ()  # (experiment, what it promises)
    windows: tuple[tuple[str, ...], ...] = ()  # experiments, those together that take place at the same time
    may_fire: tuple[str, ...] = ()  # alerts that the load itself may raise
    availability: float | None = None  # the service's objectives; None: it states none
    latency: tuple[float, float] | None = None  # (percentile, milliseconds)
    error_ratio: float | None = None
    ways: tuple[tuple[Alert, str, tuple[Way, ...]], ...] = ()  # of each alert, by its severity
    integrations: tuple[tuple[str, tuple[tuple[str, bool], ...]], ...] = ()  # receiver -> (name, sends resolutions)
    rewritten: tuple[tuple[Alert, tuple[str, ...]], ...] = ()  # labels of an alert that may not arrive as they are
    starting: StartBudget | None = None  # None: no probe ends what has not started
    replicas: tuple[str, ...] = ("server",)  # the components that have probes
    unseen: bool = False  # what they take of the machine: nobody here knows their processes
    telemetry: Telemetry = field(default_factory=Telemetry)  # where the service says of itself what it did
    severities: tuple[tuple[str, tuple[str, ...]], ...] = ()  # severity -> receivers that its alerts may reach
    misrouted: tuple[Finding, ...] = ()
    silenced: tuple[Finding, ...] = ()  # alerts that others would silence
    inhibitions: int = 0  # rules of inhibition
    texts: tuple[Finding, ...] = ()  # what is wrong with what rules and receivers say
    shown: tuple[Shown, ...] = ()
    reads: tuple[Read, ...] = ()
    recordings: tuple[str, ...] = ()  # names of the metrics that rules record
    job: str = ""  # of the service's own series
    accuracy: tuple[float, str] | None = None  # share of right classes by the model's card, and its place there
    scrape_timeout_s: float = 10.0  # how long production waits for a scrape
    lag_p99_ms: float = 50.0  # what the generator may be off; gate time
    lag_p99_under_fault_ms: float = 100.0
    rate_within: float = 0.01

    @property
    def not_applicable(self) -> tuple[str, ...]:
        """The alerts that cannot be exercised on this host."""
        return tuple(str(rule.alert) for rule in self.rules if not rule.applicable)

    @property
    def always_firing(self) -> tuple[str, ...]:
        """The alerts that fire whatever happens, and so show that alerting itself works."""
        return tuple(dict.fromkeys(str(rule.alert) for rule in self.rules if rule.always))

    def rule(self, alert: str) -> RuleFact | None:
        """A rule of a name."""
        return next((r for r in self.rules if r.alert.name == alert), None)

    def one(self, text: str) -> RuleFact:
        """The one rule that a text means. Raises ValueError where none or several fit."""
        found = named(text, self.rules)
        if not found:
            raise ValueError(f"the service has no rule {text}")
        if len({fact.alert for fact in found}) > 1:
            raise ValueError(f"{text} is one of {_said(found)}; name its labels: {found[0].alert}")
        return found[0]

    def keys(self, texts: Iterable[str]) -> list[str]:
        """Entries like those of may_fire, by the names of rules, or by `str` of the alerts with the labels that an
        entry says. Raises ValueError."""
        by_name = {rule.alert.name for rule in self.rules}
        return [
            key
            for text in texts
            for key in (
                [text] if text in by_name or not self.rules else [str(f.alert) for f in named(text, self.rules)]
            )
        ]
