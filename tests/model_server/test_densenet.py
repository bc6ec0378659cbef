"""DenseNet-121: the published network by its arithmetic, served like any other."""

import io
import json
import subprocess
import sys

import calibrated
import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from model_server.inference.densenet import DenseNet121
from model_server.inference.model import DeviceError, load, ready
from model_server.train import write


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights nobody trained, from a seed, whose answers are spread."""
    path = tmp_path_factory.mktemp("densenet") / "densenet.safetensors"
    torch.set_num_threads(1)  # more would fight over the cores with whatever else runs
    write(calibrated.network(), path, "0.1-random")
    return path


def test_it_has_the_published_parameters_by_number_and_by_name():
    assert sum(p.numel() for p in DenseNet121(1000).parameters()) == 7_978_856
    assert sum(p.numel() for p in DenseNet121().parameters()) == 6_954_881
    shapes = {name: tuple(value.shape) for name, value in DenseNet121(1000).state_dict().items()}
    assert (
        len(shapes) == 727
    )  # 121 weighted layers: 120 convolutions, 121 normalisations of five, one classifier of two
    assert shapes["features.conv0.weight"] == (64, 3, 7, 7)
    assert shapes["features.denseblock1.denselayer1.conv1.weight"] == (128, 64, 1, 1)
    assert shapes["features.denseblock3.denselayer24.conv2.weight"] == (32, 128, 3, 3)
    assert shapes["features.transition2.conv.weight"] == (256, 512, 1, 1)
    assert shapes["features.norm5.running_var"] == (1024,) and shapes["classifier.weight"] == (1000, 1024)


def test_weights_saved_before_batches_were_counted_load_too(weights, tmp_path):
    """As the published files are."""
    network, state = DenseNet121(), safetensors.torch.load_file(weights)
    network.load_state_dict({key: value for key, value in state.items() if not key.endswith("num_batches_tracked")})


def test_each_image_is_answered_for_itself_whatever_its_batch(weights):
    model = load(weights)
    pixels = calibrated.images(3, seed=5).numpy()
    together = model.predict(pixels)
    assert together.shape == (3,) and len(set(together.tolist())) == 3
    assert together == pytest.approx([model.predict(pixels[i : i + 1])[0] for i in range(3)], abs=1e-3)


def test_it_is_served_under_the_same_rules(serve, weights):
    body = io.BytesIO()
    Image.fromarray(calibrated.images(1, seed=5)[0].numpy()).save(body, "PNG")
    with serve("--weights", str(weights), "--max-batch", "2", "--deadline-s", "60") as client:
        answer = client.post("/predict", content=body.getvalue()).json()
        assert answer["model_version"] == "0.1-random" and 0 < answer["probability"] < 1
        assert client.metric("ml_model_info", architecture="densenet-121") == 1
        assert client.get("/v2/models/pneumonia-detector").json()["inputs"][0]["shape"] == [-1, 224, 224]
        deep = client.get("/health/deep")
        assert deep.status_code == 200, deep.text  # its card knows its own answers


def test_weights_of_the_small_network_are_none_of_it(weights, tmp_path):
    from model_server.inference.model import WeightsError
    from model_server.settings import WEIGHTS

    copy = tmp_path / "wrong.safetensors"
    copy.write_bytes(WEIGHTS.read_bytes())
    card = json.loads(WEIGHTS.with_suffix(".json").read_text()) | {"architecture": "densenet-121"}
    copy.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="not the weights of a densenet-121"):
        load(copy)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_that_is_asked_for_and_not_there_is_no_start():
    with pytest.raises(DeviceError, match="no CUDA device"):
        ready(device="cuda")
    command = [sys.executable, "-m", "model_server", "--auth", "off", "--port", "0", "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "no CUDA device" in done.stdout


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "off"), [("fp16", 0.03), ("fp32", 0.03), ("bf16", 0.2)])
def test_on_cuda_it_answers_as_on_the_cpu(weights, precision, off):
    fast, exact = ready(weights, 8, 1, "cuda", precision=precision), load(weights)
    pixels = calibrated.images(8, seed=5).numpy()
    wanted = exact.predict(pixels)
    assert np.ptp(wanted) > 2 * off  # no constant answer is as near to all of them
    for count in (8, 1, 3, 5):
        assert fast.predict(pixels[:count]) == pytest.approx(wanted[:count], abs=off)
    assert fast.usable() and fast.device == "cuda"


def test_its_answers_are_spread_so_that_a_constant_one_is_found_out(weights):
    answers = load(weights).predict(calibrated.images(8, seed=5).numpy())
    assert np.ptp(answers) > 0.4
