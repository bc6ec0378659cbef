"""The synthetic radiographs: from a seed, balanced, and learnable."""

import numpy as np

from model_server.inference.images import SIDE, decode
from model_server.inference.model import load
from model_server.training.radiographs import CLASSES, radiographs


def test_the_same_seed_gives_the_same_images_and_another_seed_others():
    one, two, other = (list(radiographs(4, seed, 64)) for seed in (5, 5, 6))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, two, strict=True))
    assert not any(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, other, strict=True))


def test_images_are_eight_bits_use_their_range_and_tell_their_truth():
    for image in radiographs(6, 7, 128):
        assert image.pixels.shape == (128, 128) and image.pixels.dtype == np.uint8
        assert image.pixels.max() - image.pixels.min() > 100
        assert (image.pattern == "clear") == (CLASSES[image.label] == "NORMAL")


def test_mean_brightness_does_not_tell_the_classes_apart():
    images = list(radiographs(60, 8, 64))
    means = np.array([image.pixels.mean() for image in images])
    labels = np.array([image.label for image in images], bool)
    best = max(max(((means > t) == labels).mean(), ((means <= t) == labels).mean()) for t in means)
    assert best < 0.75


def test_the_default_model_tells_unseen_images_apart():
    images = list(radiographs(60, 9))
    pixels = np.stack([decode(image.jpeg()) for image in images])
    assert pixels.shape == (60, SIDE, SIDE)
    said = load().predict(pixels) > 0.5
    assert (said == [image.label for image in images]).mean() >= 0.95


def test_a_dicom_file_holds_the_same_picture():
    image = next(radiographs(1, 8))
    assert np.abs(decode(image.dicom()).astype(int) - decode(image.jpeg(95))).mean() < 3


def test_another_detector_changes_the_picture_and_not_the_truth():
    image = next(radiographs(1, 8))
    other = image.drifted(np.random.default_rng(0), exposure=0.6, contrast=0.5, noise=0)
    assert other.label == image.label
    assert abs(other.pixels.mean() / image.pixels.mean() - 0.6) < 0.05
    assert abs(other.pixels.std() / image.pixels.std() - 0.5) < 0.05
