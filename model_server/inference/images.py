"""From a picture's bytes to what the network sees.

The bytes alone say what they are: a PNG sent as image/jpeg, or as text/plain, is a PNG. Nothing is decoded before its
size, its parts and the work that it makes are known to be in bounds. Nothing is answered of which something is missing
or not understood that decides its greys or which way up it is: the refusal names it.
"""

import io

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from model_server.errors import BadInput
from model_server.inference import jpeg, png
from model_server.settings import MAX_PIXELS

SIDE = 64  # pixels a side of the default network's input
LEAST_SIDE = 16  # pixels; a radiograph has hundreds
LEAST_CONTRAST = 16  # grey levels of 256 that the pixels spread over, but for a hundredth at each end
ORIENTATION = ExifTags.Base.Orientation
MAX_NOTES_BYTES = 1 << 18  # of EXIF
SRGB = ImageCms.createProfile("sRGB")


def decode(body: bytes, max_pixels: int = MAX_PIXELS, side: int = SIDE) -> np.ndarray:
    """A PNG, JPEG or DICOM of any size and bit depth as uint8 (side, side), bright = dense. Raises BadInput.

    Colour becomes grey, by its profile where it has one, and the picture is turned as its notes say. More than one
    frame is refused: which one is meant?
    """
    if body[128:132] == b"DICM":
        # Takes a third of a second the first time; the service does it while it starts.
        from model_server.inference import dicom

        picture = dicom.grey(body, max_pixels)
        _check_sides(*picture.size)
    elif body.startswith((jpeg.START, png.SIGNATURE)):
        is_jpeg = body.startswith(jpeg.START)
        said = (jpeg if is_jpeg else png).read(body)
        bound(said.wide, said.high, max_pixels)
        _check_sides(said.wide, said.high)  # first: each row of what is decoded takes memory of its own
        most_bytes = 2 * (max_pixels + said.high)  # of the largest PNG: sixteen bits of grey
        picture = jpeg.decode(body, said, side) if is_jpeg else png.decode(body, said, most_bytes)
    else:
        raise BadInput(415, "not_an_image", "the body is neither a PNG nor a JPEG nor a DICOM image")
    small = picture.resize((side, side), Image.Resampling.BOX)
    if small.info:
        small = _upright(_grey(small))
    pixels = np.asarray(small, dtype=np.uint8)
    check_content(pixels)
    return pixels


def bound(wide: int, high: int, max_pixels: int) -> None:
    """Raise BadInput for a picture of too many pixels."""
    if wide * high > max_pixels:
        raise BadInput(413, "too_many_pixels", f"{wide} x {high} pixels; at most {max_pixels} in all are taken")


def _check_sides(wide: int, high: int) -> None:
    if min(wide, high) < LEAST_SIDE:
        raise BadInput(422, "no_content", f"{wide} x {high} pixels are too few for a radiograph")


def check_range(values: np.ndarray) -> None:
    """Raise BadInput for numbers that are no grey levels from 0 to 255."""
    low, high = values.min(), values.max()
    if low < 0 or high > 255:
        raise BadInput(422, "no_content", f"the values are from {low:g} to {high:g}; grey levels are from 0 to 255")


def check_content(pixels: np.ndarray) -> None:
    """Raise BadInput for an image, uint8, that holds none: of one grey, but for a few pixels, or of values in another
    range than 0 to 255."""
    below = np.bincount(pixels.ravel(), minlength=256).cumsum()
    few = pixels.size // 100
    low, high = np.searchsorted(below, (few, pixels.size - 1 - few), side="right")
    if high - low < LEAST_CONTRAST:
        detail = f"the grey levels are from {low} to {high}, but for a few; those of a radiograph spread over 0 to 255"
        raise BadInput(422, "no_content", detail)


def _grey(image: Image.Image) -> Image.Image:
    """In grey, as its colour profile says where it has one."""
    if "icc_profile" not in image.info:
        return image
    try:
        profile = io.BytesIO(image.info["icc_profile"])
        managed = ImageCms.profileToProfile(image, profile, SRGB, outputMode="RGB").convert("L")
    except Exception:  # of a profile that nobody can read, or of other colours
        raise BadInput(415, "greys_not_understood", "the picture's colour profile does not fit its colours") from None
    managed.info = image.info
    return managed


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its notes say, in EXIF, or else in XMP."""
    info = image.info
    # ImageMagick writes notes and colour profiles as texts of a PNG; Pillow reads some of them.
    if len(info.get("exif", "")) > MAX_NOTES_BYTES or any(name.lower().startswith("raw profile") for name in info):
        raise _unknown_orientation("where it is not looked for, or too many of them")
    try:
        orientation = image.getexif().get(ORIENTATION)
        xmp = info.get("xmp", b"").replace(b"\0", b"")  # it may be UTF-16
        turned = ImageOps.exif_transpose(image)
    except Exception:  # of notes that nobody can read
        raise _unknown_orientation("that cannot be read") from None
    if orientation not in range(1, 9) and not (orientation is None and b"Orientation" not in xmp):
        raise _unknown_orientation("of which the orientation is not understood")
    return turned


def _unknown_orientation(notes: str) -> BadInput:
    return BadInput(422, "orientation_not_understood", f"the picture has notes {notes}: which way up is it?")
