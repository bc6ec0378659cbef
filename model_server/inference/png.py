"""PNGs: their chunks, their pixels, of which none is made up, and the greys of sixteen bits.

Where the compressed data ends early, Pillow leaves the rows that are missing black and says nothing, and it checks no
sum of the data; so the chunks are walked and the rows are counted before it decodes them.
"""

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from model_server.errors import BadInput

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 10_000  # 16 MB in the smallest pieces that are usual
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
HEADER = struct.Struct(">IIBBBBB")
CHANNELS = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
BITS = {GREY: (1, 2, 4, 8, 16), COLOUR: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8,), COLOUR_ALPHA: (8,)}
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
BEFORE_DATA = (b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"iCCP")  # what decides the greys, once each
USUAL_GAMMA = 1 / 2.2
LUMA = (0.299, 0.587, 0.114)
DEPTHS = (8, 10, 12, 14)  # bits that detectors write into 16
STRAY = 1000  # of so many pixels one may be brighter: it is dead, or a scratch

Image.MAX_IMAGE_PIXELS = None  # bounded by whoever asks, with an answer that says so


class Png(NamedTuple):
    """What a PNG says first."""

    wide: int
    high: int
    bits: int
    colour: int


def read(body: bytes) -> Png:
    """The header of what begins with SIGNATURE. Raises BadInput where there is none that anybody could read."""
    whole = body[8:16] == b"\0\0\0\x0dIHDR" and len(body) >= 29
    wide, high, bits, colour, packed, filtered, interlaced = HEADER.unpack(body[16:29]) if whole else [0] * 7
    if not (wide and high) or packed or filtered or interlaced or bits not in BITS.get(colour, ()):
        what = "but no header says that it has rows in turn, of a depth and colours that are taken"
        raise BadInput(415, "not_an_image", f"the body begins like a PNG, {what}; of 16 bits, none with alpha are")
    return Png(wide, high, bits, colour)


def decode(body: bytes, said: Png, max_bytes: int) -> Image.Image:
    """The picture in grey, or in its colours where it has a profile of them. Raises BadInput where something is missing
    or not understood, or its pixels take more than `max_bytes`."""
    chunks, data = _chunks(body)
    _check_greys(said, chunks)
    _check_rows(said, data, max_bytes)
    try:
        if said.bits == 16:
            return _deep(body, said)
        image = _opened(body)
        if said.colour == PALETTE and image.getextrema()[1] >= len(chunks[b"PLTE"]) // 3:
            raise _broken("uses a colour that its palette lacks")
        if said.colour in (GREY_ALPHA, COLOUR_ALPHA) and image.getchannel("A").getextrema()[0] < 255:
            raise _see_through()
        return image.convert("RGB" if "icc_profile" in image.info and said.colour not in (GREY, GREY_ALPHA) else "L")
    except BadInput:
        raise
    except Exception as error:  # Pillow raises many kinds on hostile files; each is the sender's fault
        raise _broken(f"cannot be decoded: {error}") from None


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """The upper eight of the bits in use of uint16, as uint8.

    A PNG's samples fill their sixteen bits, but detectors' exports often leave the upper ones empty and do not say so.
    So those bits are in use that all but stray pixels fit into: no single one decides.
    """
    stray = pixels.size // STRAY
    bits = next((b for b in DEPTHS if np.count_nonzero(pixels >= 1 << b) <= stray), 16)
    used = np.minimum(pixels, (1 << bits) - 1)
    return np.right_shift(used, bits - 8, out=used).astype(np.uint8)


def _chunks(body: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """What each kind of chunk holds that may be there once, and the compressed data."""
    view, at = memoryview(body), len(SIGNATURE)
    once: dict[bytes, bytes] = {}
    data: list[memoryview] = []
    for _ in range(MAX_CHUNKS):
        kind, start = body[at + 4 : at + 8], at + 8
        end = start + int.from_bytes(body[at : at + 4])
        if end + 4 > len(body):
            raise _broken("is cut short")
        if not kind.isalpha() or (kind[:1].isupper() and kind not in CRITICAL):
            raise BadInput(415, "not_an_image", "the PNG has a chunk that decides how to read it and that nobody knows")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(body[end : end + 4]):
            raise _broken("is damaged: a checksum is wrong")
        if kind == b"IEND":
            return once, b"".join(data)
        if kind in (b"acTL", b"fcTL", b"fdAT"):
            raise BadInput(422, "several_frames", "the PNG is an animation; send one picture")
        if kind == b"IDAT":
            data.append(view[start:end])
        elif kind in BEFORE_DATA and (kind in once or data):
            raise _broken(f"has a {kind.decode()} that is its second, or stands behind its pixels")
        elif kind in BEFORE_DATA or kind == b"cICP":
            once[kind] = body[start:end]
        at = end + 4
    raise BadInput(413, "too_many_parts", f"the PNG has more than {MAX_CHUNKS} chunks")


def _check_greys(said: Png, chunks: dict[bytes, bytes]) -> None:
    """That what decides the greys is understood."""
    if said.colour == PALETTE and b"PLTE" not in chunks:
        raise _broken("has no palette")
    if b"tRNS" in chunks:
        raise _see_through()
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")) / 100_000
    managed = b"iCCP" in chunks or b"sRGB" in chunks
    if b"cICP" in chunks or (b"gAMA" in chunks and not managed and abs(gamma / USUAL_GAMMA - 1) > 0.05):
        which = "a cICP" if b"cICP" in chunks else f"a gamma of {gamma:g}"
        raise BadInput(415, "greys_not_understood", f"the PNG has {which}; a gamma of {USUAL_GAMMA:.5f} is taken")


def _see_through() -> BadInput:
    return BadInput(422, "greys_not_understood", "the PNG is see-through, and nothing says what lies behind it")


def _check_rows(said: Png, data: bytes, max_bytes: int) -> None:
    """That the compressed data is whole, and has as many bytes as the rows, which are bounded, as is the work."""
    wanted = said.high * (1 + -(-said.wide * said.bits * CHANNELS[said.colour] // 8))  # a filter before each row
    if wanted > max_bytes:
        raise BadInput(413, "too_many_pixels", f"the PNG has {wanted} bytes of pixels; at most {max_bytes} are taken")
    inflater = zlib.decompressobj()
    try:
        inflated = len(inflater.decompress(data, wanted + 1))
    except zlib.error:
        raise _broken("is damaged: its pixels cannot be inflated") from None
    if inflated != wanted or not inflater.eof:
        raise _broken(f"has {'more' if inflated > wanted else 'fewer'} pixels than it says")


def _opened(body: bytes, raw_mode: str = "") -> Image.Image:
    """Decoded by Pillow; `raw_mode` says which bytes of each pixel it keeps."""
    image = Image.open(io.BytesIO(body), formats=("PNG",))
    if image.info.get("interlace"):  # a text of that name, which Pillow would heed
        raise _broken("says of itself in a text how it is interlaced")
    if raw_mode:
        image.tile = [image.tile[0]._replace(args=raw_mode)]
    image.load()
    return image


def _deep(body: bytes, said: Png) -> Image.Image:
    """Grey of a picture of sixteen bits. Pillow keeps the upper eight of colours alone; asked for a byte order that is
    not a PNG's, it keeps the lower eight."""
    if said.colour == GREY:
        image = _opened(body)
        pixels = np.asarray(image)
    else:
        grey = np.zeros((said.high, said.wide), np.float32)
        for worth, order in ((256, "B"), (1, "L")):
            image = _opened(body, f"RGB;16{order}")
            raw = np.asarray(image)
            for channel, share in enumerate(LUMA):
                grey += np.float32(worth * share) * raw[:, :, channel]
        pixels = np.rint(grey, out=grey).astype(np.uint16)
    shown = Image.fromarray(eight_bits(pixels))
    shown.info = image.info
    return shown


def _broken(how: str) -> BadInput:
    return BadInput(422, "broken_image", f"the PNG {how}")
