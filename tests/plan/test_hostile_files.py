"""Whatever a plan file is or holds: every mistake is a line that begins with its name, soon, and nothing is started."""

import datetime
import json
import math
import os
import random
import shutil
import socket
import time
from pathlib import Path

import pytest
import yaml

from harness import document
from harness.cli.main import main
from harness.errors import PlanError
from harness.plan import plan as planning
from harness.stack import amtool, tools

ROOT = Path(__file__).parents[2]
SOON_S = 5
AMTOOL = tools.find().amtool
FILES = {
    "gate": "gate.yaml",
    "service": "service/service.yaml",
    "slos": "service/monitoring/slos.yaml",
    "routes": "service/monitoring/alertmanager.yaml",
    "rules": "service/monitoring/rules.yaml",
    "experiment": "experiments/sham.yaml",
    "experiment in JSON": "experiments/calm.json",
    "scenario": "scenarios/steady.py",
}
NINES = 400 * "9"
RULES = {"groups": [{"name": "g", "rules": [{"alert": "Watchdog", "expr": "vector(1)"}]}]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small plan that names a file of every kind."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "experiments").mkdir()
    (folder / "scenarios").mkdir()
    shutil.copy(ROOT / "scenarios/steady.py", folder / "scenarios")
    shutil.copy(ROOT / "experiments/sham.yaml", folder / "experiments")
    shutil.copytree(ROOT / "model_server/monitoring", folder / "service/monitoring")
    shutil.copytree(ROOT / "model_server/weights", folder / "service/weights")
    shutil.rmtree(folder / "service/monitoring/rules")
    (folder / FILES["rules"]).write_text(yaml.safe_dump(RULES))
    service = yaml.safe_load((ROOT / "model_server/service.yaml").read_text())
    unknown = {"needs": {}, "may_inhibit": {}, "runbooks": {}}
    service["monitoring"] |= {"rules": ["monitoring/rules.yaml"], **unknown}
    (folder / FILES["service"]).write_text(yaml.safe_dump(service))
    calm = yaml.safe_load((ROOT / "experiments/sham.yaml").read_text())
    (folder / FILES["experiment in JSON"]).write_text(json.dumps(calm, indent="\t"))
    load = {"scenario": "scenarios/steady.py", "arrivals": {"poisson": "45/s", "seed": 7}, "for": "7s"}
    checks = ["slos", "contracts", "quiet"]
    gate = {"service": FILES["service"], "load": load, "experiments": ["sham", "calm"], "checks": checks}
    (folder / FILES["gate"]).write_text(yaml.safe_dump(gate))
    return folder


@pytest.fixture
def project(whole, tmp_path, monkeypatch):
    folder = tmp_path / "project"
    shutil.copytree(whole, folder)
    monkeypatch.chdir(folder)
    return folder


def laughs(form):
    return "\n".join([f"a0: &a0 {form}", *(f"a{i}: &a{i} [{', '.join(9 * [f'*a{i - 1}'])}]" for i in range(1, 12))])


def merged():
    return "a0: &a0 {x: 1}\n" + "\n".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 40))


YAML = {  # what is added to a file
    "a part that holds itself": "z: &z [*z]",
    "a merge of itself": "z: &z {<<: *z}",
    "a billion laughs": laughs("[x, x]"),
    "a billion laughs of mappings": "a0: &a0 {x: 1}\n"
    + "\n".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}" for i in range(1, 40)),
    "a billion laughs of merges": merged(),
    "a chain of aliases": "a0: &a0 {x: 1}\n" + "\n".join(f"a{i}: &a{i} {{x: *a{i - 1}}}" for i in range(1, 1200)),
    "deep lists": f"z: {3000 * '['}{3000 * ']'}",
    "deep mappings": "z:\n" + "\n".join(f"{' ' * i}x:" for i in range(1, 1200)),
    "deep dashes": f"z:\n{'- ' * 1500}",
    "too many values": "z:\n" + "- x\n" * 101_000,
    "an open quote": "z: 'x",
    "an open bracket": "z: [x",
    "a tab": "z:\n\tx: 1",
    "a NUL": "z: \0",
    "a bell": "z: \a",
    "no such alias": "z: *nobody",
    "no such tag": "z: !secret x",
    "code": "z: !!python/object/apply:os.system [echo]",
    "a list for a key": "? [x]\n: z",
    "a mapping for a key": "? {x: y}\n: z",
    "5,000 digits": f"z: {5000 * '9'}",
    "9,000 hexadecimal digits": f"z: 0x{9000 * 'f'}",
    "no day": "z: 2024-02-30",
    "the same key twice": "z: 1\nz: 2",
    "no key of its own": "5: x\n[: y",
    "another document of no form": "---\n[",
    "a long key": f"? {1_000_000 * 'x'}\n: z\n[",
}
# In an Alertmanager configuration a value is a text whatever it looks like; amtool says that nothing has this name.
ONLY_TEXT = {YAML[name] for name in ("no such tag", "code", "5,000 digits", "9,000 hexadecimal digits", "no day")}
JSON = {
    "an open quote": '{"a": "x',
    "an open bracket": '{"a": [1',
    "a comma too many": '{"a": 1,}',
    "a comment": '{"a": 1} // x',
    "two values": "{} {}",
    "deep lists": 3000 * "[" + 3000 * "]",
    "deep mappings": 3000 * '{"a":',
    "too many values": f"[{101_000 * '1,'}1]",
    "5,000 digits": f'{{"a": {5000 * "9"}}}',
    "the same key twice": '{"a": 1,\n "a": 2}',
    "no key": "{1: 2}",
    "a NUL": '{"a": "\0"}',
    "nothing": "",
    "another form": "[1]",
    "a word": "nul",
    "yaml": "a: 1",
}
PYTHON = {
    "no Python": "def (:",
    "deep parentheses": 1000 * "(" + 1000 * ")",
    "deep signs": "x = " + 100_000 * "-" + "1",
    "a NUL": "x = '\0'",
    "an open quote": 'x = """',
    "a wrong indentation": "def f():\nx = 1",
}
BYTES = {  # the whole content
    "UTF-16": "service: x".encode("utf-16"),
    "Latin-1": "service: ä".encode("latin-1"),
    "too large": b"#" * (document.LARGEST + 1),
}


ODD = [
    None, [], {}, "", "x", 0, -1, 1e308, math.inf, math.nan, True, [[]], [{}], {"a": {}}, {5: 6}, 2**62, -(2**62), "~",
    NINES, "\0", "a\nb", "\x1b[2J", datetime.date(2024, 1, 2), b"ab", {"a"}, "${x}", "{port}", "{db.port}", "/dev/zero",
    "..", "*", "[", "99%", "1s", "1e999s", "10y", "{{", "'", "%", "//", "[]x", "**", "\\", "/dev/**", "०%", "٣/s",
    1_000_000 * "x",
]  # fmt: skip


def places(data, at=()):
    yield at
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from places(value, (*at, key))


def changed(data, at, value):
    if not at:
        return value
    copy = data.copy()
    copy[at[0]] = changed(data[at[0]], at[1:], value)
    return copy


def fifo(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def standard_input(path):
    path.symlink_to("/dev/stdin")


def loop(path):
    path.symlink_to(path.name)


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as s:
        folder = Path.cwd()
        os.chdir(path.parent)  # the name of a socket is short
        s.bind(path.name)
        os.chdir(folder)


def nothing(path):
    pass


KINDS = [fifo, endless, standard_input, loop, unix_socket, Path.mkdir, nothing]


def refused(project, file):
    """The problems of the plan, which all begin with this file's name or, where that cannot be read, say it."""
    began = time.monotonic()
    with pytest.raises(PlanError) as error:
        planning.load(project / FILES["gate"])
    assert time.monotonic() - began < SOON_S
    problems = error.value.problems
    assert problems and any(FILES[file] in problem or Path(FILES[file]).stem in problem for problem in problems), (
        problems
    )
    assert all("\n" not in problem and len(problem) < 1000 for problem in problems)
    return problems


def test_the_plan_itself_is_right(project):
    assert [e.name for e in planning.load(project / FILES["gate"]).experiments] == ["sham", "calm"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("file", FILES)
def test_what_is_no_regular_file_is_never_opened(project, file, kind):
    (project / FILES[file]).unlink()
    kind(project / FILES[file])
    refused(project, file)


@pytest.mark.parametrize("content", BYTES.values(), ids=BYTES)
@pytest.mark.parametrize("file", FILES)
def test_what_is_no_text_of_a_plan(project, file, content):
    if file == "scenario" and content[:1] == b"\xff":
        pytest.skip("Python says itself what it cannot read")
    (project / FILES[file]).write_bytes(content)
    refused(project, file)


@pytest.mark.parametrize("added", YAML.values(), ids=YAML)
@pytest.mark.parametrize("file", [name for name, path in FILES.items() if path.endswith(".yaml")])
def test_yaml_without_end_or_form(project, file, added):
    path = project / FILES[file]
    path.write_text(f"{path.read_text()}\n{added}\n")
    if file == "routes" and added in ONLY_TEXT:
        problems = amtool.known(AMTOOL, path).problems
        assert any("field z not found" in one for one in problems) and problems[0].startswith(FILES[file]), problems
        return
    (problem, *_) = refused(project, file)
    name, line, _ = problem.split(":", 2)
    assert name == FILES[file] and int(line) >= 1


@pytest.mark.parametrize("file", [name for name, path in FILES.items() if path.endswith(".yaml")])
def test_any_value_anywhere_is_a_plan_or_lines_that_say_why_not(project, file):
    path = project / FILES[file]
    data = yaml.safe_load(path.read_text())
    every = [(at, odd) for at in places(data) for odd in ODD]
    for at, odd in random.Random(file).sample(every, min(40, len(every))):
        path.write_text(yaml.safe_dump(changed(data, at, odd), allow_unicode=True))
        try:
            planning.load(project / FILES["gate"])
        except PlanError as error:
            assert all(p.isprintable() and len(p) < 1000 and ":" in p for p in error.problems), (
                at,
                odd,
                error.problems,
            )


@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
@pytest.mark.parametrize("file", ["experiment in JSON"])
def test_json_without_end_or_form(project, file, content):
    (project / FILES[file]).write_text(content)
    assert refused(project, file)[0].startswith(FILES[file])


@pytest.mark.parametrize("content", PYTHON.values(), ids=PYTHON)
def test_a_scenario_that_is_no_python(project, content):
    (project / FILES["scenario"]).write_text(content)
    (problem,) = refused(project, "scenario")
    assert problem.startswith(f"{FILES['scenario']}:")


@pytest.mark.parametrize(
    ("file", "added"),
    [("gate", YAML["a part that holds itself"]), ("routes", YAML["a billion laughs"]), ("rules", "[")],
)
def test_a_command_ends_with_2_and_a_line_and_starts_nothing(project, capsys, file, added):
    path = project / FILES[file]
    path.write_text(f"{path.read_text()}\n{added}\n")
    for command in ("gate", "up"):
        assert main([command]) == 2
        said = capsys.readouterr().err
        assert f"{FILES[file]}:" in said and "Traceback" not in said, said
    assert not (project / "runs").exists()
