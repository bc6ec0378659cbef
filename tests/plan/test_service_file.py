"""service.yaml: components, who asks and whom to trust. A mistake is a line with its place, and quotes no secret."""

import shutil
from pathlib import Path

import pytest
import yaml
from five import with_five

from harness.errors import PlanError
from harness.plan import plan as planning
from harness.stack.spec import Access, DependencySpec, HttpHeader, Metrics, Probe, ReadyTest, filled

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The repository's own plan, whose service.yaml may be changed."""
    for name in ("gate.yaml", "experiments", "scenarios", "docs"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "model_server").mkdir()
    shutil.copytree(ROOT / "model_server/monitoring", tmp_path / "model_server/monitoring")
    shutil.copytree(ROOT / "model_server/weights", tmp_path / "model_server/weights")
    (tmp_path / "gate.yaml").write_text(with_five((ROOT / "gate.yaml").read_text()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("OUR_SECRET", "s3cret")
    return tmp_path


def load(project, **sections):
    """The plan with these sections in service.yaml."""
    service = yaml.safe_load((ROOT / "model_server/service.yaml").read_text())
    del service["start"]["disk"]  # which is of a folder that other commands do not name
    for section, content in sections.items():
        service[section] = {**service[section], **content} if section in ("start", "probes") else content
    (project / "model_server/service.yaml").write_text(yaml.safe_dump(service, sort_keys=False))
    return planning.load(project / "gate.yaml")


def name_replicas(file):
    """The contract of an experiment speaks of replicas instead of the one server."""
    restarts = "probes: {server-1: {restart: never, readiness: any}, server-2: "
    text = file.read_text().replace("component: server,", "component: server-2,")
    text = text.replace("component: server}", "component: server-2}").replace("stops: {server: ", "stops: {server-2: ")
    file.write_text(text.replace("probes: {server: ", restarts))


def dependency(**given):
    return {"dependencies": {"database": given}}


def readiness(**given):
    return {"probes": {"readiness": {"path": "/health/ready", **given}}}


def probe(which="readiness", **given):
    return {"probes": {which: given}}


def monitoring(**given):
    return {"monitoring": {"job": "x", "rules": ["monitoring/rules/*.yaml"], "alertmanager": "x", **given}}


def telemetry(**sections):
    return {"telemetry": sections}


SECRET = {"env": "OUR_SECRET"}
TABLE = {"url": "sqlite:///{state}/x.db", "table": "predictions"}
MISTAKES = {
    "no such signal": (telemetry(lgos={}), "telemetry.lgos: unknown key; did you mean logs?"),
    "no such field": (telemetry(logs={"lable": "x"}), "telemetry.logs.lable: unknown key; did you mean label?"),
    "an audit log nowhere": (telemetry(audit={}), "telemetry.audit: file is missing: say where it is written"),
    "an open quote of an audit log": (
        telemetry(audit={"file": "x", "verify": "x '"}), "audit.verify: cannot be split into arguments: no",
    ),
    "classes without names": (
        telemetry(logs={"label": "x"}), "telemetry.logs.label: nothing says which class is which; add telemetry",
    ),
    "a log of no replica": (
        telemetry(logs={"file": "{state}/{replcia}.log"}),
        "telemetry.logs.file: unknown placeholder {replcia}; did you mean replica?",
    ),
    "a database of no dependency": (
        telemetry(database={**TABLE, "url": "sqlite:///{db.host}"}), "database.url: unknown placeholder {db.host}",
    ),
    "no database": (telemetry(database={**TABLE, "url": "x.db"}), "database.url: must be sqlite:///FILE or"),
    "no table": (telemetry(database={**TABLE, "table": "a; b"}), "telemetry.database.table: string should match"),
    "spans to nobody": (
        telemetry(traces={"environment": {"X": "http://localhost:4318"}}),
        "telemetry.traces.environment: no value holds {otlp}, the URL of the receiver, so no span would come",
    ),
    "spans to a slip": (
        telemetry(traces={"environment": {"X": "{otlp}", "Y": "{oltp}"}}), "Y: unknown placeholder {oltp}; did you",
    ),
    "no time": (telemetry(logs={"may_lose": {"within": 5}}), "telemetry.logs.may_lose.within: must be a duration with"),
    "no replica": ({"replicas": 0}, "replicas: input should be greater than or equal to 1"),
    "neither started nor there": (dependency(ready={"tcp": "a:1"}), "database: must have either a start command"),
    "both": (dependency(address="a:1", start={"command": "x {port}"}), "must have either a start command"),
    "an address without a port": (dependency(address="somewhere"), "dependencies.database.address: "),
    "untestable": (dependency(start={"command": "postgres"}), "must say when it is ready (tcp, http or command)"),
    "two tests": (
        dependency(address="a:1", ready={"tcp": "a:1", "http": "http://a"}),
        "ready: must name one of tcp (host:port), http (a URL) and command",
    ),
    "no such test": (dependency(address="a:1", ready={"tpc": "a:1"}), "ready.tpc: unknown key; did you mean tcp?"),
    "a name of ours": ({"dependencies": {"server-2": {"address": "a:1"}}}, "is the name of another process"),
    "no name": ({"dependencies": {"../x": {"address": "a:1"}}}, "must be lower-case letters, digits and -"),
    "half a quotation": (dependency(start={"command": "x 'y {port}"}), "command: cannot be split into arguments"),
    "a placeholder nobody fills": (
        {"start": {"command": "serve {port} {datbase.port}"}, **dependency(address="a:1")},
        "start.command: unknown placeholder {datbase.port}; did you mean database.port?",
    ),
    "one in the environment": (
        {"start": {"command": "serve {port}", "disk": "4 GB"}},
        "start.disk: the start does not name its folder, {state}/{replica}; have it keep there what it keeps",
    ),
    "no room for a file system": ({"start": {"disk": "1 MB"}}, "start.disk: "),
    "XX": (
        {"start": {"environment": {"X": "{stat}"}}}, "environment.X: unknown placeholder {stat}; did you mean state?",
    ),
    "a later dependency": (
        {"dependencies": {"a": {"start": {"command": "x {port} {b.port}"}}, "b": {"address": "b:1"}}},
        "dependencies.a.start.command: unknown placeholder {b.port}",
    ),
    "its own port, of none": (
        dependency(start={"command": "x"}, ready={"http": "http://127.0.0.1:{port}/"}),
        "dependencies.database.ready.http: unknown placeholder {port}",
    ),
    "output outside of the run": (
        {"start": {"prepare": [{"command": "x", "output": "key"}]}}, "start.prepare[0].output: string should match",
    ),
    "a slip": ({"start": {"command": "x {port} {prot}"}}, "command: unknown placeholder {prot}; did you mean port?"),
    "a shell's port": ({"start": {"command": "sh -c 'serve ${port}'"}}, "start.command: must contain {port}"),
    "an open quote": ({"start": {"command": "serve {port} '"}}, "start.command: cannot be split into arguments: no cl"),
    "an open quote before": ({"start": {"prepare": ['x "']}}, "start.prepare[0].command: cannot be split into"),
    "an open quote of a test": (
        dependency(address="a:1", ready={"command": "x '"}), "ready.command: cannot be split into arguments",
    ),
    "a NUL in a command": ({"start": {"command": "serve {port} \0"}}, "start.command: must not hold the character NUL"),
    "nothing to start": ({"start": {"command": ""}}, "start.command: "),
    "no URL": (dependency(address="a:1", ready={"http": "http://["}), "ready.http: must be a URL, like http://127"),
    "a port beyond all": (dependency(address="a:1", ready={"http": "http://a:99999/"}), "ready.http: must be a URL"),
    "no metrics port": ({"metrics": {"port": 0}}, "metrics.port: input should be greater than or equal to 1"),
    "a metrics port for two": (
        {"replicas": 2, "metrics": {"port": 9090}},
        "metrics.port: 2 replicas cannot share it; have the start command take {metrics_port}",
    ),
    "two metrics ports": (
        {"metrics": {"port": 9090}, "start": {"command": "serve {port} {metrics_port}"}},
        "metrics.port: the start command takes {metrics_port}, a free one; drop one of the two",
    ),
    "a prepared metrics port": ({"start": {"prepare": ["x {metrics_port}"]}}, "unknown placeholder {metrics_port}"),
    "a job in quotes": (monitoring(job='a"b'), "monitoring.job: string should match pattern"),
    "a prepared port": ({"start": {"prepare": ["x {port}"]}}, "start.prepare[0]: unknown placeholder {port}"),
    "a secret in place": ({"requests": {"bearer": "s3cret"}}, "requests.bearer: must be {from_file: PATH} or"),
    "a password in place": (
        {"requests": {"basic": {"user": "a", "password": "s3cret"}}}, "requests.basic.password: unknown key",
    ),
    "nowhere": ({"requests": {"bearer": {}}}, "requests.bearer: must be {from_file: PATH} or"),
    "in two places": ({"requests": {"bearer": {"from_file": "k", **SECRET}}}, "requests.bearer: must be {from_file"),
    "no such file": ({"requests": {"bearer": {"from_file": "k"}}}, "requests.bearer.from_file: no such file"),
    "a secret for a file's name": (
        {"requests": {"bearer": {"from_file": "s3cret"}}}, "requests.bearer.from_file: no such file",
    ),
    "a secret for a variable's name": (
        {"requests": {"bearer": {"env": "s3cret"}}}, "bearer.env: the environment variable that it names is not set",
    ),
    "a secret that no variable's name is": (
        {"requests": {"bearer": {"env": "s3cret!"}}}, "requests.bearer.env: string should match pattern",
    ),
    "a secret in a list": ({"requests": ["s3cret"]}, "requests: must be a mapping"),
    "a secret in the environment": (
        {"start": {"environment": {"KEY": ["s3cret"]}}}, "start.environment.KEY: input should be a valid string",
    ),
    "a secret for a duration": (
        dependency(start={"command": "x {port}", "ready_within": "s3cret"}), "ready_within: must be a duration with",
    ),
    "a header that each request has": (
        {"requests": {"header": {"name": "Host", **SECRET}}}, "requests.header.name: the generator sets this header",
    ),
    "no name of a variable": ({"start": {"environment": {"A-B": "x"}}}, "start.environment.A-B: string should match"),
    "a NUL": ({"start": {"environment": {"A": "x\0"}}}, "start.environment.A: must not hold the character NUL"),
    "a folder for an output": (
        {"start": {"prepare": [{"command": "x", "output": "{state}/.."}]}}, "output: must be a file in {state}",
    ),
    "no port": (dependency(address="a:0"), "database.address: must be host:port, with a port from 1 to 65535"),
    "too high a port": (dependency(address="a:65536"), "database.address: must be host:port, with a port from 1 to"),
    "an address that is filled in": (dependency(address="a:{port}"), "address: must be host:port, the port a number"),
    "a test of no port": (dependency(address="a:1", ready={"tcp": "a:70000"}), "ready.tcp: must be host:port, with a"),
    "a test of a folder": (dependency(address="a:1", ready={"tcp": "a:{state}"}), "ready.tcp: must be host:port"),
    "another's port": (
        dependency(address="a:1", ready={"tcp": "a:{b.port}"}), "database.ready.tcp: unknown placeholder {b.port}",
    ),
    "a scrape longer than the interval": (
        monitoring(scrape_timeout="20s"),
        "monitoring: scrape_timeout is 20 s and scrape_interval 15 s; Prometheus refuses a timeout that is longer",
    ),
    "a metric of no name": (
        {"telemetry": {"metrics": {"requests": "http requests"}}},
        "telemetry.metrics.requests.name: string should match pattern",
    ),
    "no status": (
        {"telemetry": {"metrics": {"requests": "a", "uncounted": [600]}}},
        "telemetry.metrics.uncounted[0]: string should match pattern",
    ),
    "no scrapes": (monitoring(scrape_interval="0s"), "monitoring.scrape_interval: input should be greater than 0"),
    "no evaluations": (monitoring(evaluation_interval="0s"), "evaluation_interval: input should be greater than 0"),
    "no rules from the root": (monitoring(rules=["/etc/*.rules"]), "rules[0]: no file matches /etc/*.rules"),
    "the whole disk": (monitoring(rules=["/proc/**"]), "rules[0]: more than 1,000 files match /proc/**; name fewer"),
    "no pattern": (monitoring(rules=[""]), "monitoring.rules[0]: must be a pattern of paths, beside service.yaml or"),
    "no such pattern": (monitoring(rules=["rules/x**"]), "monitoring.rules[0]: "),
    "a NUL in a pattern": (monitoring(rules=["rules/\0"]), "monitoring.rules[0]: "),
    "too long a pattern": (monitoring(rules=["x" * 300]), "monitoring.rules[0]: "),
    "a variable that is not set": (
        {"requests": {"bearer": {"env": "NOT_SET"}}}, "bearer.env: the environment variable NOT_SET is not set",
    ),
    "a file that nothing makes": (
        {"start": {"prepare": []}, "requests": {"bearer": {"from_file": "{state}/k"}}},
        "requests.bearer.from_file: nothing makes {state}/k: there is no start.prepare",
    ),
    "two kinds": (
        {"requests": {"bearer": SECRET, "header": {"name": "X-Key", **SECRET}}},
        "requests: must have one of bearer, basic and header at most",
    ),
    "no name of a header": ({"requests": {"header": {"name": "X Key", **SECRET}}}, "requests.header.name: string"),
    "a certificate without its key": (
        {"requests": {"scheme": "https", "client_cert": "gate.yaml"}}, "client_cert and client_key belong together",
    ),
    "an authority over http": ({"requests": {"ca": "x"}}, "ca, insecure and client_cert need scheme: https"),
    "an authority that nobody asks": (
        {"metrics": {"scheme": "https", "ca": "x", "insecure": True}}, "metrics: must have one of ca and insecure",
    ),
    "no such authority": ({"metrics": {"scheme": "https", "ca": "ca.pem"}}, "metrics.ca: no such file: ca.pem"),
    "a header for Prometheus": (
        {"metrics": {"header": {"name": "X-Key", **SECRET}}}, "metrics: Prometheus 2.42 sends no header of",
    ),
    "a probe's header without a value": (
        readiness(httpHeaders=[{"name": "X"}]), "httpHeaders[0]: must have either a value or a valueFrom",
    ),
    "a probe's header from nowhere": (
        readiness(httpHeaders=[{"name": "X", "valueFrom": {"from_file": "k"}}]), "valueFrom.from_file: no such file",
    ),
    "a probe's scheme": (readiness(scheme="https"), "probes.readiness.scheme: input should be 'HTTP' or 'HTTPS'"),
    "a probe that does nothing": (probe(periodSeconds=1), "readiness: must have exactly one of httpGet, tcpSocket and"),
    "a probe that does two things": (readiness(exec={"command": ["x"]}), "or a path; got path and exec"),
    "both forms": (probe(httpGet={"path": "/"}, tcpSocket={}), "or a path; got httpGet and tcpSocket"),
    "half in short": (probe(httpGet={"path": "/"}, scheme="HTTPS"), "readiness: scheme and httpHeaders go with a path"),
    "grpc": (probe("liveness", grpc={"port": 1}), "probes.liveness.grpc: is not asked here; have a client of"),
    "a misspelt handler": (probe(httpget={"path": "/"}), "readiness.httpget: unknown key; did you mean httpGet?"),
    "a misspelt key in one": (probe(httpGet={"pth": "/"}), "probes.readiness.httpGet.pth: unknown key; did you mean"),
    "a port of 0": (probe(httpGet={"port": 0}), "httpGet.port: must be a number from 1 to 65535, or a name"),
    "too high a port for a probe": (probe(tcpSocket={"port": 65536}), "tcpSocket.port: must be a number from 1 to"),
    "a number as text": (probe(tcpSocket={"port": "8080"}), "tcpSocket.port: must be a number from 1 to 65535"),
    "a name in capitals": (probe(tcpSocket={"port": "HTTP"}), "tcpSocket.port: must be a number from 1 to 65535"),
    "too long a name": (probe(tcpSocket={"port": "a" * 16}), "or a name of at most 15 lower-case letters"),
    "a true port": (probe(tcpSocket={"port": True}), "tcpSocket.port: must be a number from 1 to 65535"),
    "one port for all replicas": (
        {"replicas": 2, **probe(httpGet={"port": 8080})}, "httpGet.port: 2 replicas cannot have it each; leave it out",
    ),
    "no command": (probe(exec={"command": []}), "probes.readiness.exec.command: list should have at least 1 item"),
    "a command in one text": (probe(exec={"command": "curl x"}), "readiness.exec.command: must be a list; got"),
    "a placeholder in a probe": (
        probe(exec={"command": ["curl", "localhost:{prot}"]}),
        "probes.readiness.exec.command[1]: unknown placeholder {prot}; did you mean port?",
    ),
    "an address for a path": (probe(path="http://x/health"), "readiness.path: must be a path, not a URL; say host, po"),
    "a period of 0": (readiness(periodSeconds=0), "readiness.periodSeconds: input should be greater"),
    "a period of nearly 2": (readiness(periodSeconds=1.5), "readiness.periodSeconds: input should be a valid integer"),
    "a period as text": (readiness(periodSeconds="2"), "periodSeconds: must be a whole number, without a unit"),
    "a negative delay": (readiness(initialDelaySeconds=-1), "initialDelaySeconds: input should be greater"),
    "no patience": (readiness(timeoutSeconds=0), "timeoutSeconds: input should be greater than or equal to 1"),
    "more than Kubernetes keeps": (readiness(failureThreshold=2**31), "should be less than or equal to 2147483647"),
    "two successes of liveness": (
        probe("liveness", path="/", successThreshold=2), "liveness: successThreshold must be 1 for startup",
    ),
    "two successes of startup": (probe("startup", tcpSocket={}, successThreshold=2), "startup: successThreshold must"),
    "a grace of readiness": (
        readiness(terminationGracePeriodSeconds=5), "readiness: terminationGracePeriodSeconds must not be set for",
    ),
    "no grace of a probe": (
        probe("liveness", path="/", terminationGracePeriodSeconds=0), "terminationGracePeriodSeconds: input should be",
    ),
    "a negative grace": ({"terminationGracePeriodSeconds": -1}, "terminationGracePeriodSeconds: input should be"),
    "a header of two lines": (
        probe(httpGet={"httpHeaders": [{"name": "X", "value": "a\r\nY: s3cret"}]}),
        "httpGet.httpHeaders[0].value: must be one line of text without control characters",
    ),
    "a secret of an httpGet from nowhere": (
        probe(httpGet={"httpHeaders": [{"name": "X", "valueFrom": {"from_file": "s3cret"}}]}),
        "probes.readiness.httpGet.httpHeaders[0].valueFrom.from_file: no such file",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sections", "complaint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_a_line_with_its_place(sections, complaint, project):
    with pytest.raises(PlanError) as error:
        load(project, **sections)
    matching = [problem for problem in error.value.problems if complaint in problem]
    assert matching, error.value.problems
    assert all(problem.startswith("model_server/service.yaml:") for problem in matching)
    assert "s3cret" not in str(error.value)


def test_what_is_well_written_is_in_the_plan_and_no_secret_is(project):
    (project / "model_server/ca.pem").write_text("a certificate")
    for file in (project / "experiments").glob("*.yaml"):
        name_replicas(file)
    headers = [{"name": "Host", "value": "x"}, {"name": "X-Key", "valueFrom": SECRET}]
    plan = load(
        project,
        replicas=2,
        start={"command": "serve {port} {database.port} {cache.host}", "environment": {"REPLICA": "{replica}"}},
        dependencies={
            "database": {"start": {"command": "db {port} {state}/db", "ready_within": "9s"}},
            "cache": {"address": "cache.example.org:6379", "ready": {"command": "ping {database.port}"}},
        },
        requests={"scheme": "https", "ca": "ca.pem", "basic": {"user": "gate", "from_file": "{state}/gate-key"}},
        metrics={"path": "/m", "bearer": SECRET},
        **readiness(scheme="HTTPS", httpHeaders=headers),
    )
    service = plan.service
    assert (service.replica_names, service.start.environment) == (("server-1", "server-2"), {"REPLICA": "{replica}"})
    assert service.dependencies == {
        "database": DependencySpec(start={"command": "db {port} {state}/db", "ready_within": "9s"}),
        "cache": DependencySpec(address="cache.example.org:6379", ready={"command": "ping {database.port}"}),
    }
    assert service.dependencies["database"].test == ReadyTest(tcp="127.0.0.1:{port}")
    assert service.dependencies["cache"].test == ReadyTest(command="ping {database.port}")
    ca = str(project / "model_server/ca.pem")
    user = {"user": "gate", "from_file": "{state}/gate-key"}
    assert service.requests == Access(scheme="https", basic=user, ca=ca)
    assert service.metrics == Metrics(path="/m", bearer=SECRET)
    readiness_probe = service.probes.by_name()["readiness"]
    assert readiness_probe.scheme == "HTTPS"
    assert readiness_probe.httpHeaders == [HttpHeader(**header) for header in headers]
    assert "s3cret" not in repr(plan) + repr(plan.resolved())


def test_the_probes_of_a_pod_specification_are_taken_as_they_are(project):
    """And those in short mean the same."""
    headers = [{"name": "X-A", "value": "1"}, {"name": "X-A", "value": "2"}]
    pod = """
    startup:
      exec: {command: [cat, "{state}/started"]}
      failureThreshold: 30
    liveness:
      tcpSocket: {port: http}
      terminationGracePeriodSeconds: 5
    readiness:
      httpGet: {path: "/health/ready?full=1", port: 8080, host: localhost, scheme: HTTPS, httpHeaders: HEADERS}
      periodSeconds: 5
    """
    service = load(project, probes=yaml.safe_load(pod.replace("HEADERS", str(headers)))).service
    found = service.probes.by_name()
    assert found["startup"].action.command == ["cat", "{state}/started"] and found["startup"].failureThreshold == 30
    assert found["liveness"].action.port == "http" and found["liveness"].terminationGracePeriodSeconds == 5
    assert service.terminationGracePeriodSeconds == 30
    action = found["readiness"].action
    assert (action.path, action.port, action.host) == ("/health/ready?full=1", 8080, "localhost")
    assert action.scheme == "HTTPS" and [(h.name, h.value) for h in action.httpHeaders] == [("X-A", "1"), ("X-A", "2")]
    figures = ("periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold", "initialDelaySeconds")
    assert [getattr(found["readiness"], f) for f in figures] == [5, 1, 3, 1, 0]
    long = load(project, **probe(httpGet={"path": "/x", "scheme": "HTTPS"})).service.probes.readiness
    short = load(project, **probe(path="/x", scheme="HTTPS")).service.probes.readiness
    assert short.action == long.action
    assert load(project, terminationGracePeriodSeconds=0).service.terminationGracePeriodSeconds == 0


def test_experiments_name_the_replicas(project):
    with pytest.raises(PlanError) as error:
        load(project, replicas=2)
    assert "no component with probes is called server; did you mean server-" in str(error.value)
    assert "probes: says nothing of server-1 and server-2; say restart: never, readiness: any" in str(error.value)
    for file in (project / "experiments").glob("*.yaml"):
        name_replicas(file)
    crash, sham = (project / f"experiments/{name}.yaml" for name in ("server-crash", "sham"))
    assert "component" not in sham.read_text(), "a sham finds one by itself"
    crash.write_text((named := crash.read_text()).replace("component: server-2, ", ""))
    with pytest.raises(PlanError) as error:
        load(project, replicas=2)
    [problem] = error.value.problems
    assert problem.startswith("experiments/server-crash.yaml:") and "[0].provider.arguments.component: is " in problem
    assert "missing, and the default, server, is no component of this service; name one of server-1, s" in problem
    crash.write_text(named)
    assert load(project, replicas=2).service.replica_names == ("server-1", "server-2")


BRACES = [
    "${EXTRA:-}", "${HOME}", "${home}", "'{\"a\": 1}'",
    "{}", "{{", "}}", "{ }", "{a,b}", "{oops}", "'{print}'", "{Port}",
    "find -exec {} \\;", "{{range}}", "${port}",
]  # fmt: skip


@pytest.mark.parametrize("braces", BRACES)
def test_any_other_brace_is_the_commands_own(project, braces):
    environment = {"X": braces, "Y": "{replica} " + braces}
    service = load(
        project,
        start={"command": f"serve {{port}} {braces}", "environment": environment, "prepare": [f"x {braces}"]},
        requests={},
        dependencies={"db": {"start": {"command": f"db {{port}} {braces}", "environment": {"X": braces}}}},
    ).service
    texts = [service.start.command, service.start.environment["Y"], service.start.prepare[0].command]
    values = {"port": 1, "replica": "server", "state": "{port}"}
    assert [filled(text, values) for text in texts] == [f"serve 1 {braces}", f"server {braces}", f"x {braces}"]
    assert filled("{state} {port}", values) == "{port} 1", "what is filled in is filled in once"


def test_metrics_may_have_a_port_of_their_own(project):
    assert load(project, metrics={"port": 9090, "path": "/m"}).service.metrics.port == 9090
    service = load(project, start={"command": "serve {port} --metrics {metrics_port}"}).service
    assert service.takes_metrics_port and not load(project).service.takes_metrics_port


@pytest.mark.parametrize(("written", "asked"), [("/health", "/health"), ("health", "/health"), ("", "/")])
@pytest.mark.parametrize("form", ["short", "httpGet"])
def test_a_path_is_from_the_root_as_kubernetes_takes_it(written, asked, form):
    probe = Probe(path=written) if form == "short" else Probe(httpGet={"path": written})
    assert probe.action.path == asked
