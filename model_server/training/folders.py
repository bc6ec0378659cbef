"""Radiographs in folders called NORMAL and PNEUMONIA, as the public pneumonia set has them.

That set has a folder for training and one for testing, each with the two in it:

    chest_xray/train/NORMAL  chest_xray/train/PNEUMONIA  chest_xray/test/NORMAL  chest_xray/test/PNEUMONIA
"""

from pathlib import Path

import numpy as np

from model_server.classes import CLASSES
from model_server.errors import BadInput
from model_server.inference.images import SIDE, decode

SUFFIXES = {".png", ".jpg", ".jpeg", ".dcm"}
HOLD_OUT = 5  # where there is no folder for testing, every fifth image of each class is held out


class FolderError(Exception):
    """The folder does not hold what is needed; the message says what and where."""


def split(folder: Path, side: int = SIDE) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images to train on, and images held out. Raises FolderError."""
    if (folder / "train").is_dir():
        return read(folder / "train", side), read(folder / "test", side)
    pixels, labels = read(folder, side)
    place = np.concatenate([np.arange(count) for count in np.bincount(labels)])  # within its class
    held_out = place % HOLD_OUT == HOLD_OUT - 1
    if not held_out.any():
        raise FolderError(f"{folder}: fewer than {HOLD_OUT} images of each class; none can be held out")
    return (pixels[~held_out], labels[~held_out]), (pixels[held_out], labels[held_out])


def read(folder: Path, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (n, side, side) and labels int64 (n,), the classes one after the other. Raises FolderError."""
    pixels, labels = [], []
    for label, name in enumerate(CLASSES):
        if not (folder / name).is_dir():
            raise FolderError(f"{folder}: no folder {name} in it")
        paths = sorted(path for path in (folder / name).iterdir() if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise FolderError(f"{folder / name}: no image in it ({', '.join(sorted(SUFFIXES))})")
        for path in paths:
            try:
                pixels.append(decode(path.read_bytes(), side=side))
                labels.append(label)
            except BadInput as error:
                raise FolderError(f"{path}: {error}: replace or remove it") from None
    return np.stack(pixels), np.array(labels)
