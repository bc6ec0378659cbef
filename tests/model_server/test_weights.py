"""Weights load whole and as described, or not at all."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from model_server.inference.model import WeightsError, load, ready
from model_server.settings import WEIGHTS

CARD = WEIGHTS.with_suffix(".json")


@pytest.fixture
def copy(tmp_path) -> Path:
    for path in (WEIGHTS, CARD):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / WEIGHTS.name


def recard(path: Path, **changes) -> None:
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))


def reshape(path: Path) -> None:
    import hashlib

    state = safetensors.torch.load_file(path)
    state["head.weight"] = torch.zeros(1, 5)
    path.write_bytes(safetensors.torch.save(state))
    recard(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_default_weights_are_what_their_card_says():
    card, model = json.loads(CARD.read_text()), load()
    assert (model.version, model.sha256, model.architecture) == (card["version"], card["sha256"], card["architecture"])
    assert card["held_out_accuracy"] >= 0.95 and card["command"].startswith("python -m model_server.train")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda p: p.unlink(), "No such file", id="missing"),
        pytest.param(lambda p: p.with_suffix(".json").unlink(), "No such file", id="without its card"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes()[:1000]), "SHA-256", id="truncated"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes()[:-1] + b"x"), "SHA-256", id="one byte changed"),
        pytest.param(lambda p: recard(p, sha256="0" * 64), "SHA-256", id="another hash on the card"),
        pytest.param(lambda p: recard(p, architecture="transformer"), "unknown architecture", id="another network"),
        pytest.param(lambda p: p.with_suffix(".json").write_text("{"), "not a model card", id="a broken card"),
        pytest.param(reshape, "not the weights of", id="another shape"),
    ],
)
def test_damaged_weights_are_refused_with_the_reason(copy, damage, said):
    damage(copy)
    with pytest.raises(WeightsError, match=said):
        load(copy)


@pytest.mark.parametrize(
    ("damage", "flags", "said"),
    [
        pytest.param(lambda p: p.unlink(), (), "No such file", id="missing"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes()[:1000]), (), "SHA-256", id="truncated"),
        pytest.param(reshape, (), "not the weights of", id="another shape"),
        pytest.param(lambda p: None, ("--weights-sha256", "0" * 64), "--weights-sha256 says 000", id="another hash"),
    ],
)
def test_a_server_whose_weights_are_not_what_they_should_be_does_not_start(serve, copy, damage, flags, said):
    damage(copy)
    with serve("--weights", str(copy), *flags, wait=False) as client:
        assert client.process.wait(120) == 1
        told = [(line["message"], line["context"].get("reason", "")) for line in client.log]
    (reason,) = [reason for message, reason in told if message == "Service cannot start"]
    assert said in reason and str(copy) in reason and "Service started" not in dict(told)


def test_a_model_that_answers_nonsense_is_not_ready(copy):
    import hashlib

    state = {key: value * float("nan") for key, value in safetensors.torch.load_file(copy).items()}
    copy.write_bytes(safetensors.torch.save(state))
    recard(copy, sha256=hashlib.sha256(copy.read_bytes()).hexdigest())
    with pytest.raises(WeightsError, match="black images"):
        ready(copy)
