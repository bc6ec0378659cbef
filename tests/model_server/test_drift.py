"""Drifted radiographs raise the index, those of the same population do not."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from model_server.inference.drift import BINS, ENOUGH, Drift, features, reference
from model_server.inference.images import SIDE
from model_server.inference.model import load
from model_server.settings import WEIGHTS
from model_server.training.radiographs import radiographs

COUNT, FEW = 150, 100
EVERY_IMAGE = f"import model_server.inference.drift as d\nd.AT_MOST_EVERY_S = 0\nd.WINDOW = {COUNT}\nd.ENOUGH = {FEW}"
DRIFTS = {  # what happened to the population: (the feature it must show in, how)
    "under-exposed": ("exposure", lambda pixels, rng: 0.7 * pixels),
    "flat": ("contrast", lambda pixels, rng: 128 + 0.7 * (pixels - 128)),
    "noisy": ("noise", lambda pixels, rng: pixels + rng.normal(0, 25, pixels.shape)),
}


@pytest.fixture(scope="module")
def held_out() -> list[np.ndarray]:
    seed = json.loads(WEIGHTS.with_suffix(".json").read_text())["held_out"]["seed"]
    return [image.pixels for image in radiographs(COUNT, seed)]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A server that looks at every image."""
    from real_server import serving

    with serving(tmp_path_factory.mktemp("watched"), defect=EVERY_IMAGE) as client:
        yield client


def send(client, images) -> dict[str, float]:
    """Predict each; the drift after them."""
    for pixels in images:
        out = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG")
        assert client.post("/predict", content=out.getvalue()).status_code == 200
    names = ("exposure", "contrast", "sharpness", "noise")
    return {name: client.metric("ml_feature_drift", feature=name) for name in names}


def test_the_held_out_set_has_not_drifted_and_a_few_images_say_nothing(watched, held_out):
    assert send(watched, held_out[: FEW - 2]) == dict.fromkeys(("exposure", "contrast", "sharpness", "noise"))
    scores = send(watched, held_out)
    assert all(0 <= score < 0.25 for score in scores.values()), scores


@pytest.mark.parametrize("drift", DRIFTS)
def test_a_drifted_population_is_seen_and_its_end_too(watched, held_out, drift):
    rng = np.random.default_rng(0)
    feature, change = DRIFTS[drift]
    drifted = send(watched, (change(pixels.astype(float), rng) for pixels in held_out))
    assert drifted[feature] > 0.5, drifted
    over = send(watched, held_out)
    assert all(score < 0.25 for score in over.values()), over


def test_the_index_is_zero_for_the_reference_itself_and_large_for_one_bin_alone():
    images = np.random.default_rng(0).integers(0, 256, (40 * BINS, 8, 8)).astype(np.uint8)
    drift = Drift(clock=iter(range(10_000)).__next__)
    drift.against(reference(images))
    for image in images:
        drift.see(image[None])
    assert all(score < 0.001 for score in drift.scores().values())
    drift.against(reference(images))
    for _ in range(ENOUGH):
        drift.see(np.zeros((1, 8, 8), np.uint8))
    assert all(score > 2 for score in drift.scores().values())


def test_each_feature_moves_with_what_it_is_named_for():
    image = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (16, 1))
    plain = features(image)
    assert features(image + 50)["exposure"] == plain["exposure"] + 50
    assert features(image // 2)["contrast"] < plain["contrast"]
    assert features(np.kron(image, np.ones((4, 4), np.uint8)))["sharpness"] < plain["sharpness"]
    assert plain["noise"] == 0 < features(image + np.random.default_rng(0).integers(0, 9, image.shape))["noise"]


def plainly(pixels: np.ndarray) -> dict[str, float]:
    """The features by their definitions, as those were computed that the reference in the weights' card is made of."""
    image = pixels.astype(float)
    across, along = np.diff(image, axis=1), np.diff(image, axis=0)
    return {
        "exposure": image.mean(),
        "contrast": image.std(),
        "sharpness": np.sqrt((across**2).mean() + (along**2).mean()),
        "noise": np.abs(np.diff(across, axis=0)).mean(),
    }


@pytest.mark.parametrize("side", [SIDE, 224])
def test_features_are_what_they_were_and_the_stored_reference_stays_valid(held_out, side):
    edges = load().features
    images = [np.asarray(Image.fromarray(pixels).resize((side, side))) for pixels in held_out]
    for pixels in (*images, *(np.full((side, side), level, np.uint8) for level in (0, 127, 255))):
        seen, plain = features(pixels), plainly(pixels)
        assert seen == pytest.approx(plain, rel=1e-5)  # 4e-6 is seen: float32
        assert all(np.searchsorted(at, seen[name]) == np.searchsorted(at, plain[name]) for name, at in edges.items())


def test_without_a_reference_nothing_is_said():
    drift = Drift()
    for _ in range(ENOUGH):
        drift.see(np.zeros((1, 8, 8), np.uint8))
    assert drift.scores() == {}
