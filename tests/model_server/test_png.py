"""PNGs of every depth and colour, sixteen bits that are not all in use, and what is refused or bounded."""

import struct
import zlib

import numpy as np
import pytest

from model_server.errors import BadInput
from model_server.inference import png as png_files
from model_server.inference.images import decode

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
BITS = {GREY: (1, 2, 4, 8, 16), COLOUR: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8,), COLOUR_ALPHA: (8,)}  # taken
SHADES = np.linspace(0, 255, 64 * 64).reshape(64, 64).round().astype(int)


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(bits: int, colour: int, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, bits, colour, 0, 0, interlaced))


def rows(samples: np.ndarray, bits: int) -> bytes:
    """The bytes of samples (high, wide, channels), without filters."""
    found = b""
    for row in samples:
        if bits == 16:
            found += b"\0" + row.astype(">u2").tobytes()
        else:
            each = (row.reshape(-1, 1) >> np.arange(bits)[::-1]) & 1
            found += b"\0" + np.packbits(each.ravel().astype(np.uint8)).tobytes()
    return found


def png(samples: np.ndarray, bits: int, colour: int, *before: bytes) -> bytes:
    return assembled(header(bits, colour), *before, chunk(b"IDAT", zlib.compress(rows(samples, bits))), chunk(b"IEND"))


def assembled(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def channels(*planes: np.ndarray) -> np.ndarray:
    return np.stack(planes, axis=-1).astype(int)


def palette(bits: int) -> bytes:
    """From white to black: the index is not the grey."""
    return chunk(b"PLTE", bytes(255 - round(255 * i / (2**bits - 1)) for i in range(2**bits) for _ in range(3)))


def refused(body: bytes, **options) -> tuple[int, str]:
    with pytest.raises(BadInput) as problem:
        decode(body, **options)
    return problem.value.status, problem.value.reason


@pytest.mark.parametrize("colour", [GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_every_depth_and_colour_is_decoded_to_its_greys(bits, colour):
    if bits not in BITS[colour]:
        assert refused(png(channels(SHADES), bits, colour, palette(8))) == (415, "not_an_image")
        return
    most = 2**bits - 1
    samples = (SHADES * most / 255).round().astype(int)
    shown = samples * 255 / most
    opaque = np.full((64, 64), most)
    body = {
        GREY: lambda: png(channels(samples), bits, colour),
        COLOUR: lambda: png(channels(samples, samples, samples), bits, colour),
        PALETTE: lambda: png(channels(most - samples), bits, colour, palette(bits)),
        GREY_ALPHA: lambda: png(channels(samples, opaque), bits, colour),
        COLOUR_ALPHA: lambda: png(channels(samples, samples, samples, opaque), bits, colour),
    }[colour]()
    assert np.abs(decode(body) - shown).max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
def test_colours_become_grey_by_their_brightness(bits):
    planes = SHADES, 255 - SHADES, SHADES // 2
    body = png(channels(*planes) * (257 if bits == 16 else 1), bits, COLOUR)
    assert np.abs(decode(body) - (0.299 * planes[0] + 0.587 * planes[1] + 0.114 * planes[2])).max() <= 1


DEEP = {
    "grey": (GREY, lambda grey: channels(grey)),
    "colour": (COLOUR, lambda grey: channels(grey, grey, grey)),
}


@pytest.mark.parametrize(("colour", "made"), DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_of_sixteen_bits_the_upper_eight_of_those_in_use_are_taken(bits, colour, made):
    deep = SHADES << (bits - 8)
    assert np.abs(decode(png(made(deep), 16, colour)) - SHADES).max() <= 1


@pytest.mark.parametrize(("colour", "made"), DEEP.values(), ids=DEEP)
def test_no_single_pixel_decides_which_bits_are_in_use(colour, made):
    deep = SHADES << 4
    deep[5, 5:8] = 65535
    seen = decode(png(made(deep), 16, colour)).astype(int)
    assert (seen[5, 5:8] == 255).all()
    seen[5, 5:8] = SHADES[5, 5:8]
    assert np.abs(seen - SHADES).max() <= 1


PLAIN = channels(SHADES)
ALL_ROWS = rows(PLAIN, 8)
DATA, END = chunk(b"IDAT", zlib.compress(ALL_ROWS)), chunk(b"IEND")
HEAD = header(8, GREY)
LINEAR = chunk(b"gAMA", struct.pack(">I", 100_000))
ADLER_LESS = chunk(b"IDAT", zlib.compress(ALL_ROWS)[:-4])
RGBA = channels(SHADES, SHADES, SHADES, np.where(SHADES == 7, 254, 255))
INDEXED = header(8, PALETTE)

NOT_TAKEN = {
    "fewer rows": (assembled(HEAD, chunk(b"IDAT", zlib.compress(ALL_ROWS[: -3 * 65])), END), 422, "broken_image"),
    "one byte fewer": (assembled(HEAD, chunk(b"IDAT", zlib.compress(ALL_ROWS[:-1])), END), 422, "broken_image"),
    "more rows": (assembled(HEAD, chunk(b"IDAT", zlib.compress(ALL_ROWS + ALL_ROWS)), END), 422, "broken_image"),
    "interlaced": (assembled(header(8, GREY, 1), DATA, END), 415, "not_an_image"),
    "data without its sum": (assembled(HEAD, ADLER_LESS, END), 422, "broken_image"),
    "data that is none": (assembled(HEAD, chunk(b"IDAT", b"nonsense"), END), 422, "broken_image"),
    "a changed byte in its data": (
        assembled(HEAD, DATA[:40] + bytes([DATA[40] ^ 1]) + DATA[41:], END),
        422,
        "broken_image",
    ),
    "no end": (assembled(HEAD, DATA), 422, "broken_image"),
    "a chunk longer than the file": (assembled(HEAD, b"\xff\xff\xff\xffIDAT"), 422, "broken_image"),
    "two headers": (assembled(HEAD, HEAD, DATA, END), 422, "broken_image"),
    "a critical chunk that nobody knows": (assembled(HEAD, chunk(b"CgBI", b"1234"), DATA, END), 415, "not_an_image"),
    "a depth that does not exist": (assembled(header(4, COLOUR), DATA, END), 415, "not_an_image"),
    "bits that do not exist": (assembled(header(3, GREY), DATA, END), 415, "not_an_image"),
    "colours that do not exist": (assembled(header(8, 5), DATA, END), 415, "not_an_image"),
    "an unknown interlacing": (assembled(header(8, GREY, 2), DATA, END), 415, "not_an_image"),
    "no palette": (assembled(INDEXED, DATA, END), 422, "broken_image"),
    "a palette behind the pixels": (assembled(INDEXED, DATA, palette(8), END), 422, "broken_image"),
    "a short palette": (assembled(INDEXED, palette(4), DATA, END), 422, "broken_image"),
    "a palette with transparency": (
        assembled(INDEXED, palette(8), chunk(b"tRNS", b"\xff" * 9 + b"\x80"), DATA, END),
        422,
        "greys_not_understood",
    ),
    "a grey that is see-through": (assembled(HEAD, chunk(b"tRNS", b"\0\7"), DATA, END), 422, "greys_not_understood"),
    "a colour nearly opaque": (png(RGBA, 8, COLOUR_ALPHA), 422, "greys_not_understood"),
    "a gamma of 1": (assembled(HEAD, LINEAR, DATA, END), 415, "greys_not_understood"),
    "another kind of colours": (assembled(HEAD, chunk(b"cICP", bytes(4)), DATA, END), 415, "greys_not_understood"),
    "a text that Pillow takes for its interlacing": (
        assembled(HEAD, chunk(b"tEXt", b"interlace\0yes"), DATA, END),
        422,
        "broken_image",
    ),
    "a frame of an animation": (assembled(HEAD, chunk(b"fcTL", bytes(26)), DATA, END), 422, "several_frames"),
    "a comment that inflates": (
        assembled(HEAD, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(20 << 20), 9)), DATA, END),
        422,
        "broken_image",
    ),
    "a million empty chunks": (assembled(HEAD, chunk(b"raNd") * 1_000_000, DATA, END), 413, "too_many_parts"),
    "a million empty pieces of data": (assembled(HEAD, chunk(b"IDAT") * 1_000_000, DATA, END), 413, "too_many_parts"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "reason"), NOT_TAKEN.values(), ids=NOT_TAKEN)
def test_what_is_missing_or_not_understood_is_refused(body, status, reason):
    assert refused(body) == (status, reason)


@pytest.mark.parametrize(
    ("bits", "colour", "planes"), [(8, GREY, 1), (16, GREY, 1), (8, COLOUR, 3), (16, COLOUR, 3), (8, COLOUR_ALPHA, 4)]
)
def test_a_picture_is_bounded_in_its_pixels_and_in_their_bytes(bits, colour, planes):
    grey, opaque = SHADES * (257 if bits == 16 else 1), np.full((64, 64), 255)
    body = png(channels(*[grey] * min(planes, 3), *[opaque] * (planes - 3)), bits, colour)
    enough = max(64 * 64, 64 * (1 + 64 * planes * bits // 8) // 2 - 64)
    assert decode(body, max_pixels=enough).shape == (64, 64)
    assert refused(body, max_pixels=enough - 1) == (413, "too_many_pixels")


@pytest.mark.parametrize(("wide", "high"), [(1, 40_000_000), (40_000_000, 1), (15, 2_000_000)])
def test_a_picture_of_few_columns_or_rows_is_refused_before_it_is_decoded(monkeypatch, wide, high):
    """Decoded, forty million rows of one pixel take 600 MB, for each row has memory of its own."""
    monkeypatch.setattr(png_files, "decode", None)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, GREY, 0, 0, 0))
    assert refused(assembled(head, chunk(b"IDAT", zlib.compress(bytes((wide + 1) * high))), END)) == (422, "no_content")


def test_blocks_of_no_pixels_are_passed_over():
    """The most that a body can hold take a second or two."""
    empty = zlib.compressobj(wbits=-15).flush(zlib.Z_FULL_FLUSH)
    data = b"\x78\x9c" + empty * 100_000 + zlib.compress(ALL_ROWS)[2:]
    assert (decode(assembled(HEAD, chunk(b"IDAT", data), END)) == SHADES).all()


TAKEN = {
    "data in pieces, some of them empty": (
        HEAD, *(chunk(b"IDAT", zlib.compress(ALL_ROWS)[i : i + 1]) for i in range(len(zlib.compress(ALL_ROWS)))),
        chunk(b"IDAT"), END,
    ),
    "bytes behind the end": (HEAD, DATA, END, b"and more"),
    "the usual gamma": (HEAD, chunk(b"gAMA", struct.pack(">I", 45455)), DATA, END),
    "another gamma, which sRGB overrides": (HEAD, LINEAR, chunk(b"sRGB", b"\0"), DATA, END),
    "chunks of applications": (HEAD, *[chunk(b"raNd", b"x")] * 100, chunk(b"tEXt", b"a\0b"), DATA, END),
}  # fmt: skip


@pytest.mark.parametrize("chunks", TAKEN.values(), ids=TAKEN)
def test_what_is_unusual_and_understood_is_taken(chunks):
    assert (decode(assembled(*chunks)) == SHADES).all()
