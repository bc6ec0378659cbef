"""The corpus is a folder of labelled images, or one clear complaint."""

import os

import pytest

from harness.errors import UsageError
from harness.load.corpus import read


def folder(path, **classes):
    for name, files in classes.items():
        (path / name).mkdir()
        for file in files:
            (path / name / file).write_bytes(f"{name} {file}".encode())
    return path


def test_classes_take_turns_and_each_image_knows_what_it_shows(tmp_path):
    images = read(folder(tmp_path, NORMAL=["b.jpeg", "a.JPG", "notes.txt"], PNEUMONIA=["1.png", "2.dcm", "3.jpg"]))
    assert [(i.body.decode(), i.expected, i.content_type) for i in images] == [
        ("NORMAL a.JPG", 0, "image/jpeg"),
        ("PNEUMONIA 1.png", 1, "image/png"),
        ("NORMAL b.jpeg", 0, "image/jpeg"),
        ("PNEUMONIA 2.dcm", 1, "application/dicom"),
        ("PNEUMONIA 3.jpg", 1, "image/jpeg"),
    ]


@pytest.mark.parametrize(
    "classes, complaint",
    [
        ({"NORMAL": ["a.jpg"]}, "PNEUMONIA holds no images"),
        ({"NORMAL": ["a.txt"], "PNEUMONIA": ["b.jpg"]}, "NORMAL holds no images"),
        ({}, "NORMAL holds no images"),
    ],
)
def test_a_class_without_images_is_named(tmp_path, classes, complaint):
    with pytest.raises(UsageError, match=complaint):
        read(folder(tmp_path, **classes))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        read(tmp_path / "nowhere")


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    folder(tmp_path, NORMAL=["a.jpg"], PNEUMONIA=["b.jpg"])
    (tmp_path / "NORMAL" / "c.jpg").symlink_to("gone")
    with pytest.raises(UsageError, match=r"c\.jpg: no such file"):
        read(tmp_path)


def test_an_image_that_is_a_pipe_is_not_opened(tmp_path):
    folder(tmp_path, NORMAL=["a.jpg"], PNEUMONIA=["b.jpg"])
    os.mkfifo(tmp_path / "NORMAL" / "c.jpg")
    with pytest.raises(UsageError, match=r"c\.jpg: is a named pipe; name a regular file"):
        read(tmp_path)
