"""The captured path of CUDA, with a stand-in that records and replays operators on the CPU."""

import dataclasses

import calibrated
import fake_cuda
import numpy as np
import pytest
import torch
from torch import nn

from model_server.inference.cuda import CudaModel
from model_server.inference.failures import NotFinite, finite
from model_server.inference.images import decode
from model_server.inference.model import DeviceError, Model, load, ready

SIDE = 64


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    fake_cuda.install(monkeypatch)


@pytest.fixture(scope="module")
def exact() -> Model:
    return load()


@pytest.fixture(scope="module")
def images(corpus) -> np.ndarray:
    """Eight, of both classes in turn."""
    bodies = sorted(corpus, key=lambda each: each[1])
    half = len(bodies) // 2
    return np.stack([decode(bodies[i // 2 + i % 2 * half][0]) for i in range(8)])


@pytest.mark.parametrize("max_batch", [1, 4, 6])
def test_a_batch_of_any_size_is_answered_as_on_the_cpu_whatever_was_there_before(exact, images, max_batch):
    model = CudaModel(exact, max_batch, "fp32", "cpu")
    assert [graph.pool for graph, _ in model._graphs.values()] == [(0, 1)] * len(model._graphs)  # one pool for all
    wanted, others = exact.predict(images), images[::-1][:max_batch].copy()
    assert np.ptp(wanted) > 0.5  # a constant would be found out
    for count in [*range(max_batch, 0, -1), *range(1, max_batch + 1)]:
        kept = model.predict(others)  # fills every place with something else
        answers = model.predict(images[:count])
        assert answers.shape == (count,) and answers.dtype == np.float32
        assert answers == pytest.approx(wanted[:count], abs=1e-4)
        assert kept == pytest.approx(wanted[::-1][:max_batch], abs=1e-4)  # they are the caller's, not the graph's


def test_it_says_what_it_answers_as_and_where_it_is(exact):
    model = CudaModel(exact, 2, "fp32", "cpu")
    same = ("version", "sha256", "architecture", "side", "known_answers")
    assert [getattr(model, name) for name in same] == [getattr(exact, name) for name in same]
    assert (model.device, model.uuid, exact.device) == ("cpu", fake_cuda.UUID, "cpu")


def test_weights_are_cast_once_and_not_with_every_replay(exact, images):
    model = CudaModel(exact, 2, "bf16", "cpu")
    weighted = [part for part in model._network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    assert len(weighted) == 5 and {p.dtype for part in weighted for p in part.parameters()} == {torch.bfloat16}
    weights = {fake_cuda.memory(p) for part in weighted for p in part.parameters()}
    for graph, _ in model._graphs.values():
        cast = [
            function for function, args, _, gave in graph.operators
            for given, made in zip(fake_cuda.tensors(args), fake_cuda.tensors(gave), strict=False)
            if fake_cuda.memory(given) in weights and made.dtype != given.dtype
        ]  # fmt: skip
        assert len(graph.operators) > 10 and cast == []
    assert model.predict(images[:2]) == pytest.approx(exact.predict(images[:2]), abs=0.1)
    assert all(p.dtype == torch.float32 for p in exact.network.parameters())  # the model's own stay


class Overflowing(nn.Module):
    """Log odds of 1 for an image; for one that begins with such a grey, what is no number or more than any."""

    side = SIDE

    def __init__(self, beyond: float):
        super().__init__()
        self.register_buffer("beyond", torch.tensor(beyond))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.where(pixels[:, 0, 0] == 255, self.beyond, torch.ones(len(pixels)))


@pytest.mark.parametrize("beyond", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("on", ["the CPU", "CUDA"])
def test_an_overflow_is_no_answer_though_its_sigmoid_were_one(exact, beyond, on):
    model = dataclasses.replace(exact, network=Overflowing(beyond))
    if on == "CUDA":
        model = CudaModel(model, 2, "fp32", "cpu")
    images = np.zeros((2, SIDE, SIDE), np.uint8)
    assert finite(model.predict(images)) == pytest.approx(0.731, abs=1e-3)
    images[1] = 255
    answers = model.predict(images)
    assert answers[0] == pytest.approx(0.731, abs=1e-3) and np.isnan(answers[1])
    with pytest.raises(NotFinite, match="1 of 2 answers"):
        finite(answers)


def test_bf16_by_emulation_is_no_start_and_fp16_is_the_default(monkeypatch):
    made = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr("model_server.inference.cuda.CudaModel", lambda model, *rest: made.append(rest) or model)
    ready(device="auto")
    assert made == [(1, "fp16")]
    with pytest.raises(DeviceError, match="bf16: this GPU has it by emulation only"):
        ready(device="cuda", precision="bf16")


def test_the_default_precision_moves_no_answer_far_and_bf16_moves_them_further():
    """DenseNet-121, whose answers are spread from image to image."""
    exact = dataclasses.replace(load(), network=calibrated.network(), architecture="densenet-121")
    pixels = calibrated.images(8, seed=5)[[3, 4, 7]].numpy()
    wanted, off = exact.predict(pixels), {}
    assert np.ptp(wanted) > 0.4
    for precision in ("fp16", "bf16"):
        model = CudaModel(exact, 1, precision, "cpu")
        off[precision] = max(abs(model.predict(pixels[i : i + 1])[0] - wanted[i]) for i in range(3))
    assert off["fp16"] < 0.03 and off["fp16"] < off["bf16"] < 0.3
