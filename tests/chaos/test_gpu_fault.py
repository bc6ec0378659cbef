"""The stand-in for NVIDIA's library under the real Python binding, and the fault that drives it."""

import ctypes
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pynvml
import pytest

from harness.errors import FaultError
from harness.eventlog import events_of
from harness.faults import gpu
from harness.faults.gpu import Gpu, nvml_control
from harness.faults.inject import end_all, inject
from harness.stack.component import INSIDE, inside_control
from harness.stack.process import identify, spawn

SOURCE = Path(__file__).parents[2] / "experiments/gpu/nvml.c"
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nvml")
    argv = ["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-o", folder / gpu.LIBRARY, SOURCE]
    subprocess.run(argv, check=True)
    return folder


@pytest.fixture
def nvml(built, tmp_path, monkeypatch):
    """pynvml on the stand-in, and the file that it follows: `nvml(**answers)` writes it."""
    control = tmp_path / "inside"
    monkeypatch.setenv(INSIDE, str(control))
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(built / gpu.LIBRARY)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    def say(answers):
        scratch = tmp_path / "scratch"
        scratch.write_text("".join(f"{call}: {answer}\n" for call, answer in answers.items()))
        scratch.rename(control.with_name("inside.nvml"))

    pynvml.nvmlInit()
    return say


def code(call, *arguments):
    """What the call gives, or the code of its error."""
    try:
        return call(*arguments)
    except pynvml.NVMLError as error:
        return error.value


def test_without_a_file_no_card_is_shown_and_with_one_a_card_is_well(nvml):
    assert code(pynvml.nvmlDeviceGetCount) == pynvml.NVML_ERROR_NO_PERMISSION
    nvml({"nvmlDeviceGetCount_v2": 2, "1.nvmlDeviceGetPowerUsage": "UNKNOWN  # of this one"})
    assert pynvml.nvmlDeviceGetCount() == 2
    first, second = map(pynvml.nvmlDeviceGetHandleByIndex, (0, 1))
    assert pynvml.nvmlDeviceGetUUID(first) != pynvml.nvmlDeviceGetUUID(second)
    assert pynvml.nvmlDeviceGetName(first) == "NVIDIA H200"
    assert (code(pynvml.nvmlDeviceGetPowerUsage, first), code(pynvml.nvmlDeviceGetPowerUsage, second)) == (250500, 999)
    memory = pynvml.nvmlDeviceGetMemoryInfo(first)
    assert memory.used + memory.free == memory.total == 150754820096
    assert pynvml.nvmlDeviceGetUtilizationRates(first).gpu == 62
    assert pynvml.nvmlDeviceGetClockInfo(first, pynvml.NVML_CLOCK_MEM) == 3201
    assert code(pynvml.nvmlDeviceGetMigMode, first) == pynvml.NVML_ERROR_NOT_SUPPORTED


def test_answers_change_after_so_many_calls_and_while_it_runs(nvml):
    nvml({"nvmlDeviceGetCount_v2": "1 after 2 GPU_IS_LOST after 3 4"})
    lost = pynvml.NVML_ERROR_GPU_IS_LOST
    assert [code(pynvml.nvmlDeviceGetCount) for _ in range(5)] == [1, 1, lost, 4, 4]
    nvml({"nvmlDeviceGetCount_v2": "7 after 1 8"})
    assert [code(pynvml.nvmlDeviceGetCount) for _ in range(2)] == [7, 8], "counted anew"


def test_errors_throttling_and_xids_are_told_as_nvml_tells_them(nvml):
    waits = "TIMEOUT after 1 0 79 after 2 TIMEOUT"
    nvml(
        {"nvmlDeviceGetTotalEccErrors": "2 3", "nvmlDeviceGetCurrentClocksEventReasons": "0x48",
         "nvmlEventSetWait_v2": waits, "nvmlDeviceGetTemperature": "IRQ_ISSUE"}
    )  # fmt: skip
    card, events = pynvml.nvmlDeviceGetHandleByIndex(0), pynvml.nvmlEventSetCreate()
    ecc = [pynvml.nvmlDeviceGetTotalEccErrors(card, kind, pynvml.NVML_VOLATILE_ECC) for kind in (0, 1)]
    assert ecc == [2, 3] and pynvml.nvmlDeviceGetCurrentClocksEventReasons(card) == 0x48
    assert code(pynvml.nvmlDeviceGetTemperature, card, 0) == pynvml.NVML_ERROR_IRQ_ISSUE
    pynvml.nvmlDeviceRegisterEvents(card, pynvml.nvmlEventTypeXidCriticalError, events)
    found = [code(pynvml.nvmlEventSetWait_v2, events, 5) for _ in range(3)]
    assert found[0] == found[2] == pynvml.NVML_ERROR_TIMEOUT and found[1].eventData == 79
    assert ctypes.cast(found[1].device, ctypes.c_void_p).value == ctypes.cast(card, ctypes.c_void_p).value


def test_what_the_fault_takes_for_a_call_or_an_error_is_one_of_the_stand_in():
    source = SOURCE.read_text()
    assert {call for call in gpu.CALLS if call != "all"} <= {*re.findall(r"\bint (nvml\w+)\(", source)}
    known = dict(re.findall(r'\{"([A-Z_]+)", (\d+)\}', source))
    assert {*gpu.ERRORS} == known.keys()
    assert {name: getattr(pynvml, f"NVML_ERROR_{name}") for name in known} == {n: int(c) for n, c in known.items()}


WRONG = {
    "nothing": ({}, "must name a call"),
    "no such call": ({"nvmlDeviceGetCont_v2": 1}, "no call nvmlDeviceGetCont_v2; did you mean nvmlDeviceGetCount_v2"),
    "no such error": ({"all": "GPU_LOST"}, "all: 'GPU_LOST' is neither numbers nor never nor an error"),
    "calls that do not grow": ({"all": "1 after 3 2 after 3 4"}, "the numbers of calls must grow"),
    "several lines": ({"all": "1\n2"}, "must be one line"),
}


@pytest.mark.parametrize(("answers", "why"), WRONG.values(), ids=WRONG)
def test_what_the_stand_in_cannot_answer_is_no_fault(answers, why):
    [(argument, said)] = Gpu(answers, "vector(1)").mistakes()
    assert argument == "answers" and why in said


COUNTS = f"""
import ctypes, sys, time
library = ctypes.CDLL("{gpu.LIBRARY}")
count = ctypes.c_uint()
while True:
    code = library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    open(sys.argv[1], "w").write(f"{{code}} {{count.value}}")
    time.sleep(0.02)
"""


def test_the_fault_is_seen_in_a_real_process_and_is_undone(stack, built, tmp_path, monkeypatch):
    said = tmp_path / "said"
    env = {"LD_LIBRARY_PATH": str(built), INSIDE: str(inside_control(stack.run, "server"))}
    child = spawn("server", [sys.executable, "-c", COUNTS, str(said)], stack.run, env=env)
    (stack.run / "pids" / "server").write_text(json.dumps(identify(child.pid)._asdict()))
    inside_control(stack.run, "server").parent.mkdir(exist_ok=True)

    def until(text):
        by = time.monotonic() + 20
        while not (said.exists() and said.read_text() == text):
            assert time.monotonic() < by, said.exists() and said.read_text()
            time.sleep(0.01)

    until("4 0")
    answers = []
    monkeypatch.setattr(gpu.prometheus, "query", lambda url, query: answers)
    entry = inject(Gpu({"nvmlDeviceGetCount_v2": 3}, "gpu_present > 0"), stack, "x", 60, witness_within_s=0)
    until("0 3")
    events = events_of(stack.run)
    assert [e.outcome for e in events if e.detail["edge"] == "witness"] == ["unknown"], "what it did is no witness"
    assert all(e.detail["simulated"] for e in events)
    answers.append({"value": [0, "3"]})
    assert Gpu(**{"answers": {"all": 1}, "witness_query": "q"}).witness(stack, entry.facts) == "Prometheus: q = 3"
    with pytest.raises(FaultError, match="is told what to say already"):
        inject(Gpu({"all": "never"}, "q"), stack, "x", 60)
    end_all(stack, "heal")
    end_all(stack, "heal")
    until("4 3")
    assert not nvml_control(stack.run, "server").exists()


def test_a_process_without_the_stand_in_is_no_target(stack):
    with pytest.raises(
        FaultError, match="no process of server has the stand-in: it is to be started by `harness gate`"
    ):
        inject(Gpu({"all": "never"}, "q"), stack, "x", 60)
    assert stack.ledger.open() == []
