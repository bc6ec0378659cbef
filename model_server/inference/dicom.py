"""Radiographs in DICOM: the pixels as a viewer would show them, in eight bits.

Nothing the file says in words is ever repeated, neither in answers nor in logs: it may name the patient.
"""

from __future__ import annotations

import io
import logging
import warnings
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image
from pydicom import config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import dcmread, read_dataset, read_preamble
from pydicom.multival import MultiValue
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from model_server.errors import BadInput
from model_server.inference.images import grey_jpeg

TAGS = [
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "PixelData",
]  # fmt: skip
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
MAX_READS = 20_000  # a radiograph's file has some hundred elements; a million empty ones would take seconds
MAX_VALUE_BYTES = 256

# What pydicom says of a malformed file quotes it.
logging.getLogger("pydicom").disabled = True
warnings.filterwarnings("ignore", module="pydicom")
config.settings.reading_validation_mode = config.IGNORE


def grey(body: bytes, max_pixels: int, side: int) -> Image.Image:
    """The one frame of a DICOM file: rescaled, windowed, bright = dense, mode L. Raises BadInput.

    Taken: MONOCHROME1 and MONOCHROME2, 8 or 16 bits, uncompressed or JPEG baseline. The first window is used, and
    where there is none, the whole range. `side` is how small a JPEG may become while it is decoded.
    """
    try:
        return _grey(body, max_pixels, side)
    except BadInput:
        raise
    except Exception as error:  # pydicom raises many kinds on hostile files; each is the sender's fault
        raise _broken(f"cannot be read ({type(error).__name__})") from None


class _Bounded(io.BytesIO):
    """Ends a parser that reads too often: in DICOM every element, however empty, is at least one read."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise BadInput(422, "broken_image", "the DICOM file has too many elements")
        return super().read(size)


def _grey(body: bytes, max_pixels: int, side: int) -> Image.Image:
    syntax = _transfer_syntax(body)
    if syntax not in (*PLAIN, JPEGBaseline8Bit):
        raise BadInput(415, "dicom_compression", "of DICOM, uncompressed and JPEG baseline pixels are taken")
    said = dcmread(_Bounded(body), defer_size=MAX_VALUE_BYTES, specific_tags=list(TAGS))
    wide, high = _number(said, "Columns"), _number(said, "Rows")
    if _number(said, "NumberOfFrames", 1) > 1:
        raise BadInput(422, "several_frames", "the DICOM file has several frames; send one")
    if wide < 1 or high < 1:
        raise _broken("has no rows or no columns")
    if wide * high > max_pixels:
        raise BadInput(413, "too_many_pixels", f"{wide:g} x {high:g} pixels; at most {max_pixels} in all are taken")
    photometric = str(_value(said, "PhotometricInterpretation")).strip()
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or _number(said, "SamplesPerPixel", 1) != 1:
        raise BadInput(415, "dicom_colour", "of DICOM, MONOCHROME1 and MONOCHROME2 are taken")
    element = said.get_item("PixelData", keep_deferred=True)
    if not isinstance(element, RawDataElement):
        raise _broken("has no pixels")
    if syntax == JPEGBaseline8Bit:
        stored = _jpeg(body, element, int(wide), int(high), side)
    else:
        stored = _plain(body, element, int(wide), int(high), said)
    shown = _table(stored, said)[stored.view(f"u{stored.itemsize}")]
    return Image.fromarray(255 - shown if photometric == "MONOCHROME1" else shown)


def _transfer_syntax(body: bytes) -> str:
    """Read before the rest, because the rest of a deflated file would be inflated without bound."""
    file = _Bounded(body)
    read_preamble(file, force=False)
    meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    return str(_value(meta, "TransferSyntaxUID"))


def _value(said: Dataset, keyword: str) -> Any:
    """The first value of an element, None when it is absent or empty."""
    element = said.get_item(keyword, keep_deferred=True)
    if element is None:
        return None
    if isinstance(element, RawDataElement) and element.length > MAX_VALUE_BYTES:
        raise _broken(f"has a {keyword} of {element.length} bytes")
    value = said[keyword].value
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value == "" else value


def _number(said: Dataset, keyword: str, default: float = 0) -> float:
    value = _value(said, keyword)
    number = default if value is None else float(value)
    if not np.isfinite(number):
        raise _broken(f"has a {keyword} that is no number")
    return number


def _plain(body: bytes, element: RawDataElement, wide: int, high: int, said: Dataset) -> np.ndarray:
    """Stored values (high, wide), in eight or sixteen bits, signed or not, in this machine's byte order."""
    allocated, signed = _number(said, "BitsAllocated"), _number(said, "PixelRepresentation")
    if allocated not in (8, 16) or signed not in (0, 1):
        raise BadInput(415, "dicom_depth", "of DICOM, 8 and 16 bits allocated are taken")
    stored_bits = _number(said, "BitsStored", allocated)
    if not 1 <= stored_bits <= allocated:
        raise _broken("stores more bits than it has")
    kind = np.dtype(f"{'<' if element.is_little_endian else '>'}{'i' if signed else 'u'}{int(allocated) // 8}")
    if min(element.length, len(body) - element.value_tell) < wide * high * kind.itemsize:
        raise _broken("is cut short: it has fewer pixels than rows and columns say")
    pixels = np.frombuffer(body, kind, wide * high, element.value_tell).reshape(high, wide)
    pixels = pixels.astype(kind.newbyteorder("="), copy=False)
    spare = int(allocated - stored_bits)
    return (pixels << spare) >> spare if spare else pixels  # what lies above the stored bits is not the pixel's


def _jpeg(body: bytes, element: RawDataElement, wide: int, high: int, side: int) -> np.ndarray:
    """As above, of the JPEG inside: at least `side` pixels a side of it."""
    fragments = _Bounded(body)
    fragments.seek(element.value_tell)
    frame = get_frame(fragments, 0, number_of_frames=1)
    if simplejpeg.decode_jpeg_header(frame)[:3] != (high, wide, "Gray"):
        raise _broken("holds another picture than it says")
    return grey_jpeg(frame, wide, high, side)


def _table(stored: np.ndarray, said: Dataset) -> np.ndarray:
    """What grey each stored value is shown as, uint8, by its bits: 256 or 65,536 values instead of every pixel."""
    values = np.arange(1 << 8 * stored.itemsize, dtype=f"u{stored.itemsize}").view(stored.dtype).astype(np.float64)
    slope, intercept = _number(said, "RescaleSlope", 1), _number(said, "RescaleIntercept", 0)
    values = values * slope + intercept
    centre, width = _value(said, "WindowCenter"), _number(said, "WindowWidth")
    if centre is None or width <= 0:
        ends = np.array([stored.min(), stored.max()], np.float64) * slope + intercept
        low, high = ends.min(), ends.max()
        shares = (values - low) / max(high - low, 1e-9)
    else:
        centre, function = _number(said, "WindowCenter"), str(_value(said, "VOILUTFunction") or "LINEAR").strip()
        if function == "SIGMOID":
            shares = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -60, 60)))
        elif function == "LINEAR_EXACT":
            shares = (values - centre) / width + 0.5
        else:  # LINEAR, as PS3.3 C.11.2.1.2 writes it
            shares = (values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5
    return np.uint8(np.rint(255 * np.clip(shares, 0, 1)))


def _broken(how: str) -> BadInput:
    return BadInput(422, "broken_image", f"the DICOM file {how}")
