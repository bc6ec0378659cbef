"""What breaks inside a real process, seen from outside: by what it goes on writing, and by what the kernel counts."""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from harness.errors import FaultError
from harness.faults.inject import end_all, inject
from harness.faults.inside import Inside
from harness.history import History
from harness.stack.component import INSIDE, inside_control
from harness.stack.process import identify, spawn
from harness.watch.resources import used

MODULE = Path(__file__).parents[2] / "experiments/inside"
BEATING = Path(__file__).with_name("beating.py")
STILL_S = 0.3  # without a beat, of which a whole process makes 30 in that time
TARGET = {"target": "__main__:Worker.work"}
MIB = 1 << 20


def wait(condition, within_s=60):
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


class Process:
    """A process that follows a control file, and beats in a folder."""

    def __init__(self, folder, control, popen):
        self.folder, self.control, self.popen, self.asked = folder, control, popen, 0

    def lines(self):
        file = self.control.with_name(f"{self.control.name}.report")
        return list(map(json.loads, file.read_text().splitlines())) if file.exists() else []

    def reports(self, id=None):
        return [(state, said) for _, _, state, of, said in self.lines() if id in (None, of)]

    def ask(self, fault, **arguments):
        """Write the control file; gives what the process says of it."""
        self.asked += 1
        scratch = self.folder / "scratch"
        scratch.write_text(json.dumps({"id": str(self.asked), "fault": fault, "arguments": arguments}))
        os.replace(scratch, self.control)
        assert wait(lambda: self.reports(str(self.asked)))
        return self.reports(str(self.asked))[0]

    def release(self):
        self.control.unlink()
        assert wait(lambda: self.reports()[-1][0] == "off")

    def beats(self, of):
        file = self.folder / of
        return file.stat().st_size if file.exists() else 0

    def goes_on(self, of):
        before = self.beats(of)
        return wait(lambda: self.beats(of) > before + 2)

    def stands_still(self, of):
        def still():
            before = self.beats(of)
            time.sleep(STILL_S)
            return self.beats(of) == before

        return wait(still)

    def takes(self):
        return used([self.popen.pid])


@pytest.fixture
def start(tmp_path):
    """Start a process, of the program that beats unless another is given, and wait until it follows."""
    started = []

    def make(*argv, beats=True, **options):
        control = tmp_path / "control"
        argv = [sys.executable, *map(str, argv or (BEATING, tmp_path))]
        env = {**os.environ, "PYTHONPATH": str(MODULE), INSIDE: str(control)}
        it = Process(tmp_path, control, subprocess.Popen(argv, env=env, **options))
        started.append(it)
        assert wait(it.reports), "it does not follow"
        assert not beats or all(it.goes_on(of) for of in ("loop", "worker", "pool"))
        return it

    yield make
    for it in started:
        it.popen.kill()
        it.popen.wait()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("fault", "arguments", "still"),
    [
        pytest.param("loop_stalled", {}, ["loop", "pool"], id="the loop, which the pool is asked from"),
        pytest.param("call_deadlocked", TARGET, ["worker"], id="the worker"),
        pytest.param("call_deadlocked", {"target": "__main__:Caller.call"}, ["caller"], id="who calls what is async"),
        pytest.param("pool_exhausted", {}, ["pool"], id="the pool"),
    ],
)
def test_what_is_broken_stands_still_and_nothing_else_and_goes_on_when_it_is_undone(
    start, tmp_path, loop, fault, arguments, still
):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    process = start(BEATING, tmp_path, loop)
    held_up = {"caller"} if "loop" in still else set()
    state, said = process.ask(fault, **arguments)
    assert state == "on" and said
    assert all(process.stands_still(of) for of in still)
    assert all(process.goes_on(of) for of in {"loop", "worker", "pool", "caller"} - {*still, *held_up})
    process.release()
    assert all(process.goes_on(of) for of in ("loop", "worker", "pool"))


@pytest.mark.parametrize(("target", "of"), [(TARGET, "worker"), ({"target": "__main__:Caller.call"}, "caller")])
def test_each_call_of_a_slow_function_takes_longer(start, target, of):
    process = start()
    assert process.ask("call_slow", **target, by_s=0.5)[0] == "on"
    moments = []
    for _ in range(3):
        before = process.beats(of)
        assert wait(lambda before=before: process.beats(of) > before)
        moments.append(time.monotonic())
    assert moments[2] - moments[1] > 0.4
    assert process.goes_on("loop")
    process.release()
    assert process.goes_on(of)


FAILING = """
import time
def work(): return 'worked'
while 1:
    try:
        said = work()
    except RuntimeError:
        said = 'failed'
    print(said, file=open(__import__('sys').argv[1], 'a'))
    time.sleep(0.005)
"""


def test_one_in_so_many_calls_fails_exactly_and_none_when_it_is_over(start, tmp_path):
    process = start("-c", FAILING, tmp_path / "said", beats=False)
    said = (tmp_path / "said").read_text
    assert process.ask("call_failing", target="__main__:work", one_in=5) == (
        "on",
        "one in 5 calls of __main__:work fails",
    )
    assert wait(lambda: said().split().count("failed") > 3)
    process.release()
    every = said().split()
    at = [i for i, word in enumerate(every) if word == "failed"]
    assert {after - before for before, after in itertools.pairwise(at)} == {5}
    before = len(every)
    assert wait(lambda: len(said().split()) > before + 20)
    assert "failed" not in said().split()[before + 1 :]


def test_a_loop_that_waits_again_and_again_goes_on_in_between(start):
    process = start()
    assert process.ask("loop_slow", by_s=1, every_s=1.7)[0] == "on"
    for _ in range(2):
        assert process.stands_still("loop") and process.goes_on("loop")
    process.release()
    before = process.beats("loop")
    assert wait(lambda: process.beats("loop") > before + 100)


LEAKS = {
    "descriptors_leaked": ({"per_s": 200}, "descriptors", 50, 3),
    "threads_leaked": ({"per_s": 100}, "threads", 30, 3),
    "memory_leaked": ({"mib_per_s": 100}, "memory", 60 * MIB, 20 * MIB),
}


@pytest.mark.parametrize("fault", LEAKS)
def test_what_leaks_is_taken_more_and_more_and_given_back(start, fault):
    arguments, quantity, more, about = LEAKS[fault]
    process = start()
    before = getattr(process.takes(), quantity)
    assert process.ask(fault, **arguments)[0] == "on"
    assert wait(lambda: getattr(process.takes(), quantity) > before + more)
    process.release()
    assert wait(lambda: getattr(process.takes(), quantity) <= before + about)
    assert all(process.goes_on(of) for of in ("loop", "worker", "pool"))


def test_a_limit_of_descriptors_is_that_of_the_leak_alone(start):
    process = start()
    before, was = process.takes().descriptors, resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE)
    process.ask("descriptors_leaked", per_s=1000, limit=64)
    assert wait(lambda: process.takes().descriptors >= 64)
    process.release()
    assert wait(lambda: process.takes().descriptors <= before + 3)
    assert resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE) == was


def test_a_process_without_descriptors_left_still_hears_that_it_is_over(start):
    few = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))}
    process = start(**few)
    before = process.takes().descriptors
    process.ask("descriptors_leaked", per_s=1000)
    assert wait(lambda: process.takes().descriptors >= 64)
    process.release()
    assert wait(lambda: process.takes().descriptors <= before + 3)


WRONG = {
    "no such fault": (
        "loop_staled",
        {},
        "there is no fault 'loop_staled' (known: call_deadlocked, call_failing, call_slow, ",
    ),
    "no share": ("call_failing", TARGET | {"one_in": 0}, "ValueError: one_in: must be 1 or more, got 0"),
    "no such argument": ("loop_stalled", {"for_s": 1}, "TypeError: loop_stalled() got an unexpected keyword"),
    "no such module": ("call_slow", {"target": "nowhere:f", "by_s": 1}, "nowhere is not imported in this process"),
    "no such class": ("call_slow", {"target": "__main__:Wrker.work", "by_s": 1}, "there is no __main__:Wrker.work"),
    "no such method": ("call_deadlocked", {"target": "__main__:Worker.wrk"}, "there is no __main__:Worker.wrk in"),
    "no function": ("call_deadlocked", {"target": "__main__:Worker"}, "__main__:Worker is no function but a type"),
    "no network": ("layer_permuted", {"parameter": "x"}, "torch is not imported in this process"),
}


@pytest.mark.parametrize(("fault", "arguments", "why"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_broken_is_said_and_the_next_can(start, fault, arguments, why):
    process = start()
    state, said = process.ask(fault, **arguments)
    assert state == "failed" and why in said
    assert process.ask("call_deadlocked", **TARGET)[0] == "on" and process.stands_still("worker")


def test_one_fault_takes_the_place_of_another(start):
    process = start()
    process.ask("loop_stalled")
    assert process.stands_still("loop")
    assert process.ask("call_deadlocked", **TARGET)[0] == "on"
    assert process.goes_on("loop") and process.stands_still("worker")
    assert ("off", "") in process.reports("1")


def test_what_was_there_before_a_process_is_not_for_it(start, tmp_path):
    (tmp_path / "control").write_text(json.dumps({"id": "old", "fault": "loop_stalled", "arguments": {}}))
    process = start()
    assert process.reports() == [("follows", "")]
    assert process.ask("loop_stalled")[0] == "on" and process.stands_still("loop")


def test_a_forked_child_follows_too(start):
    process = start("-c", "import os, time; os.fork(); time.sleep(100)", beats=False)
    assert wait(lambda: process.reports() == 2 * [("follows", "")])
    process.ask("no_such")
    assert wait(lambda: [state for state, _ in process.reports("1")] == ["failed", "failed"])
    pids = {pid for _, pid, *_ in process.lines()}
    assert len(pids) == 2 and process.popen.pid in pids
    [child] = pids - {process.popen.pid}
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("follows", [True, False])
def test_the_module_that_it_hides_is_run_as_well(tmp_path, follows):
    (tmp_path / "sitecustomize.py").write_text("print('hidden', __name__)")
    env = {**os.environ, "PYTHONPATH": f"{MODULE}{os.pathsep}{tmp_path}"}
    env |= {INSIDE: str(tmp_path / "control")} if follows else {}
    argv = [sys.executable, "-c", "import time; time.sleep(0.2); print('its own')"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("hidden sitecustomize\nits own\n", "")
    assert (tmp_path / "control.report").exists() is follows


WRITING = """
import os, sys, time
out = open(sys.argv[1], 'w')
while 1:
    try:
        os.write(1, b'line')
        print('written', file=out, flush=True)
    except OSError as error:
        print(error.strerror, file=out, flush=True)
    time.sleep(0.01)
"""


def test_what_is_written_to_a_full_output_is_lost_and_no_more_than_that(start, tmp_path):
    process = start("-c", WRITING, tmp_path / "said", beats=False, stdout=subprocess.DEVNULL)
    assert process.ask("output_full") == ("on", "descriptor 1 has no space left")
    said = (tmp_path / "said").read_text
    assert wait(lambda: said().splitlines()[-1] == "No space left on device")
    process.release()
    assert wait(lambda: said().splitlines()[-1] == "written")


NETWORK = """
import gc, sys, torch
network = torch.nn.Sequential(torch.nn.Linear(4, 3, bias=False)).eval()
gc.freeze()
for line in sys.stdin:
    with torch.inference_mode():
        print(network(torch.ones(1, 4)).tolist()[0], flush=True)
"""


def test_a_network_with_a_permuted_layer_answers_as_before_and_wrongly(start):
    pytest.importorskip("torch")
    process = start("-c", NETWORK, beats=False, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer():
        process.popen.stdin.write("\n")
        process.popen.stdin.flush()
        return json.loads(process.popen.stdout.readline())

    before = answer()
    assert process.ask("layer_permuted", parameter="0.weight") == ("on", "0.weight reversed in 1 networks")
    assert answer() == before[::-1] != before
    process.release()
    assert answer() == before
    said = process.ask("layer_permuted", parameter="1.weight")[1]
    assert said.endswith("no network in this process has a parameter 1.weight")


# -- the action of experiments -----------------------------------------------------------------------------------


@pytest.fixture
def broken_into(stack):
    """The component server as a contract's `start` has it, in a stack whose Prometheus has one series, `shows`."""

    class Prometheus(BaseHTTPRequestHandler):
        def do_GET(self):
            found = [{"metric": {}, "value": [0, "1"]}] if "query=shows" in self.path else []
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": {"result": found}}).encode())

        def log_message(self, *_):
            pass

    control = inside_control(stack.run, "server")
    control.parent.mkdir()
    env = {"PYTHONPATH": str(MODULE), INSIDE: str(control)}
    child = spawn("server", [sys.executable, str(BEATING), str(stack.run)], stack.run, env=env)
    (stack.run / "pids" / "server").write_text(json.dumps(identify(child.pid)._asdict()))
    seen = Process(stack.run, control, child.popen)
    assert wait(seen.reports) and seen.goes_on("loop")
    with HTTPServer(("127.0.0.1", 0), Prometheus) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield replace(stack, prometheus_url=f"http://127.0.0.1:{server.server_port}"), seen
        server.shutdown()


def edges(stack):
    return [(e.detail["edge"], e.outcome) for e in History.read(stack.run).of("fault", "inside")]


def test_it_breaks_is_witnessed_by_prometheus_and_is_undone_as_often_as_asked(broken_into):
    stack, server = broken_into
    entry = inject(Inside("call_deadlocked", "shows", dict(TARGET)), stack, "stuck", 60)
    assert server.stands_still("worker")
    evidence = History.read(stack.run).of("fault")[-1].detail["evidence"]
    assert edges(stack) == [("start", "ok"), ("witness", "ok")]
    assert evidence == "Prometheus: shows = 1; __main__:Worker.work waits"
    assert [undo.record() for undo in stack.ledger.open()[0].undo] == [{"verb": "remove", "path": str(server.control)}]
    for _ in range(2):
        assert stack.ledger.undo([entry])[0][1] == ""
        assert server.goes_on("worker")
    assert end_all(stack, "heal") == []


def test_what_the_module_says_of_itself_is_no_witness(broken_into):
    stack, _ = broken_into
    inject(Inside("loop_stalled", "nothing"), stack, "stuck", 60, witness_within_s=0.3)
    assert edges(stack) == [("start", "ok"), ("witness", "unknown")]


def test_what_the_module_cannot_break_is_an_error_that_leaves_nothing(broken_into):
    stack, server = broken_into
    why = "inside could not be started: inside: loop_staled did not take in server: LookupError: there is no fault"
    with pytest.raises(FaultError, match=why):
        inject(Inside("loop_staled", "shows"), stack, "stuck", 60)
    assert stack.ledger.open() == [] and not server.control.exists()


def test_two_at_once_in_one_component_are_refused(broken_into):
    stack, _ = broken_into
    inject(Inside("loop_stalled", "shows"), stack, "stuck", 60)
    with pytest.raises(FaultError, match="something is broken inside server already; undo it first"):
        inject(Inside("call_deadlocked", "shows", dict(TARGET)), stack, "stuck", 60)


def test_a_component_that_was_not_started_for_it_is_said_to_be_none(stack):
    with pytest.raises(FaultError, match="no module in server follows inside-server: it is to be started by `harness"):
        inject(Inside("loop_stalled", "shows"), stack, "stuck", 60)
    assert stack.ledger.open() == []


def test_a_module_that_does_not_answer_is_an_error(broken_into, monkeypatch):
    stack, server = broken_into
    monkeypatch.setattr("harness.faults.inside.REPORTED_WITHIN_S", 0.3)
    fault = Inside("loop_stalled", "shows")
    facts = fault.target(stack)
    server.popen.kill()
    with pytest.raises(FaultError, match=r"no process said what it did within 0\.3 s"):
        fault.start(stack, facts)
