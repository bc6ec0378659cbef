"""Who may import whom: the table of the design, held against every module, and proven on modules that break it."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]

# each imports those before it only
GROUND_FLOOR = (
    "errors", "verdict", "units", "document", "masking", "parameters", "telemetry", "witness", "stats", "streak",
    "recordfile", "signals", "eventlog", "alert", "history", "omission",
)  # fmt: skip
GROUND = set(GROUND_FLOOR)
LAYERS = GROUND | {"plan", "stack", "load", "faults", "chaos", "watch", "rules", "checks"}
MAY_IMPORT = {  # within harness; every layer may import itself
    **{name: set(GROUND_FLOOR[:i]) for i, name in enumerate(GROUND_FLOOR)},
    "checks": GROUND,
    "rules": GROUND,
    "plan": {"checks"} | GROUND,
    "stack": GROUND,
    "faults": {"stack"} | GROUND,
    "watch": GROUND,
    "load": GROUND,
    "chaos": {"faults", "stack", "watch"} | GROUND,
    "report": GROUND,
    "run": LAYERS,
    "cli": LAYERS | {"report", "run"},
}
PURE = {  # modules that others may import too
    "harness.load.arrivals": {"plan"},
    "harness.rules.expression": {"plan"},
    "harness.rules.labels": {"plan"},
    "harness.rules.predict": {"plan"},  # a figure of each rule by its form alone, which the checks are made with
    "harness.rules.rulefile": {"plan"},
    "harness.stack.control": {"plan"},
    "harness.stack.links": {"plan"},
    "harness.stack.matchers": {"plan"},
    "harness.stack.place": {"plan"},
    "harness.stack.routing": {"plan"},
    "harness.stack.spec": {"plan"},  # service.yaml as the stack needs it, so that nothing describes it twice
}
PROCESSES = {  # run as programs of their own, so they may print and exit; so may all of harness.cli
    "harness.chaos.runner",
    "harness.load.locust.runner",
    "harness.stack.collector",
    "harness.stack.proxy",
    "harness.stack.sinks",
    "harness.stack.tools",
    "harness.stack.watchdog",
}
OUTSIDE_WORLD = {
    "time",
    "socket",
    "subprocess",
    "http",
    "urllib",
    "httpx",
    "requests",
    "asyncio",
    "signal",
    "multiprocessing",
}
GEVENT = {  # gevent by itself patches nothing; who imports locust has the whole process patched
    "harness.load.slow_client",  # a greenlet for each slow client, beside those of the schedule
}
RUN_PROMTOOL = {"harness.rules.promtool", "harness.rules.rulefile"}
BEFORE_INSTALL = "harness.stack.tools"

# within model_server each imports those before it only
SERVICE_FLOORS = (
    "classes", "errors", "settings", "threads", "telemetry", "storage", "audit", "security", "inference", "durable",
    "health", "service", "http", "__main__",
)  # fmt: skip
OF_THE_SERVICE = {
    "__init__": set(),
    **{name: set(SERVICE_FLOORS[:i]) for i, name in enumerate(SERVICE_FLOORS)},
    # commands and what only they need, which nobody else imports
    "keys": {"settings", "security"},
    "training": {"classes"},
    "train": {"classes", "errors", "settings", "inference", "health", "training"},
    "monitoring": {"telemetry"},
}
NO_MODULES = {"SERVICE", "__version__"}  # names of the package itself


def violations(sources: Mapping[str, str]) -> list[str]:
    """Every breach in a set of modules (dotted name: source), each one line with module and line number."""
    found = []
    for module, source in sources.items():
        tree = ast.parse(source)
        typed = _for_types(tree)
        for node in ast.walk(tree):
            breaches = [*_import_breaches(module, node), *_print_breaches(module, node)]
            if node not in typed:
                breaches += _service_breaches(module, node)
            found += [f"{module}:{node.lineno}: {breach}" for breach in breaches]
    return found


def _for_types(tree: ast.AST) -> set[ast.AST]:
    """What runs for those alone who check types."""
    guarded = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {inside for block in guarded for statement in block.body for inside in ast.walk(statement)}


def _imported(module: str, node: ast.AST) -> Iterator[str]:
    """The dotted names a statement imports; `from a import b` gives a.b, which may be a module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = module.split(".")[: -node.level] if node.level else []
        base = ".".join([*package, *([node.module] if node.module else [])])
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _import_breaches(module: str, node: ast.AST) -> Iterator[str]:
    ours, _, rest = module.partition(".")
    layer = rest.partition(".")[0]
    for name in _imported(module, node):
        theirs, _, inner = name.partition(".")
        target = inner.partition(".")[0] if theirs == "harness" and inner != "__version__" else ""
        if ours == "model_server" and theirs == "harness":
            yield f"model_server imports {name}"
        if ours == "scenarios" and (
            target not in ("", "load") or not (_standard(theirs) or theirs in ("harness", "locust"))
        ):
            yield f"a scenario imports {name}; only locust and harness.load are for it"
        if ours != "harness":
            continue
        if theirs in ("torch", "model_server"):
            yield f"harness imports {name}"
        adapter = f"{module}.".startswith("harness.load.locust.")
        if not adapter and (theirs == "locust" or (theirs == "gevent" and module not in GEVENT)):
            yield f"{module} imports {name}; only harness.load.locust may, in a child"
        if layer == "load" and not adapter and f"{name}.".startswith("harness.load.locust."):
            yield f"{module} imports {name}, and with it locust"
        if layer and layer not in MAY_IMPORT:
            yield f"{layer} is not in the table"
        elif layer and target and target != layer and target not in MAY_IMPORT[layer] and not _pure(name, layer):
            yield f"{layer} may not import {name}"
        promtool = module in RUN_PROMTOOL and theirs == "subprocess"
        if layer in ("checks", "rules") and theirs in OUTSIDE_WORLD and not promtool:
            yield f"{layer} imports {theirs}; it knows no clock, network or process"
        if module == BEFORE_INSTALL and not (_standard(theirs) or target == "errors"):
            yield f"{module} runs before anything is installed, and imports {name}"


def _service_breaches(module: str, node: ast.AST) -> Iterator[str]:
    ours, _, rest = module.partition(".")
    floor = rest.partition(".")[0]
    for name in _imported(module, node) if ours == "model_server" else ():
        theirs, _, inner = name.partition(".")
        target = inner.partition(".")[0]
        if theirs != "model_server" or target in NO_MODULES:
            continue
        if floor not in OF_THE_SERVICE:
            yield f"{floor} is not in the table"
        elif target != floor and target not in OF_THE_SERVICE[floor]:
            yield f"{floor} may not import {name}"


def _pure(name: str, layer: str) -> bool:
    return any(layer in layers and f"{name}.".startswith(f"{module}.") for module, layers in PURE.items())


def _standard(package: str) -> bool:
    return package in sys.stdlib_module_names


def _print_breaches(module: str, node: ast.AST) -> Iterator[str]:
    if not module.startswith("harness.") or module in PROCESSES or f"{module}.".startswith("harness.cli."):
        return
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        # print(..., file=out) writes where the caller says; without it, or to sys.stdout, it is the module that prints
        to = next((ast.unparse(k.value) for k in node.keywords if k.arg == "file"), "sys.stdout")
        if called == "print" and to.startswith("sys."):
            yield "prints; only cli does"
        if called in ("sys.exit", "exit", "quit", "os._exit") or called.startswith(("sys.stdout.", "sys.stderr.")):
            yield f"calls {called}; only cli does"
    if isinstance(node, ast.Raise) and node.exc is not None and ast.unparse(node.exc).startswith("SystemExit"):
        yield "raises SystemExit; only cli exits"


def modules(*folders: str) -> dict[str, str]:
    """Every module under the folders by its dotted name; a package goes by `name.__init__`."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text()
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


def test_every_module_keeps_to_the_table():
    sources = modules("harness", "model_server", "scenarios")
    assert {"harness.cli.main", "harness.stack.tools", "scenarios.steady", "model_server.__main__"} <= sources.keys()
    assert violations(sources) == []


def test_experiments_name_only_harness_chaos():
    def named(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            yield from ([value["module"]] if isinstance(value.get("module"), str) else [])
            value = list(value.values())
        if isinstance(value, list):
            for part in value:
                yield from named(part)

    found = {m: p.name for p in (ROOT / "experiments").glob("*.yaml") for m in named(yaml.safe_load(p.read_text()))}
    assert found and {m: p for m, p in found.items() if not m.startswith("harness.chaos.")} == {}


def test_what_is_put_into_a_services_process_needs_nothing_of_ours_and_nothing_installed():
    files = list((ROOT / "experiments/inside").glob("*.py"))
    own = {file.stem for file in files}
    found = {
        name.partition(".")[0]
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        for name in _imported(file.stem, node)
    }
    assert files and {name for name in found - own if not _standard(name)} == set()


BREACHES = {
    "errors imports something": ("harness.errors", "import harness.verdict", "errors may not import harness.verdict"),
    "a check reaches for the plan": (
        "harness.checks.x",
        "from harness.plan import gate",
        "checks may not import harness.plan",
    ),
    "a check reads the clock": ("harness.checks.x", "import time", "knows no clock"),
    "a rule opens a connection": ("harness.rules.x", "from urllib.request import urlopen", "imports urllib"),
    "a rule other than replay runs something": ("harness.rules.mutate", "import subprocess", "imports subprocess"),
    "the history knows checks": ("harness.history", "from harness import checks", "history may not import"),
    "the ground floor, upwards": ("harness.units", "import harness.stats", "units may not import harness.stats"),
    "the plan starts a stack": ("harness.plan.x", "from harness.stack.up import up", "plan may not import"),
    "the plan replays": ("harness.plan.x", "from harness.rules import replay", "plan may not import"),
    "the stack, by a relative import": (
        "harness.stack.x",
        "from ..plan.gate import y",
        "stack may not import harness.plan",
    ),
    "the stack, inside a function": ("harness.stack.x", "def f():\n  import harness.run", "x:2: stack may not import"),
    "chaos judges": ("harness.chaos.x", "import harness.checks.latency", "chaos may not import"),
    "a report reruns": ("harness.report.x", "from harness.run import gate", "report may not import"),
    "the run reports": ("harness.run", "from harness.report import text", "run may not import harness.report"),
    "a layer nobody agreed on": ("harness.utils.x", "import json", "utils is not in the table"),
    "locust in a watcher": ("harness.watch.x", "import locust.stats", "only harness.load.locust may"),
    "locust in load, outside the adapters": ("harness.load.recorder", "import locust", "only harness.load.locust may"),
    "gevent where it is not needed": ("harness.load.connection", "import gevent", "only harness.load.locust may"),
    "load imports the adapters": (
        "harness.load.client",
        "from harness.load.locust import user",
        "and with it locust",
    ),
    "gevent in the stack": ("harness.stack.generator", "from gevent import sleep", "only harness.load.locust may"),
    "the plan starts the load": ("harness.plan.x", "from harness.load import locust", "plan may not import"),
    "torch in the harness": ("harness.load.x", "import torch.nn", "harness imports torch"),
    "the service in the harness": (
        "harness.load.x",
        "from model_server import radiographs",
        "harness imports model_server",
    ),
    "the harness in the service": (
        "model_server.settings",
        "from harness.errors import HarnessError",
        "model_server imports",
    ),
    "telemetry reaches for inference": (
        "model_server.telemetry.x",
        "from model_server.inference.drift import Drift",
        "telemetry may not import model_server.inference.drift",
    ),
    "the service reaches for HTTP": (
        "model_server.service",
        "from model_server.http import bodies",
        "service may not import model_server.http.bodies",
    ),
    "the database reaches for the audit log": (
        "model_server.storage.x",
        "def f():\n  import model_server.audit.log",
        "x:2: storage may not import model_server.audit.log",
    ),
    "a command is imported": (
        "model_server.inference.x",
        "from model_server import train",
        "inference may not import model_server.train",
    ),
    "a floor of the service that nobody agreed on": (
        "model_server.utils",
        "from model_server import errors",
        "utils is not in the table",
    ),
    "a scenario reaches into the stack": (
        "scenarios.x",
        "from harness.stack import process",
        "only locust and harness.load",
    ),
    "a scenario needs more": ("scenarios.x", "import numpy", "only locust and harness.load"),
    "a check prints": ("harness.checks.x", "print(1)", "x:1: prints"),
    "a check prints where it should not know of": ("harness.checks.x", "print(1, file=sys.stderr)", "prints"),
    "a watcher exits": ("harness.watch.x", "import sys\nsys.exit(1)", "x:2: calls sys.exit"),
    "a watcher exits by an exception": ("harness.watch.x", "raise SystemExit(1)", "only cli exits"),
    "a fault writes to the terminal": ("harness.faults.x", "sys.stdout.write('x')", "calls sys.stdout.write"),
    "the tools need what they are to get": ("harness.stack.tools", "import yaml", "before anything is installed"),
}


@pytest.mark.parametrize(("module", "source", "breach"), BREACHES.values(), ids=BREACHES)
def test_a_breach_is_seen(module, source, breach):
    found = violations({module: source})
    assert len(found) == 1 and breach in found[0], found


ALLOWED = {
    "the command line prints, exits and imports all": (
        "harness.cli",
        "import sys\nimport harness.run\nprint(1)\nsys.exit()",
    ),
    "the version is everyone's": ("harness.report.x", "from harness import __version__"),
    "a layer imports itself": ("harness.stack.x", "from .process import spawn\nfrom harness.stack import ledger"),
    "the plan reads arrivals": ("harness.plan.x", "from harness.load.arrivals import parse"),
    "the plan reads what the stack needs": ("harness.plan.x", "from harness.stack.spec import ServiceSpec"),
    "the plan reads rule files": ("harness.plan.x", "from harness.rules.rulefile import load"),
    "the stack writes events": ("harness.stack.x", "from harness.eventlog import append"),
    "the adapters import locust": ("harness.load.locust.x", "import locust, gevent"),
    "promtool is run": ("harness.rules.promtool", "import subprocess"),
    "a report writes where it is told": ("harness.report.x", "def f(out):\n  print(1, file=out)"),
    "a child's main exits": ("harness.chaos.runner", "import sys\nsys.exit(print(1))"),
    "the service names itself": ("model_server.errors", "from model_server import SERVICE, __version__"),
    "audit writes where storage does": ("model_server.audit.x", "from model_server.storage.stores import Stores"),
    "a name for those who check types": (
        "model_server.health",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  from model_server.service import Service",
    ),
    "a scenario uses locust, load and the standard library": (
        "scenarios.x",
        "import os, locust\nimport harness.load.locust",
    ),
}


@pytest.mark.parametrize(("module", "source"), ALLOWED.values(), ids=ALLOWED)
def test_what_is_allowed_is_left_alone(module, source):
    assert violations({module: source}) == []


EXISTING = """
import ast, importlib, sys
from pathlib import Path
for file in map(Path, sys.argv[1:]):
    module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    for node in ast.walk(ast.parse(file.read_text())):
        own = isinstance(node, ast.ImportFrom) and not node.level and node.module.partition(".")[0]
        if own in ("harness", "model_server"):
            there = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(there, name.name):
                    try:
                        importlib.import_module(f"{node.module}.{name.name}")
                    except ImportError:
                        print(f"{file}:{node.lineno}: {node.module} has no {name.name}")
"""


def test_what_is_imported_where_it_is_used_is_there():
    """Imports inside functions are looked at by nobody until a user calls that function."""
    files = [
        str(file.relative_to(ROOT)) for part in ("harness", "model_server") for file in (ROOT / part).rglob("*.py")
    ]
    argv = [sys.executable, "-c", "import locust\n" + EXISTING, *files]  # locust first, for it patches what comes later
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not done.stdout, done.stdout


def test_the_load_engine_has_no_import_circle():
    """Also none that hides behind TYPE_CHECKING or in a function."""
    sources = modules("harness/load")
    known = {name.removesuffix(".__init__") for name in sources}
    graph = {
        module: {
            part
            for node in ast.walk(ast.parse(source))
            for name in _imported(module, node)
            for part in (name, name.rpartition(".")[0])
            if part in known and part not in ("harness.load", module)
        }
        for module, source in sources.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) > 10


def test_the_load_engine_needs_neither_locust_nor_gevent():
    engine = "arrivals client clock connection corpus headers mix recorder request tls unpatched"
    code = f"import importlib, sys\nfor name in {engine.split()!r}: importlib.import_module('harness.load.' + name)\n"
    code += "assert not {'locust', 'gevent'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
