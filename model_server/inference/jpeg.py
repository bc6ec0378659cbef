"""JPEGs: what they say of themselves, and their pixels, of which none is made up.

Where a file lacks scans, libjpeg makes smooth pixels of what is there and says nothing; so the file is walked first, in
one pass, and its scans are added up. In a scan that Huffman's code is cut short in, libjpeg does say so, and simplejpeg
refuses it; of arithmetic code it does not, which is therefore not taken. simplejpeg gives the same pixels as Pillow in
half its time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from model_server.errors import BadInput

START = b"\xff\xd8\xff"
MAX_SEGMENTS = 512  # a colour profile may take 255, and a camera's notes a few more
MAX_SCANS = 32  # a progressive JPEG has about ten; each one more, in 59 bytes, costs another look at every pixel
MAX_SCANNED_PIXELS = 400_000_000  # of all scans: seconds of work

HUFFMAN, PROGRESSIVE = (0xC0, 0xC1, 0xC2), 0xC2
CODINGS = (*range(0xC0, 0xD0), 0xDE, 0xDF)  # all that there are: arithmetic, lossless, hierarchical
END, SCAN, APP1, APP2, APP14 = 0xD9, 0xDA, 0xE1, 0xE2, 0xEE
PASSED_OVER = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, comments, and what applications say
EXIF, XMP, PROFILE = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
NEXT = re.compile(rb"\xff{1,16}([\xc0-\xfe])")  # a marker, and bytes that fill up before it
NEXT_IN_SCAN = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
UNCODED = 0xFF


class Jpeg(NamedTuple):
    """What a JPEG says before its first scan. `info` has what is there of `exif`, `xmp` and `icc_profile`, as Pillow
    keeps them."""

    wide: int
    high: int
    components: int  # 1 grey, 3 colour, 4 printers' inks
    info: dict[str, bytes]


def read(body: bytes) -> Jpeg:
    """Walk a JPEG, whose bytes begin with START. Raises BadInput where something is missing or not understood, or where
    to decode it would be more work than a picture's."""
    coding, frame, adobe, at = 0, b"", False, 2
    exif: list[bytes] = []
    xmp: list[bytes] = []
    profile: list[bytes] = []
    for _ in range(MAX_SEGMENTS):
        marker, data, at = _segment(body, at)
        if marker == SCAN:
            break
        if marker in HUFFMAN:
            if frame:
                raise _broken("has two frames")
            coding, frame = marker, data
        elif marker in CODINGS and marker not in PASSED_OVER:
            raise BadInput(415, "jpeg_coding", f"JPEGs in Huffman code are taken; this one is marked ff{marker:02x}")
        elif marker not in PASSED_OVER:
            raise _broken(f"has a marker ff{marker:02x} before its first scan")
        elif marker == APP1 and data.startswith(EXIF):
            exif.append(data[len(EXIF) :])
        elif marker == APP1 and data.startswith(XMP):
            xmp.append(data[len(XMP) :])
        elif marker == APP2 and data.startswith(PROFILE):
            profile.append(data[len(PROFILE) :])
        elif marker == APP2 and data.startswith(b"MPF\0"):
            raise BadInput(422, "several_frames", "the JPEG holds several pictures; send one")
        elif marker == APP14 and data.startswith(b"Adobe"):
            adobe = True
    else:
        raise _too_many_segments()
    wide, high, components = _frame(frame, adobe)
    _check_scans(body, at, data, coding == PROGRESSIVE, components, wide * high)
    info = {"exif": EXIF + b"".join(exif)} if exif else {}
    info |= {"xmp": b"".join(xmp)} if xmp else {}
    info |= {"icc_profile": _profile(profile)} if profile else {}
    return Jpeg(wide, high, len(components), info)


def decode(body: bytes, said: Jpeg, side: int = 0) -> Image.Image:
    """The picture in grey, or in its colours where it has a profile of them. Where a `side` is given, a half, a quarter
    or an eighth of it, if that leaves so many pixels a side: for large images that is many times cheaper. Raises
    BadInput."""
    few = min(said.wide // side, said.high // side) if side else 1
    scale = next((s for s in (8, 4, 2) if s <= few), 1)
    inks, managed = said.components == 4, "icc_profile" in said.info
    colours = "CMYK" if inks else "RGB" if managed and said.components == 3 else "GRAY"
    try:
        pixels = simplejpeg.decode_jpeg(
            body, colours, min_height=-(-said.high // scale), min_width=-(-said.wide // scale)
        )
    except ValueError as error:
        raise BadInput(422, "broken_image", f"the image cannot be decoded: {error}") from None
    if inks:  # Adobe's are the share of each that is not printed
        image = Image.frombytes("CMYK", pixels.shape[1::-1], np.subtract(255, pixels).tobytes())
        image = image if managed else image.convert("L")
    else:
        image = Image.fromarray(pixels[:, :, 0] if colours == "GRAY" else pixels)
    image.info = dict(said.info)
    return image


def _segment(body: bytes, at: int) -> tuple[int, bytes, int]:
    """The marker there, what its segment holds, and where that ends."""
    found = NEXT.match(body, at)
    if not found:
        raise _broken("is cut short, or something stands in it that is no segment")
    start = found.end() + 2
    end = found.end() + int.from_bytes(body[found.end() : start])
    if not start <= end <= len(body):
        raise _broken("is cut short")
    return found[1][0], body[start:end], end


def _frame(frame: bytes, adobe: bool) -> tuple[int, int, bytes]:
    """Width, height, and the names of the components, one byte each."""
    if len(frame) < 6 or len(frame) != 6 + 3 * frame[5] or len(set(frame[6::3])) != frame[5]:
        raise _broken("has no whole frame before its first scan")
    if frame[0] != 8:
        raise BadInput(415, "jpeg_coding", f"JPEGs of 8 bits are taken; this one has {frame[0]}")
    high, wide, components = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5]), frame[6::3]
    if not (wide and high):
        raise _broken("has no rows or no columns")
    if len(components) not in (1, 3, 4) or (len(components) == 4 and not adobe):
        how = "of which nothing says whether they are inverted" if len(components) == 4 else "which is no usual number"
        raise BadInput(415, "greys_not_understood", f"the JPEG has {len(components)} components, {how}")
    return wide, high, components


def _check_scans(body: bytes, at: int, scan: bytes, progressive: bool, components: bytes, pixels: int) -> None:
    """From the first scan's head on: that every coefficient of every component is there, to its last bit."""
    if not progressive and scan[:1] == bytes([len(components)]) and body.find(b"\xff\xda", at) < 0:
        return  # the usual one: all in one scan
    missing = {component: bytearray([UNCODED] * 64) for component in components}  # bits yet to come of each coefficient
    marker, data, scans = SCAN, scan, 0
    for _ in range(MAX_SEGMENTS):
        if marker == SCAN:
            scans += 1
            if scans > MAX_SCANS or scans * pixels > MAX_SCANNED_PIXELS:
                most = min(MAX_SCANS, MAX_SCANNED_PIXELS // pixels)
                raise BadInput(413, "too_many_scans", f"at most {most} scans of a JPEG of that size are taken")
            _scanned(missing, data, progressive)
        elif marker not in PASSED_OVER:
            raise _broken(f"has a marker ff{marker:02x} among its scans")
        found = NEXT_IN_SCAN.search(body, at)
        if not found:
            raise _broken("has no end")
        if found[1][0] == END:
            break
        marker, data, at = _segment(body, found.start())
    else:
        raise _too_many_segments()
    if any(any(bits) for bits in missing.values()):
        raise _broken("lacks scans: not all of its detail is there")


def _scanned(missing: dict[int, bytearray], head: bytes, progressive: bool) -> None:
    """Note what a scan brings, by its head."""
    count = head[0] if head else 0
    if not count or len(head) != 4 + 2 * count or not missing.keys() >= set(head[1 : 2 * count : 2]):
        raise _broken("has a scan of nothing")
    first, last, low = (head[-3], head[-2], head[-1] & 15) if progressive else (0, 63, 0)
    if not first <= last <= 63:
        raise _broken("has a scan of nothing")
    for component in head[1 : 2 * count : 2]:
        missing[component][first : last + 1] = bytes([low]) * (last + 1 - first)


def _profile(pieces: list[bytes]) -> bytes:
    """The colour profile put together; empty where a piece is missing."""
    pieces = sorted(pieces)
    whole = [tuple(piece[:2]) for piece in pieces] == [(i, len(pieces)) for i in range(1, len(pieces) + 1)]
    return b"".join(piece[2:] for piece in pieces) if whole else b""


def _broken(how: str) -> BadInput:
    return BadInput(422, "broken_image", f"the JPEG {how}")


def _too_many_segments() -> BadInput:
    return BadInput(413, "too_many_parts", f"the JPEG has more than {MAX_SEGMENTS} segments")
