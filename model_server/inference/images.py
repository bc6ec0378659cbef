"""From a picture's bytes to what the network sees. Nothing is decoded before its size is known to be in bounds.

The bytes alone say what they are: a PNG sent as image/jpeg, or as text/plain, is a PNG. Most pictures are JPEGs in grey
or colour; simplejpeg decodes those to the same pixels as Pillow in half its time, and refuses one with a part missing,
where Pillow would make up a grey one: a confident answer about half a lung.
"""

from __future__ import annotations

import io

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from model_server.errors import BadInput
from model_server.settings import MAX_PIXELS

SIDE = 64  # pixels a side of the default network's input
JPEG = b"\xff\xd8\xff"
PRINTERS = ("CMYK", "YCCK")  # colours that simplejpeg makes no grey of
SEVERAL, EXIF = b"MPF\0", b"Exif\0\0"  # what a JPEG that holds more pictures, or a camera's notes, has near its start
NEAR = 1 << 16
ORIENTATION = 0x0112  # how the camera was held, in its notes
UPRIGHT = {  # what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_SCANS = 32  # a progressive JPEG has about ten; each one more, in 59 bytes, costs another look at every pixel

Image.MAX_IMAGE_PIXELS = None  # bounded below, with an answer that says so


def decode(body: bytes, max_pixels: int = MAX_PIXELS, side: int = SIDE) -> np.ndarray:
    """A PNG, JPEG or DICOM of any size and bit depth as uint8 (side, side), bright = dense. Raises BadInput.

    Colour becomes grey, transparency is ignored, and a camera's note of how it was held is heeded. More than one frame
    is refused: which one is meant?
    """
    held = 1
    if body[128:132] == b"DICM":
        from model_server.inference import (
            dicom,  # takes a third of a second the first time; the service does it while it starts
        )

        grey = dicom.grey(body, max_pixels, side)
    else:
        grey, held = _jpeg(body, max_pixels, side) or _picture(body, max_pixels, side)
    small = grey.resize((side, side), Image.Resampling.BOX)
    if held in UPRIGHT:
        small = small.transpose(UPRIGHT[held])
    return np.asarray(small, dtype=np.uint8)


def _jpeg(body: bytes, max_pixels: int, side: int) -> tuple[Image.Image, int] | None:
    """A JPEG in grey or colour, and how it was held; None for all else, and for what has not even a JPEG's header."""
    if not body.startswith(JPEG) or body.find(SEVERAL, 0, NEAR) > 0:
        return None
    try:
        high, wide, colours, _ = simplejpeg.decode_jpeg_header(body)
    except ValueError:
        return None
    if colours in PRINTERS:
        return None
    _bound(wide, high, max_pixels)
    grey = Image.fromarray(grey_jpeg(body, wide, high, side))
    return grey, _held(Image.open(io.BytesIO(body))) if body.find(EXIF, 0, NEAR) > 0 else 1


def grey_jpeg(body: bytes, wide: int, high: int, side: int) -> np.ndarray:
    """The pixels of a JPEG of that size, uint8, at least `side` a side: a half, a quarter or an eighth where that is
    enough, which for large images is many times cheaper. Raises BadInput."""
    check_scans(body)
    few = min(wide // side, high // side)
    scale = next((s for s in (8, 4, 2) if s <= few), 1)
    try:
        pixels = simplejpeg.decode_jpeg(body, "GRAY", min_height=-(-high // scale), min_width=-(-wide // scale))
    except ValueError as error:
        raise BadInput(422, "broken_image", f"the image cannot be decoded: {error}") from None
    return pixels[:, :, 0]


def _held(image: Image.Image) -> int:
    """How a camera was held, by its notes: 1 to 8; 1, upright, where they do not say."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # of notes that nobody can read
        return 1


def _bound(wide: int, high: int, max_pixels: int) -> None:
    if wide * high > max_pixels:
        raise BadInput(413, "too_many_pixels", f"{wide} x {high} pixels; at most {max_pixels} in all are taken")


def _picture(body: bytes, max_pixels: int, side: int) -> tuple[Image.Image, int]:
    """Any picture that Pillow reads, and how it was held."""
    try:
        image = Image.open(io.BytesIO(body), formats=("PNG", "JPEG"))
        frames = getattr(image, "n_frames", 1)
    except UnidentifiedImageError:
        raise BadInput(415, "not_an_image", "the body is neither a PNG nor a JPEG nor a DICOM image") from None
    except Exception as error:  # Pillow raises many kinds on hostile headers; each is the sender's fault
        raise BadInput(422, "broken_image", f"the image's header cannot be read: {error}") from None
    if frames > 1:
        raise BadInput(422, "several_frames", f"the image has {frames} frames; send one")
    _bound(*image.size, max_pixels)
    check_scans(body)
    try:
        image.draft("L", (side, side))
        grey = _eight_bits(image) if image.mode.startswith("I") else image.convert("L")
        return grey, _held(image) if "exif" in image.info else 1
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
