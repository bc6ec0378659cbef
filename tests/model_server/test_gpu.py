"""GPU readings, present, absent and failing; NVIDIA's library itself is a stand-in, everything above it is real."""

import time
from pathlib import Path

import fake_nvml

from model_server.telemetry.gpu import FAMILIES, Gpus, allocator

FAKE = """
import sys
sys.path.insert(0, {folder!r})
import fake_nvml, model_server.telemetry.gpu as gpu
fake_nvml.install({state!r})
gpu.Gpus.__init__.__defaults__ = (0.05, 0.5)
"""
READINGS = {
    ("gpu_present",): 1, ("gpu_utilization_ratio",): 0.73, ("gpu_memory_used_bytes",): 3 << 30,
    ("gpu_memory_total_bytes",): 80 << 30, ("gpu_temperature_celsius",): 61, ("gpu_power_watts",): 250.5,
    ("gpu_clock_hertz", "graphics"): 1000e6, ("gpu_clock_hertz", "sm"): 1001e6, ("gpu_clock_hertz", "memory"): 1002e6,
    ("gpu_throttle_reason", "sw_power_cap"): 1, ("gpu_throttle_reason", "hw_slowdown"): 0,
    ("gpu_ecc_errors_total", "corrected"): 5, ("gpu_ecc_errors_total", "uncorrected"): 6,
    ("gpu_xid_errors_total",): 0,
}  # fmt: skip


def reading(client, name: str, label: str | None = None) -> float | None:
    kind = {"gpu_clock_hertz": "domain", "gpu_throttle_reason": "reason", "gpu_ecc_errors_total": "kind"}.get(name)
    return client.metric(name, **({kind: label} if label else {}))


def test_without_a_gpu_there_is_no_reading_and_that_is_said(served):
    assert served.until(lambda: served.metric("gpu_present") == 0)
    assert served.metric("gpu_scrape_errors_total") == 0
    assert {name: served.metric(name) for name in FAMILIES} == dict.fromkeys(FAMILIES)
    assert served.metric("gpu_torch_allocated_bytes") is None


def test_each_reading_is_there_while_nvml_gives_it_and_absent_while_it_does_not(serve, tmp_path, corpus):
    state = tmp_path / "nvml"
    state.write_text("good")
    with serve(defect=FAKE.format(folder=str(Path(__file__).parent), state=str(state))) as client:

        def all_there():
            return {key: reading(client, *key) for key in READINGS} == READINGS

        client.until(all_there)
        assert client.metric("gpu_scrape_errors_total") == 0

        state.write_text("failing")
        client.until(lambda: client.metric("gpu_power_watts") is None)
        client.until(lambda: client.metric("gpu_scrape_errors_total"))
        assert client.metric("gpu_utilization_ratio") == 0.73 and client.metric("gpu_present") == 1

        for state_of_it in ("lost", "hung"):
            state.write_text("good")
            client.until(all_there)
            state.write_text(state_of_it)
            client.until(lambda: client.metric("gpu_utilization_ratio") is None)
            before = client.metric("gpu_scrape_errors_total")
            client.until(lambda before=before: client.metric("gpu_scrape_errors_total") > before)
            assert {name: client.metric(name) for name in FAMILIES} == dict.fromkeys(FAMILIES)
            assert client.metric("gpu_present") is None
            assert client.post("/predict", content=corpus[0][0]).status_code == 200

        state.write_text("xid")
        client.until(lambda: client.metric("gpu_xid_errors_total", gpu="0") == 1)


def test_what_a_gpu_does_not_offer_is_absent_and_no_error(tmp_path, monkeypatch):
    (tmp_path / "nvml").write_text("bare")
    monkeypatch.setattr("pynvml.nvmlLib", fake_nvml.Library(tmp_path / "nvml"))
    monkeypatch.setattr("pynvml._nvmlGetFunctionPointer_cache", {})
    gpus = Gpus(every_s=0.01, fresh_s=60)
    deadline = time.monotonic() + 60
    while True:
        families = {family.name: family.samples for family in gpus.collect()}
        if families["gpu_present"] and families["gpu_utilization_ratio"]:
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert families["gpu_ecc_errors"] == families["gpu_xid_errors"] == []
    assert families["gpu_scrape_errors"][0].value == 0
    gpus.close()


def test_torch_says_nothing_of_gpus_it_has_not_used():
    import torch

    assert all(read() == {} for _, read, _ in allocator(torch).values()) or torch.cuda.is_initialized()
