"""What is sent: a folder of labelled radiographs, read into memory before the run.

The folder has the layout of the public pneumonia set: NORMAL/ and PNEUMONIA/, each holding images.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

from harness.document import regular
from harness.errors import UsageError

CLASSES = ("NORMAL", "PNEUMONIA")  # their places are the class numbers of a row
TYPES = {".dcm": "application/dicom", ".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".png": "image/png"}


class Image(NamedTuple):
    """One image as it is sent, and what it is known to show."""

    body: bytes
    expected: int  # index into CLASSES
    content_type: str


def read(folder: Path) -> list[Image]:
    """Every image of the folder, its classes taking turns so that each stretch of a run holds both.

    Raises UsageError when the folder, a class or its images are missing.
    """
    if not folder.is_dir():
        raise UsageError(f"corpus: {folder} is not a folder (it must hold {'/ and '.join(CLASSES)}/ with images)")
    by_class = []
    for expected, name in enumerate(CLASSES):
        files = sorted(p for p in folder.glob(f"{name}/*") if p.suffix.lower() in TYPES)
        if not files:
            raise UsageError(f"corpus: {folder / name} holds no images ({', '.join(sorted(TYPES))})")
        if odd := [p for p in files if regular(p)]:
            raise UsageError(f"corpus: {odd[0]}: {regular(odd[0])}")
        try:
            by_class.append([Image(p.read_bytes(), expected, TYPES[p.suffix.lower()]) for p in files])
        except OSError as error:
            raise UsageError(f"corpus: {error.filename}: {error.strerror}") from error
    return [image for image in chain.from_iterable(zip_longest(*by_class)) if image is not None]
