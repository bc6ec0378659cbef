"""From a picture's bytes to what the network sees. Nothing is decoded before its size is known to be in bounds.

The bytes alone say what they are: a PNG sent as image/jpeg, or as text/plain, is a PNG.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from model_server.problems import BadInput

CLASSES = ("NORMAL", "PNEUMONIA")  # a label is an index into this
SIDE = 64  # pixels a side of the default network's input
MAX_PIXELS = 40_000_000  # a large detector has 25 million; a decompression bomb has more
MAX_SCANS = 32  # a progressive JPEG has about ten; each one more, in 59 bytes, costs another look at every pixel

Image.MAX_IMAGE_PIXELS = None  # bounded below, with an answer that says so


def decode(body: bytes, max_pixels: int = MAX_PIXELS, side: int = SIDE) -> np.ndarray:
    """A PNG, JPEG or DICOM of any size and bit depth as uint8 (side, side), bright = dense. Raises BadInput.

    Colour becomes grey, and transparency is ignored. More than one frame is refused: which one is meant?
    """
    if body[128:132] == b"DICM":
        from model_server import dicom  # takes a third of a second the first time; the service does it while it starts

        grey = dicom.grey(body, max_pixels, side)
    else:
        grey = _grey(body, max_pixels, side)
    return np.asarray(grey.resize((side, side), Image.Resampling.BOX), dtype=np.uint8)


def _grey(body: bytes, max_pixels: int, side: int) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(body), formats=("PNG", "JPEG"))
        frames = getattr(image, "n_frames", 1)
    except UnidentifiedImageError:
        raise BadInput(415, "not_an_image", "the body is neither a PNG nor a JPEG nor a DICOM image") from None
    except Exception as error:  # Pillow raises many kinds on hostile headers; each is the sender's fault
        raise BadInput(422, "broken_image", f"the image's header cannot be read: {error}") from None
    if frames > 1:
        raise BadInput(422, "several_frames", f"the image has {frames} frames; send one")
    wide, high = image.size
    if wide * high > max_pixels:
        raise BadInput(413, "too_many_pixels", f"{wide} x {high} pixels; at most {max_pixels} in all are taken")
    check_scans(body)
    try:
        image.draft("L", (side, side))  # JPEG only: scaled while decoding, many times cheaper for large images
        return _eight_bits(image) if image.mode.startswith("I") else image.convert("L")
    except Exception as error:  # as above
        raise BadInput(422, "broken_image", f"the image cannot be decoded: {error}") from None


def check_scans(jpeg: bytes) -> None:
    """Raise BadInput where a JPEG would be decoded over and over; its pixels do not show that."""
    scans = jpeg.count(b"\xff\xda") if jpeg.startswith(b"\xff\xd8") else 0
    if scans > MAX_SCANS:
        raise BadInput(413, "too_many_scans", f"the JPEG has {scans} scans; at most {MAX_SCANS} are taken")


def _eight_bits(image: Image.Image) -> Image.Image:
    """The upper eight of the bits in use: detectors write 10, 12 or 14 bits into 16."""
    pixels = np.asarray(image).clip(0, 65535)
    spare = max(0, int(pixels.max()).bit_length() - 8)
    return Image.fromarray((pixels >> spare).astype(np.uint8))
