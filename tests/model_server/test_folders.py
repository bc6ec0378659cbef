"""Folders of radiographs, as the public pneumonia set has them: trained on, evaluated, and refused when wrong."""

import json

import numpy as np
import pytest
from PIL import Image

from model_server import train
from model_server.training.radiographs import CLASSES, radiographs


def fill(folder, count: int, seed: int, suffix: str = ".jpeg"):
    for i, image in enumerate(radiographs(count, seed, 128)):
        place = folder / CLASSES[image.label]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"person{i}{suffix}").write_bytes(image.jpeg())
    return folder


def test_images_and_labels_come_by_class_and_other_files_are_passed_over(tmp_path):
    fill(tmp_path, 6, 20)
    (tmp_path / "NORMAL/.DS_Store").write_bytes(b"x")
    (tmp_path / "NORMAL/Thumbs.db").write_bytes(b"x")
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "PNEUMONIA/z.PNG")
    pixels, labels = train.read_folder(tmp_path)
    assert pixels.shape == (7, 64, 64) and pixels.dtype == np.uint8 and labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert (np.diff(pixels[-1].astype(int), axis=0) > 0).all()


def test_train_and_test_folders_are_used_as_such_and_else_every_fifth_is_held_out(tmp_path):
    fill(tmp_path / "both/train", 8, 21), fill(tmp_path / "both/test", 4, 22)
    shown, held_out = train.split_folder(tmp_path / "both")
    assert (len(shown[1]), len(held_out[1])) == (8, 4)
    shown, held_out = train.split_folder(fill(tmp_path / "one", 20, 23))
    assert shown[1].tolist() == [0] * 8 + [1] * 8 and held_out[1].tolist() == [0] * 2 + [1] * 2


def test_it_trains_on_a_folder_and_evaluates_what_it_has_trained(tmp_path, capsys):
    data = fill(tmp_path / "chest_xray/train", 200, 24).parent
    fill(data / "test", 40, 25)
    out = tmp_path / "mine.safetensors"
    assert train.main(["--data", str(data), "--out", str(out), "--epochs", "12", "--version", "mine-1"]) == 0
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["version"] == "mine-1" and card["held_out"]["images"] == 40 and card["trained_on"]["images"] == 200
    assert card["held_out_accuracy"] >= 0.6 and len(card["known_answers"]) == 4
    capsys.readouterr()
    assert train.main(["--evaluate", str(data / "test"), "--weights", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["accuracy"] == card["held_out_accuracy"] and told["images"] == 40 and told["version"] == "mine-1"
    assert told["recall"] == card["held_out_recall"] and told["precision"] == card["held_out_precision"]


def test_the_default_weights_know_real_folders_of_synthetic_images(tmp_path, capsys):
    assert train.main(["--evaluate", str(fill(tmp_path, 60, 26, ".jpg"))]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] >= 0.9


WRONG = {
    "no folder": (lambda d: d / "none", "no folder NORMAL"),
    "one class": (lambda d: (fill(d, 2, 1), (d / "PNEUMONIA").rename(d / "FLU"), d)[2], "no folder PNEUMONIA"),
    "no image": (lambda d: (fill(d, 2, 1, ".txt"), d)[1], "no image in it"),
    "a broken image": (
        lambda d: (fill(d, 2, 1), (d / "NORMAL/bad.png").write_bytes(b"x"), d)[2],
        "NORMAL/bad.png: the body is neither",
    ),
}


@pytest.mark.parametrize(("make", "said"), WRONG.values(), ids=WRONG)
def test_a_folder_that_cannot_be_used_is_said_in_a_sentence(tmp_path, make, said, capsys):
    assert train.main(["--evaluate", str(make(tmp_path))]) == 1
    assert said in capsys.readouterr().err


def test_too_few_to_hold_any_out_is_said(tmp_path, capsys):
    assert train.main(["--data", str(fill(tmp_path, 6, 1)), "--out", str(tmp_path / "x.safetensors")]) == 1
    assert "fewer than 5" in capsys.readouterr().err and not (tmp_path / "x.safetensors").exists()
