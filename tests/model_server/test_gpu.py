"""GPU readings, present, absent and failing; NVIDIA's library itself is a stand-in, everything above it is real."""

import time
from pathlib import Path
from types import SimpleNamespace

import fake_nvml
import pynvml
import pytest
import structlog
from fake_nvml import card, tell, uuid
from prometheus_client import CollectorRegistry

from model_server.telemetry.gpu import FAMILIES, XIDS, Gpus, allocator
from model_server.telemetry.readings import Readings

FAKE = """
import sys
sys.path.insert(0, {folder!r})
import fake_nvml, model_server.telemetry.gpu as gpu
fake_nvml.install({state!r})
gpu.Gpus.__init__.__defaults__ = (0.05, 0.5)
"""
READINGS = {
    ("gpu_present",): 1, ("gpu_info",): 1, ("gpu_utilization_ratio",): 0.73, ("gpu_memory_used_bytes",): 3 << 30,
    ("gpu_memory_total_bytes",): 80 << 30, ("gpu_temperature_celsius",): 61, ("gpu_power_watts",): 250.5,
    ("gpu_clock_hertz", "graphics"): 1000e6, ("gpu_clock_hertz", "sm"): 1001e6, ("gpu_clock_hertz", "memory"): 1002e6,
    ("gpu_throttle_reason", "sw_power_cap"): 1, ("gpu_throttle_reason", "hw_slowdown"): 0,
    ("gpu_ecc_errors_total", "corrected"): 5, ("gpu_ecc_errors_total", "uncorrected"): 6,
    ("gpu_xid_errors_total", "79"): 0, ("gpu_xid_errors_total", "other"): 0,
}  # fmt: skip
OF_NVML = FAMILIES.keys() - {"gpu_xid_errors_total"}  # that one says what has happened, whatever NVML says now


def reading(client, name: str, label: str | None = None) -> float | None:
    return client.metric(name, **({FAMILIES[name][1][0]: label} if label else {}))


def test_without_a_gpu_there_is_no_reading_and_that_is_said(served):
    assert served.until(lambda: served.metric("gpu_present") == 0)
    assert served.metric("gpu_scrape_errors_total") == 0
    assert {name: served.metric(name) for name in FAMILIES} == dict.fromkeys(FAMILIES)
    assert served.metric("gpu_torch_allocated_bytes") is None


def test_each_reading_is_there_while_nvml_gives_it_and_absent_while_it_does_not(serve, tmp_path, corpus):
    state = tmp_path / "nvml"
    tell(state)
    with serve(defect=FAKE.format(folder=str(Path(__file__).parent), state=str(state))) as client:

        def all_there():
            return {key: reading(client, *key) for key in READINGS} == READINGS

        client.until(all_there)
        assert client.metric("gpu_scrape_errors_total") == 0

        tell(state, card(failing=True))
        client.until(lambda: client.metric("gpu_power_watts") is None)
        client.until(lambda: client.metric("gpu_scrape_errors_total"))
        assert client.metric("gpu_utilization_ratio") == 0.73 and client.metric("gpu_present") == 1

        for answers in ("lost", "never"):
            tell(state)
            client.until(all_there)
            tell(state, answers=answers)
            client.until(lambda: client.metric("gpu_utilization_ratio") is None)
            before = client.metric("gpu_scrape_errors_total")
            client.until(lambda before=before: client.metric("gpu_scrape_errors_total") > before)
            assert {name: client.metric(name) for name in OF_NVML} == dict.fromkeys(OF_NVML)
            assert client.metric("gpu_present") is None
            assert client.post("/predict", content=corpus[0][0]).status_code == 200

        tell(state, xids=[(0, 79)])
        client.until(lambda: client.metric("gpu_xid_errors_total", gpu="0", xid="79") == 1)
        line = client.until(lambda: next((x for x in client.log if x["message"] == "GPU reported an error"), None))
        assert line["level"] == "ERROR"
        assert line["context"] == {"deployment": "none", "gpu": "0", "uuid": uuid(1), "xid": 79, "fault": "hardware"}


class Reader:
    """A collector that asks the stand-in, and what it exposes."""

    def __init__(self, state: Path, **options):
        self.state = state
        self.gpus = Gpus(0.01, 60, **options)
        self._registry = CollectorRegistry()
        self._registry.register(self.gpus)

    def __call__(self, metric: str, /, **labels: str) -> float | None:
        return self._registry.get_sample_value(metric, labels)

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """Of one family: the value by the label values."""
        family = next(f for f in self.gpus.collect() if f.name == name.removesuffix("_total"))
        return {tuple(sample.labels.values()): sample.value for sample in family.samples}

    def close(self) -> None:
        self.gpus.close(60)  # else it would ask the next test's cards

    def until(self, said) -> None:
        deadline = time.monotonic() + 60
        while not said():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """`read(*cards, **told)` tells the stand-in and starts a Reader; `options` are the collector's own."""
    state = tmp_path / "nvml"
    readers = []

    def start(*cards: dict, options: dict | None = None, **told) -> Reader:
        tell(state, *cards, **told)
        monkeypatch.setattr(pynvml, "nvmlLib", fake_nvml.Library(state))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        readers.append(Reader(state, **(options or {})))
        readers[-1].until(lambda: readers[-1]("gpu_present") is not None)
        return readers[-1]

    yield start
    for reader in readers:
        reader.close()


def test_what_a_gpu_does_not_offer_is_absent_and_no_error(read):
    reader = read(card(bare=True))
    assert reader("gpu_utilization_ratio", gpu="0") == 0.73
    assert reader.series("gpu_ecc_errors_total") == reader.series("gpu_xid_errors_total") == {}
    assert reader("gpu_scrape_errors_total") == 0


def test_of_two_cards_ours_is_found_by_its_uuid_and_has_nvmls_index_in_every_metric(read):
    """With CUDA_VISIBLE_DEVICES=1, torch's first card is NVML's second."""
    reader = read(card(1, memory=[1, 2]), card(2, memory=[3, 4]), options={"shown": ()})
    assert reader("gpu_present") == 2 and reader.series("gpu_memory_used_bytes") == {}  # whose is whose is not known
    bare = uuid(2).removeprefix("GPU-")  # as torch writes it
    reader.gpus.show([bare])
    reader.until(lambda: reader.series("gpu_memory_used_bytes"))
    for name in FAMILIES:
        assert {labels[0] for labels in reader.series(name)} == {"1"}, name
    assert reader("gpu_memory_used_bytes", gpu="1") == 3 and reader("gpu_present") == 2
    assert reader("gpu_info", gpu="1", uuid=uuid(2), name="NVIDIA H200") == 1

    cuda = SimpleNamespace(
        is_initialized=lambda: True, device_count=lambda: 1, memory_reserved=lambda index: 20,
        memory_allocated=lambda index: 10, get_device_properties=lambda index: SimpleNamespace(uuid=bare),
    )  # fmt: skip
    readings = allocator(SimpleNamespace(cuda=cuda), reader.gpus)
    assert [of() for _, of, _ in readings.values()] == [{("1",): 10}, {("1",): 20}]
    tell(reader.state, card(1))
    errors = reader("gpu_scrape_errors_total")
    reader.until(lambda: reader("gpu_scrape_errors_total") > errors)  # ours is gone, though NVML shows one
    assert reader.series("gpu_memory_used_bytes") == {} and reader("gpu_present") == 1


def test_a_model_on_no_gpu_shows_the_readings_of_all(read):
    reader = read(card(1), card(2), options={"shown": ()})
    reader.gpus.show(None)
    reader.until(lambda: len(reader.series("gpu_memory_used_bytes")) == 2)


A, B = uuid(7, "MIG"), uuid(8, "MIG")


@pytest.mark.parametrize(
    ("shown", "named", "there", "used"),
    [
        pytest.param([uuid(8)], "", [A, B], 22, id="torch says the slice"),
        pytest.param([uuid(1)], B, [A, B], 22, id="torch says the card, the environment the slice"),
        pytest.param([uuid(1)], "", [A], 11, id="the only one"),
        pytest.param(None, "", [A], 11, id="the only one, and the model on no GPU"),
        pytest.param([uuid(1)], "", [A, B], None, id="no telling which"),
    ],
)
def test_of_a_slice_of_a_card_the_whole_cards_memory_use_and_power_are_not_told_as_its_own(
    read, monkeypatch, shown, named, there, used
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    memory = {A: [11, 100], B: [22, 100]}
    reader = read(card(slices={part: memory[part] for part in there}), options={"shown": shown})
    reader.until(lambda: reader.series("gpu_temperature_celsius"))
    assert reader("gpu_memory_used_bytes", gpu="0") == used
    assert reader.series("gpu_utilization_ratio") == reader.series("gpu_power_watts") == {}
    names = {labels[1:] for labels in reader.series("gpu_info")}
    assert names == ({({11: A, 22: B}[used], "NVIDIA H200 MIG 1g.18gb")} if used else set())
    assert reader("gpu_scrape_errors_total") == 0


def test_a_card_that_is_counted_and_answers_nothing_is_no_reading_but_errors(read):
    reader = read(card(1), card(2))
    reader.until(lambda: len(reader.series("gpu_info")) == 2)
    tell(reader.state, card(1, lost=True), card(2))
    reader.until(lambda: reader("gpu_scrape_errors_total"))
    reader.until(lambda: {labels[0] for labels in reader.series("gpu_info")} == {"1"})
    assert reader("gpu_present") == 2
    assert {labels[0] for labels in reader.series("gpu_xid_errors_total")} == {"0", "1"}  # what was is still true
    tell(reader.state, card(1), card(2))
    reader.until(lambda: len(reader.series("gpu_info")) == 2)


def test_throttling_and_memory_errors_are_followed(read):
    reader = read(card(held=0, ecc=[0, 0]))
    assert set(reader.series("gpu_throttle_reason").values()) == {0}
    both = pynvml.nvmlClocksEventReasonHwThermalSlowdown | pynvml.nvmlClocksEventReasonHwSlowdown
    tell(reader.state, card(held=both, ecc=[12, 3]))
    reader.until(lambda: reader("gpu_ecc_errors_total", gpu="0", kind="uncorrected") == 3)
    assert reader("gpu_ecc_errors_total", gpu="0", kind="corrected") == 12
    held = {reason for (_, reason), value in reader.series("gpu_throttle_reason").items() if value}
    assert held == {"hw_thermal_slowdown", "hw_slowdown"}


def test_an_xid_is_counted_by_its_number_and_logged_at_once(read):
    with structlog.testing.capture_logs() as lines:
        xids = [(1, 79), (1, 31), (0, 48), (1, 119), (1, 79)]
        reader = read(card(1), card(2), options={"shown": [uuid(2)]}, xids=xids)
        reader.until(lambda: len(lines) == 4)
    series = reader.series("gpu_xid_errors_total")
    assert {labels[1] for labels in series} == {*map(str, XIDS), "other"}  # each from 0: a rate must see the first
    assert {xid: n for (_, xid), n in series.items() if n} == {"79": 2, "31": 1, "other": 1}
    assert {line["log_level"] for line in lines} == {"error"}
    told = [(line["gpu"], line["xid"], line["fault"]) for line in lines]
    assert told == [  # the neighbour's is the neighbour's
        ("1", 79, "hardware"), ("1", 31, "application"), ("1", 119, "unknown"), ("1", 79, "hardware"),
    ]  # fmt: skip


def test_xids_outlive_the_process_that_counted_them(read, tmp_path):
    kept = tmp_path / "xids.json"
    before = read(xids=[(0, 79), (0, 31)], options={"kept": kept})
    before.until(lambda: kept.exists() and "31" in kept.read_text())
    before.close()
    after = read(xids=[(0, 79)], options={"kept": kept})
    after.until(lambda: after("gpu_xid_errors_total", gpu="0", xid="79") == 2)
    assert after("gpu_xid_errors_total", gpu="0", xid="31") == 1


@pytest.mark.parametrize("content", [None, "", "[]", '{"GPU-1": 3}', '{"GPU-1": {"x": 1}}'])
def test_a_file_of_xids_that_is_not_there_or_not_as_it_should_be_is_none(read, tmp_path, content):
    kept = tmp_path / "xids.json"
    if content is not None:
        kept.write_text(content)
    reader = read(xids=[(0, 79)], options={"kept": kept})
    reader.until(lambda: reader("gpu_xid_errors_total", gpu="0", xid="79") == 1)


def test_a_registration_that_fails_is_tried_again(read):
    reader = read(registers="failing", xids=[(0, 79)])
    reader.until(lambda: reader("gpu_scrape_errors_total") >= 2)
    assert reader.series("gpu_xid_errors_total") == {}  # nobody watches
    tell(reader.state, xids=[(0, 79)])
    reader.until(lambda: reader("gpu_xid_errors_total", gpu="0", xid="79") == 1)


def test_torch_says_nothing_of_gpus_it_has_not_used(read):
    import torch

    readings = allocator(torch, read().gpus)
    assert all(of() == {} for _, of, _ in readings.values()) or torch.cuda.is_initialized()


def test_an_allocator_that_cannot_be_read_leaves_the_rest_of_the_metrics(read):
    def fails(*_: int) -> int:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    cuda = SimpleNamespace(
        is_initialized=lambda: True, device_count=lambda: 1, memory_reserved=fails, memory_allocated=fails
    )
    readings = {**allocator(SimpleNamespace(cuda=cuda), read().gpus), "other_bytes": ("x", lambda: 3)}
    assert [sample.value for family in Readings(readings).collect() for sample in family.samples] == [3]
