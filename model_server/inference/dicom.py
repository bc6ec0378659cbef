"""Radiographs in DICOM: the pixels as a viewer would show them, in eight bits.

What a stored value is shown as, pydicom's own functions say; they are asked about each value that can be stored, 65,536
at most, instead of each pixel. What they do not know, or what a file says in a way that contradicts itself, is refused
by its name: no picture is shown as if that were not there.

Nothing the file says in words is ever repeated, neither in answers nor in logs: it may name the patient.
"""

import io
import logging
import warnings
from typing import Any

import numpy as np
from PIL import Image
from pydicom import config
from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator, dcmread, read_dataset, read_preamble, read_sequence
from pydicom.multival import MultiValue
from pydicom.pixels import apply_modality_lut, apply_voi_lut, get_decoder
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from model_server.errors import BadInput
from model_server.inference.images import LEAST_CONTRAST, bound

GREYS, ORIENTATION = "greys_not_understood", "orientation_not_understood"
NUMBERS = {  # what a detector gives, without its sign
    "RescaleSlope": (1e-6, 1e6), "RescaleIntercept": (0, 1e9), "WindowCenter": (0, 1e9), "WindowWidth": (1e-6, 1e9),
}  # fmt: skip
NEEDS = {
    "RescaleSlope": "RescaleIntercept", "RescaleIntercept": "RescaleSlope", "WindowCenter": "WindowWidth",
    "WindowWidth": "WindowCenter",
}  # fmt: skip
USUAL = {  # what they say in a frontal radiograph that is shown as it is stored; nothing: they are not there
    "PresentationIntentType": (GREYS, "FOR PRESENTATION"),
    "PixelPresentation": (GREYS, "MONOCHROME"),
    "ImageLaterality": (ORIENTATION, "B", "U"),
    "ImageHorizontalFlip": (ORIENTATION, "N"),
    "ImageRotation": (ORIENTATION, "0"),
    "ViewPosition": (ORIENTATION, "AP", "PA"),
    "ModalityLUTSequence": (GREYS,),
    "PresentationLUTSequence": (GREYS,),
    "PixelPaddingRangeLimit": (GREYS,),
    "SharedFunctionalGroupsSequence": (GREYS,),
    "PerFrameFunctionalGroupsSequence": (GREYS,),
    "MaskSubtractionSequence": (GREYS,),
    "ShutterShape": (GREYS,),
}
DIRECTIONS = {  # from the patient; where PatientOrientation does not say it, they say no turn
    "FieldOfViewHorizontalFlip": (ORIENTATION, "NO"),
    "FieldOfViewRotation": (ORIENTATION, "0", "0.0"),
    "ImageOrientationPatient": (ORIENTATION,),
}
TAGS = [
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelPaddingValue", "VOILUTSequence", "VOILUTFunction", "PresentationLUTShape",
    "PatientOrientation", *NUMBERS, *USUAL, *DIRECTIONS,
]  # fmt: skip
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
MAX_READS = 20_000  # a radiograph's file has some hundred elements; a million empty ones would take seconds
MAX_READ_BYTES = 1 << 19  # of what stands before the pixels and is not skipped: tables of greys and sequences
MAX_VALUE_BYTES = 256
PIXELS, UNDEFINED = 0x7FE00010, 0xFFFFFFFF
STRAY = 0.1  # where nothing says what is black and white, so many in a hundred may be beyond each of them
FAR = 1e30
# To pydicom a character set is worth a search on the disk for each name in it; the pixels have none, so it sees another
# element in its place.
CHARACTER_SET = {b"\x08\0\x05\0": b"\x09\0\x05\0", b"\0\x08\0\x05": b"\0\x09\0\x05"}

# What pydicom says of a malformed file quotes it.
logging.getLogger("pydicom").disabled = True
warnings.filterwarnings("ignore", module="pydicom")
config.settings.reading_validation_mode = config.IGNORE


def grey(body: bytes, max_pixels: int) -> Image.Image:
    """The one frame of a DICOM file: rescaled, windowed, upright, bright = dense, mode L. Raises BadInput.

    Taken: MONOCHROME1 and MONOCHROME2, 8 or 16 bits, uncompressed. Of several tables or windows the
    first is used, a table before a window; where there is none, the range that the pixels are in.
    """
    try:
        said, stored = read(body, max_pixels)
        table = _shown(said, stored)
        index = stored.view(f"u{stored.itemsize}")
        shown = np.empty(stored.shape, np.uint8)
        for top in range(0, len(shown), 256):  # an index of the whole would take eight bytes a pixel
            shown[top : top + 256] = table[index[top : top + 256]]
        picture = Image.fromarray(shown)
        if "PixelPaddingValue" in said:
            picture = picture.crop(picture.getbbox())  # else its border would look like air
        return picture
    except BadInput:
        raise
    except Exception as error:  # pydicom raises many kinds on hostile files; each is the sender's fault
        raise _broken(f"cannot be read ({type(error).__name__})") from None


def read(body: bytes, max_pixels: int) -> tuple[Dataset, np.ndarray]:
    """What the file says of its pixels, and the values stored (high, wide), in this machine's byte order: those of
    pydicom's pixel_array. Raises BadInput, and of a malformed file anything else too."""
    syntax = _transfer_syntax(body)
    if syntax not in PLAIN:
        raise BadInput(415, "dicom_compression", "of DICOM, uncompressed pixels are taken")
    file = _Bounded(body, MAX_READ_BYTES)
    said = dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
    for element in list(said.elements()):
        if not element.value:
            del said[element.tag]  # which to pydicom is there, and None
    wide, high = _check_form(said, max_pixels)
    after = _Bounded(body, float("inf"))
    after.seek(file.tell())
    element = next(data_element_generator(after, *said.original_encoding), None)
    if not isinstance(element, RawDataElement) or element.tag != PIXELS or not element.value:
        raise _broken("has no pixels")
    wanted = wide * high * said.BitsAllocated // 8
    if element.length == UNDEFINED or len(element.value) < wanted:
        raise _broken("is cut short: it has fewer pixels than rows and columns say")
    if len(element.value) >= wanted + wanted // high:
        raise _broken("has more rows than it says")
    said[element.tag] = element
    stored, _ = get_decoder(syntax).as_array(said, index=0, raw=True)
    return said, stored.astype(stored.dtype.newbyteorder("="), copy=False)


class _Bounded(io.BytesIO):
    """Ends a parser that reads too often or too much: in DICOM every element, however empty, is at least one read."""

    def __init__(self, body: bytes, most_bytes: float):
        super().__init__(body)
        self._reads, self._bytes = MAX_READS, most_bytes

    def read(self, size: int | None = -1) -> bytes:
        value = super().read(size)
        self._reads -= 1
        self._bytes -= len(value)
        if min(self._reads, self._bytes) < 0:
            raise _broken("has too many elements")
        return CHARACTER_SET.get(value[:4], value[:4]) + value[4:] if size == 8 else value


def _transfer_syntax(body: bytes) -> str:
    """Read before the rest, because the rest of a deflated file would be inflated without bound."""
    file = _Bounded(body, MAX_READ_BYTES)
    read_preamble(file, force=False)
    meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    return str(_value(meta, "TransferSyntaxUID"))


def _check_form(said: Dataset, max_pixels: int) -> tuple[int, int]:
    """Columns and rows of a picture of which all that decides its greys is known, and numbers are numbers."""
    if _number(said, "NumberOfFrames", 1) > 1:
        raise BadInput(422, "several_frames", "the DICOM file has several frames; send one")
    wide, high = _number(said, "Columns"), _number(said, "Rows")
    if not (1 <= wide <= 65535 and 1 <= high <= 65535 and wide == int(wide) and high == int(high)):
        raise _broken("has no number of rows or of columns")
    bound(int(wide), int(high), max_pixels)
    photometric, samples = _words(said, "PhotometricInterpretation"), _number(said, "SamplesPerPixel", 1)
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1:
        raise BadInput(415, "dicom_colour", "of DICOM, MONOCHROME1 and MONOCHROME2 are taken")
    allocated, signed = _number(said, "BitsAllocated"), _number(said, "PixelRepresentation")
    if allocated not in (8, 16) or signed not in (0, 1):
        raise BadInput(415, "dicom_depth", "of DICOM, 8 and 16 bits allocated are taken")
    bits = _number(said, "BitsStored")
    if not 1 <= bits <= allocated:
        raise _broken("stores more bits than it has")
    if _number(said, "HighBit", bits - 1) != bits - 1:
        raise BadInput(415, "dicom_depth", "of DICOM, pixels in the lower bits are taken: HighBit is another")
    for keyword, (least, most) in NUMBERS.items():
        if keyword in said and not least <= abs(_number(said, keyword)) <= most:
            raise _broken(f"has a {keyword} that no detector gives")
    for one, other in NEEDS.items():
        if one in said and other not in said:
            raise _unknown(GREYS, f"{one} without {other}")
    for keyword, (reason, *usual) in (USUAL if "PatientOrientation" in said else USUAL | DIRECTIONS).items():
        if keyword in said and not (usual and _words(said, keyword) in usual):
            raise _unknown(reason, keyword)
    meant = {"IDENTITY": "MONOCHROME2", "INVERSE": "MONOCHROME1"}  # each says the same in other words
    if "PresentationLUTShape" in said and meant.get(_words(said, "PresentationLUTShape")) != photometric:
        raise _unknown(GREYS, "PresentationLUTShape")
    if "PatientOrientation" in said:  # what lies at the right, and below
        _value(said, "PatientOrientation")  # its length is bounded there
        ends = said.PatientOrientation
        if not (isinstance(ends, MultiValue) and [end[:1] for end in ends] == ["L", "F"]):
            raise _unknown(ORIENTATION, "PatientOrientation")
    return int(wide), int(high)


def _value(said: Dataset, keyword: str) -> Any:
    """The first value of an element, None when it is absent or empty."""
    element = said.get_item(keyword)
    if element is None:
        return None
    if isinstance(element, RawDataElement) and element.length > MAX_VALUE_BYTES:
        raise _broken(f"has a {keyword} of {element.length} bytes")
    value = said[keyword].value
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value == "" else value


def _number(said: Dataset, keyword: str, default: float | None = None) -> float:
    value = _value(said, keyword)
    if value is None and default is None:
        raise _broken(f"has no {keyword}")
    number = default if value is None else float(value)
    if not np.isfinite(number):
        raise _broken(f"has a {keyword} that is no number")
    return number


def _words(said: Dataset, keyword: str) -> str:
    return str(_value(said, keyword)).strip()


def _shown(said: Dataset, stored: np.ndarray) -> np.ndarray:
    """What grey each value is shown as, uint8, by the bits that it is stored as."""
    bits = 8 * stored.itemsize
    held = np.arange(1 << bits, dtype=f"u{stored.itemsize}").view(stored.dtype).astype(np.int64)
    padding = _padding(said, held)
    patient = _sample(stored, padding)
    values = apply_modality_lut(held, said)
    if "VOILUTSequence" in said:
        shares = _looked_up(said, values)
    elif "WindowCenter" in said:  # far below and far above it are the ends of what it gives
        given = _asked(np.concatenate([[-FAR], values, [FAR]]), said, "WindowWidth or VOILUTFunction")
        shares = (given[1:-1] - given[0]) / (given[-1] - given[0])
    else:
        ends = np.percentile(held[patient], (STRAY, 100 - STRAY), method="nearest")
        if ends[1] - ends[0] < LEAST_CONTRAST:
            detail = f"the DICOM file's pixels are from {ends[0]} to {ends[1]}, and it has no window"
            raise BadInput(422, "no_content", detail)
        low, high = sorted(apply_modality_lut(ends, said))
        shares = (values - low) / (high - low)
    greys = np.uint8(np.rint(255 * np.clip(shares, 0, 1)))
    if said.PhotometricInterpretation == "MONOCHROME1":
        greys = 255 - greys
    return np.where(padding, 0, np.maximum(greys, 1)) if padding.any() else greys  # nothing else is 0 then


def _asked(values: np.ndarray, said: Dataset, keyword: str) -> np.ndarray:
    """What pydicom makes of the values. Raises BadInput, naming the element that decides it, where it cannot."""
    try:
        with np.errstate(all="ignore"):
            return apply_voi_lut(values, said)
    except Exception:
        raise _unknown(GREYS, keyword) from None


def _looked_up(said: Dataset, values: np.ndarray) -> np.ndarray:
    """The share of white that the first VOI LUT gives each value."""
    element = said.get_item("VOILUTSequence")
    if isinstance(element, RawDataElement):  # pydicom would read it without bound
        file, length = _Bounded(element.value, MAX_READ_BYTES), len(element.value)
        items = read_sequence(file, element.is_implicit_VR, element.is_little_endian, length, default_encoding)
        said[element.tag] = DataElement(element.tag, "SQ", items)
    items = said.VOILUTSequence
    if not items or "LUTDescriptor" not in items[0] or "LUTData" not in items[0]:
        raise _unknown(GREYS, "VOILUTSequence")
    entries, first, bits = (int(number) for number in items[0].LUTDescriptor)
    entries = entries or 65536
    if bits == 8 and entries > 256:  # pydicom would take it modulo 256
        raise _unknown(GREYS, "VOILUTSequence")
    return _asked(np.clip(values, first, first + entries - 1), said, "VOILUTSequence") / (2**bits - 1)


def _padding(said: Dataset, held: np.ndarray) -> np.ndarray:
    """Which values stand for no pixel."""
    if "PixelPaddingValue" not in said:
        return np.zeros(len(held), bool)
    value = _number(said, "PixelPaddingValue")
    least = -(1 << (said.BitsStored - 1)) if said.PixelRepresentation else 0
    if not least <= value < least + (1 << said.BitsStored):
        raise _unknown(GREYS, "PixelPaddingValue")
    return held == value


def _sample(stored: np.ndarray, padding: np.ndarray) -> np.ndarray:
    """Some pixels of the patient, by the bits that they are stored as."""
    step = max(1, round((stored.size / 1_000_000) ** 0.5))
    some = stored[::step, ::step].view(f"u{stored.itemsize}")
    some = some[~padding[some]]
    if not len(some):
        raise BadInput(422, "no_content", "the DICOM file's pixels are all padding")
    return some


def _unknown(reason: str, what: str) -> BadInput:
    return BadInput(415, reason, f"the DICOM file's {what} says what is not understood, or not taken")


def _broken(how: str) -> BadInput:
    return BadInput(422, "broken_image", f"the DICOM file {how}")
