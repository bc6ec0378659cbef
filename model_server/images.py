"""From a request's body to what the network sees. Nothing is decoded before its size is known to be in bounds."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

CLASSES = ("NORMAL", "PNEUMONIA")  # a label is an index into this
SIDE = 64  # pixels a side of the network's input
MAX_PIXELS = 40_000_000  # a large detector has 25 million; a decompression bomb has more


class BadImage(ValueError):
    """The body is not an image we take: `reason` is one of a few words (a metric's label), `status` a 4xx."""

    def __init__(self, reason: str, status: int, detail: str):
        super().__init__(detail)
        self.reason, self.status = reason, status


def decode(body: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A PNG or JPEG of any size and bit depth as uint8 (SIDE, SIDE), bright = dense. Raises BadImage."""
    try:
        image = Image.open(io.BytesIO(body), formats=("PNG", "JPEG"))
    except UnidentifiedImageError:
        raise BadImage("not_an_image", 415, "the body is neither a PNG nor a JPEG image") from None
    except Exception as error:  # Pillow raises many kinds on hostile headers; each is the sender's fault
        raise BadImage("broken_image", 422, f"the image's header cannot be read: {error}") from None
    wide, high = image.size
    if wide * high > max_pixels:
        raise BadImage("too_many_pixels", 413, f"{wide} x {high} pixels; at most {max_pixels} in all are taken")
    try:
        image.draft("L", (SIDE, SIDE))  # JPEG only: scaled while decoding, many times cheaper for large images
        return np.asarray(_grey(image).resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)
    except Exception as error:  # as above
        raise BadImage("broken_image", 422, f"the image cannot be decoded: {error}") from None


def _grey(image: Image.Image) -> Image.Image:
    """Eight bits of grey; sixteen-bit images keep their upper eight."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image, dtype=np.int32).clip(0, 65535) >> 8).astype(np.uint8))
    return image.convert("L")
