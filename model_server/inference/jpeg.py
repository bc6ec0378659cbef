"""JPEGs: what they say of themselves, and their pixels, of which none is made up.

Where a file lacks scans, libjpeg makes smooth pixels of what is there and says nothing; so the file is walked first, in
one pass, and its scans are added up. In a scan that Huffman's code is cut short in, libjpeg does say so, and simplejpeg
refuses it; of arithmetic code it does not, which is therefore not taken. simplejpeg gives the same pixels as Pillow in
half its time.
"""

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
MAX_SCANS = 32  # a progressive JPEG has about ten; each one more, in 59 bytes, costs another look at every pixel
MAX_BLOCKS = 6_000_000  # of 64 pixels of one component, in all scans: a second's work
MAX_HELD_BLOCKS = 1_000_000  # of a picture in several scans: libjpeg holds each in 128 bytes until the last has come

HUFFMAN, PROGRESSIVE = (0xC0, 0xC1, 0xC2), 0xC2
PASSED_OVER = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, comments, and what applications say
OTHER_CODINGS = {*range(0xC3, 0xD0), 0xDE, 0xDF} - PASSED_OVER  # arithmetic, lossless, hierarchical
END, SCAN = 0xD9, 0xDA
NOTES = {  # by what they begin with, as Pillow calls them
    (0xE1, b"Exif\0\0"): "exif", (0xE1, b"http://ns.adobe.com/xap/1.0/\0"): "xmp",
    (0xE1, b"http://ns.adobe.com/xmp/extension/\0"): "xmp",  # too long for the first; Pillow does not look there
    (0xE2, b"ICC_PROFILE\0"): "icc_profile", (0xE2, b"MPF\0"): "several",
}  # fmt: skip
NEXT = re.compile(rb"\xff{1,16}([\xc0-\xfe])")  # a marker, and bytes that fill up before it
NEXT_IN_SCAN = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
UNCODED = 0xFF


class Jpeg(NamedTuple):
    """What a JPEG says of itself. `info` has what is there of `exif`, `xmp` and `icc_profile`, as Pillow does."""

    wide: int
    high: int
    components: int  # 1 grey, 3 colour
    info: dict[str, bytes]


def read(body: bytes) -> Jpeg:
    """Walk a JPEG, whose bytes begin with START. Raises BadInput where something is missing or not understood, or where
    to decode it would be more work than a picture's."""
    frame: _Frame | None = None
    notes = defaultdict(list)
    for marker, data in _segments(body):
        if marker == SCAN:
            if frame is None:
                raise _broken("has no frame before its first scan")
            frame.scan(data)
        elif marker in HUFFMAN:
            if frame is not None:
                raise _broken("has two frames")
            frame = _Frame(data, marker == PROGRESSIVE)
        elif marker in OTHER_CODINGS:
            raise BadInput(415, "jpeg_coding", f"JPEGs in Huffman code are taken; this one is marked ff{marker:02x}")
        elif marker not in PASSED_OVER:
            raise _broken(f"has a marker ff{marker:02x} where none can be")
        else:
            for (kind, start), name in NOTES.items():
                if marker == kind and data.startswith(start):
                    notes[name].append(data[len(start) :])
    if frame is None:
        raise _broken("has no frame")
    if "several" in notes:
        raise BadInput(422, "several_frames", "the JPEG holds several pictures; send one")
    components = len(frame.blocks)
    if components not in (1, 3):
        raise BadInput(415, "greys_not_understood", f"JPEGs in grey or three colours are taken, none in {components}")
    if frame.lacks_detail:
        raise _broken("lacks scans: not all of its detail is there")
    if pieces := notes.get("icc_profile"):  # each begins with its number and how many there are
        notes["icc_profile"] = [piece[2:] for piece in sorted(pieces)]
    info = {name: b"".join(pieces) for name, pieces in notes.items()}
    return Jpeg(frame.wide, frame.high, components, info)


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


class _Frame:
    """A picture's size, and what its scans have not brought yet."""

    def __init__(self, data: bytes, progressive: bool):
        if len(data) < 9 or len(data) != 6 + 3 * data[5] or len(set(data[6::3])) != data[5]:
            raise _broken("has no whole frame before its first scan")
        bits, self.high, self.wide = struct.unpack(">BHH", data[:5])
        if bits != 8:
            raise BadInput(415, "jpeg_coding", f"JPEGs of 8 bits are taken; this one has {bits}")
        sampled = {name: (both >> 4, both & 15) for name, both in zip(data[6::3], data[7::3], strict=True)}
        if not (self.wide and self.high and all(1 <= each <= 4 for both in sampled.values() for each in both)):
            raise _broken("has no rows or no columns")
        across, down = (8 * max(each) for each in zip(*sampled.values(), strict=True))
        units = -(-self.wide // across) * -(-self.high // down)
        self.blocks = {name: units * x * y for name, (x, y) in sampled.items()}
        self._progressive, self._scans, self._work = progressive, 0, 0
        self._missing = {name: bytearray([UNCODED] * 64) for name in sampled}  # bits to come of each coefficient

    def scan(self, head: bytes) -> None:
        """Note what a scan brings. Raises BadInput where it is none, or with those before too much work."""
        count = head[0] if head else 0
        names = head[1 : 2 * count : 2]
        first, last, low = (head[-3], head[-2], head[-1] & 15) if self._progressive and len(head) > 3 else (0, 63, 0)
        if not count or len(head) != 4 + 2 * count or not self.blocks.keys() >= set(names) or not first <= last <= 63:
            raise _broken("has a scan of nothing")
        for name in names:
            self._missing[name][first : last + 1] = bytes([low]) * (last + 1 - first)
        self._scans += 1
        self._work += sum(self.blocks[name] for name in names)
        if self._scans > MAX_SCANS or self._work > MAX_BLOCKS:
            raise BadInput(413, "too_many_scans", "the JPEG has more scans than are taken of one of its size")
        if (self._progressive or count < len(self.blocks)) and sum(self.blocks.values()) > MAX_HELD_BLOCKS:
            raise BadInput(
                413, "too_many_pixels", f"{64 * MAX_HELD_BLOCKS} samples of a JPEG in several scans are taken"
            )

    @property
    def lacks_detail(self) -> bool:
        return any(any(bits) for bits in self._missing.values())


def _broken(how: str) -> BadInput:
    return BadInput(422, "broken_image", f"the JPEG {how}")
