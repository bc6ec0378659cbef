"""JPEGs: what they say of themselves, and their pixels, of which none is made up.

Where a file lacks scans, libjpeg makes smooth pixels of what is there and says nothing; so those are taken that have
all in one scan, and the file is walked first, in one pass. In a scan that Huffman's code is cut short in, libjpeg does
say so, and simplejpeg refuses it; of arithmetic code it does not, which is therefore not taken. simplejpeg gives the
same pixels as Pillow in half its time.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import simplejpeg
from PIL import Image

from model_server.errors import BadInput

START = b"\xff\xd8\xff"
MAX_SEGMENTS = 512  # a colour profile may take 255, and a camera's notes a few more
HUFFMAN = (0xC0, 0xC1)
PASSED_OVER = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, comments, and what applications say
OTHER_CODINGS = {*range(0xC2, 0xD0), 0xDE, 0xDF} - PASSED_OVER  # progressive, arithmetic, lossless, hierarchical
END, SCAN = 0xD9, 0xDA
NOTES = {  # by what they begin with, as Pillow calls them
    (0xE1, b"Exif\0\0"): "exif", (0xE1, b"http://ns.adobe.com/xap/1.0/\0"): "xmp",
    (0xE1, b"http://ns.adobe.com/xmp/extension/\0"): "xmp",  # too long for the first; Pillow does not look there
    (0xE2, b"ICC_PROFILE\0"): "icc_profile", (0xE2, b"MPF\0"): "several",
}  # fmt: skip
NEXT = re.compile(rb"\xff{1,16}([\xc0-\xfe])")  # a marker, and bytes that fill up before it
NEXT_IN_SCAN = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")


class Jpeg(NamedTuple):
    """What a JPEG says of itself. `info` has what is there of `exif`, `xmp` and `icc_profile`, as Pillow does."""

    wide: int
    high: int
    components: int  # 1 grey, 3 colour
    info: dict[str, bytes]


def read(body: bytes) -> Jpeg:
    """Walk a JPEG, whose bytes begin with START. Raises BadInput where something is missing or not understood."""
    frame, scanned, notes = None, False, defaultdict(list)
    for marker, data in _segments(body):
        if marker == SCAN:
            if frame is None:
                raise _broken("has no frame before its scan")
            if scanned or sorted(data[1:-3:2]) != sorted(frame[2]):
                raise BadInput(415, "jpeg_coding", "JPEGs in one scan are taken, with all that they have in it")
            scanned = True
        elif marker in HUFFMAN:
            if frame is not None:
                raise _broken("has two frames")
            frame = _frame(data)
        elif marker in OTHER_CODINGS:
            raise BadInput(415, "jpeg_coding", f"baseline and extended JPEGs are taken, none of ff{marker:02x}")
        elif marker not in PASSED_OVER:
            raise _broken(f"has a marker ff{marker:02x} where none can be")
        else:
            for (kind, start), name in NOTES.items():
                if marker == kind and data.startswith(start):
                    notes[name].append(data[len(start) :])
    if frame is None or not scanned:
        raise _broken("has no frame, or no scan")
    if "several" in notes:
        raise BadInput(422, "several_frames", "the JPEG holds several pictures; send one")
    wide, high, components = *frame[:2], len(frame[2])
    if components not in (1, 3):
        raise BadInput(415, "greys_not_understood", f"JPEGs in grey or three colours are taken, none in {components}")
    if pieces := notes.get("icc_profile"):  # each begins with its number and how many there are
        notes["icc_profile"] = [piece[2:] for piece in sorted(pieces)]
    info = {name: b"".join(pieces) for name, pieces in notes.items()}
    return Jpeg(wide, high, components, info)


def decode(body: bytes, said: Jpeg, side: int) -> Image.Image:
    """The picture in grey, or in its colours where it has a profile of them; a half, a quarter or an eighth of it, if
    that leaves `side` pixels a side: for large images that is many times cheaper. Raises BadInput."""
    few = min(said.wide, said.high) // side
    scale = next((s for s in (8, 4, 2) if s <= few), 1)
    colours = "RGB" if "icc_profile" in said.info and said.components == 3 else "GRAY"
    try:
        pixels = simplejpeg.decode_jpeg(
            body, colours, min_height=-(-said.high // scale), min_width=-(-said.wide // scale)
        )
    except ValueError as error:
        if "subsampling" in str(error):
            raise BadInput(415, "jpeg_coding", "the JPEG's components are sampled in an unusual way") from None
        raise BadInput(422, "broken_image", f"the image cannot be decoded: {error}") from None
    image = Image.fromarray(pixels[:, :, 0] if colours == "GRAY" else pixels)
    image.info = dict(said.info)
    return image


def _segments(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Each marker and what its segment holds, up to the end of the picture."""
    at, find = 2, NEXT.match
    for _ in range(MAX_SEGMENTS):
        found = find(body, at)
        if not found:
            raise _broken("is cut short, or something stands in it that is no segment")
        marker, start = found[1][0], found.end() + 2
        if marker == END:
            return
        at = found.end() + int.from_bytes(body[found.end() : start])
        if not start <= at <= len(body):
            raise _broken("is cut short")
        yield marker, body[start:at]
        find = NEXT_IN_SCAN.search if marker == SCAN else NEXT.match
    raise BadInput(413, "too_many_parts", f"the JPEG has more than {MAX_SEGMENTS} segments")


def _frame(data: bytes) -> tuple[int, int, bytes]:
    """Columns, rows, and the names of the components."""
    if len(data) < 9 or len(data) != 6 + 3 * data[5] or len(set(data[6::3])) != data[5]:
        raise _broken("has no whole frame before its scan")
    bits, high, wide = struct.unpack(">BHH", data[:5])
    if bits != 8:
        raise BadInput(415, "jpeg_coding", f"JPEGs of 8 bits are taken; this one has {bits}")
    if not (wide and high):
        raise _broken("has no rows or no columns")
    return wide, high, data[6::3]


def _broken(how: str) -> BadInput:
    return BadInput(422, "broken_image", f"the JPEG {how}")
