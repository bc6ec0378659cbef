"""JPEGs: decoded as by Pillow, refused where a part is missing, and bounded before they are decoded."""

import io
import itertools
import re
import struct

import numpy as np
import pytest
from PIL import Image

from model_server.errors import BadInput
from model_server.inference import jpeg
from model_server.inference.images import decode


def picture(mode: str, size: tuple[int, int] = (200, 200), **options) -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def refused(body: bytes) -> tuple[int, str]:
    with pytest.raises(BadInput) as problem:
        decode(body)
    return problem.value.status, problem.value.reason


FORMS = [
    ("L", {}), ("RGB", {}), ("L", {"progressive": True}), ("RGB", {"progressive": True}), ("L", {"quality": 20}),
    ("RGB", {"keep_rgb": True}), ("RGB", {"quality": 20, "subsampling": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "form"), FORMS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (127, 300), (511, 513), (640, 1000)], ids=str)
def test_a_jpeg_is_decoded_to_what_pillow_makes_of_it(mode, form, size):
    body = picture(mode, size, **form)
    image = Image.open(io.BytesIO(body))
    image.draft("L", (64, 64))
    # Pillow scales colours of its own accord only to what it then turns grey itself.
    expected = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BOX))
    seen = jpeg.decode(body, jpeg.read(body), 64).resize((64, 64), Image.Resampling.BOX)
    assert np.abs(np.asarray(seen).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("form", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_one_that_says_that_it_ends_too_early_is_refused(mode, form, share):
    body = picture(mode, **form)
    begin = body.index(b"\xff\xda") + 20
    cut = begin + int(share * (len(body) - begin))
    assert refused(body[:cut].rstrip(b"\xff") + b"\xff\xd9") == (422, "broken_image")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_one_that_lacks_any_of_its_last_scans_is_refused(mode):
    """A decoder makes a blurred picture of it, and says nothing."""
    body = picture(mode, progressive=True)
    scans = [found.start() for found in re.finditer(b"\xff\xda", body)]
    assert len(scans) >= 6 and decode(body).shape == (64, 64)
    for at in scans[1:]:
        assert Image.open(io.BytesIO(body[:at] + b"\xff\xd9")).convert("L").getextrema()[1] > 0
        assert refused(body[:at] + b"\xff\xd9") == (422, "broken_image")


def test_one_that_lacks_a_scan_in_its_middle_is_refused():
    body = picture("L", progressive=True)
    scans = [found.start() for found in re.finditer(b"\xff\xda", body)]
    for at, end in itertools.pairwise(scans):
        tables = body.find(b"\xff\xc4", at, end)
        assert refused(body[:at] + body[tables if tables > 0 else end :]) == (422, "broken_image")


def test_one_that_lacks_a_component_is_refused():
    body = picture("RGB")
    at = body.index(b"\xff\xda")
    one = b"\xff\xda\0\x08\x01" + body[at + 5 : at + 7] + b"\0\x3f\0"
    assert refused(body[:at] + one + body[at + 14 :]) == (422, "broken_image")


def test_rows_cut_out_so_that_the_restart_markers_still_count_up_are_missed():
    body = picture("L", (300, 300), restart_marker_rows=1)
    markers = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", body)]
    assert len(markers) > 20
    assert refused(body[: markers[2]] + body[markers[10] :]) == (422, "broken_image")


def frame(body: bytes) -> int:
    return re.search(rb"\xff[\xc0-\xc2]\0", body).start()


def changed(body: bytes, at: int, value: bytes) -> bytes:
    return body[:at] + value + body[at + len(value) :]


GREY = picture("L")
FRAME = GREY[frame(GREY) : frame(GREY) + 13]

NOT_TAKEN = {
    **{
        f"coding ff{marker:02x}": (changed(GREY, frame(GREY) + 1, bytes([marker])), 415, "jpeg_coding")
        for marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
    },
    "12 bits": (changed(GREY, frame(GREY) + 4, b"\x0c"), 415, "jpeg_coding"),
    "a component that is sampled nowhere": (changed(GREY, frame(GREY) + 11, b"\x01"), 422, "broken_image"),
    "no rows": (changed(GREY, frame(GREY) + 5, b"\0\0"), 422, "broken_image"),
    "no columns": (changed(GREY, frame(GREY) + 7, b"\0\0"), 422, "broken_image"),
    "two components": (
        GREY.replace(FRAME, b"\xff\xc0\0\x0e\x08\0\xc8\0\xc8\x02\x01\x11\0\x02\x11\0"),
        415,
        "greys_not_understood",
    ),
    "printers' inks": (picture("CMYK"), 415, "greys_not_understood"),
    "two frames": (GREY.replace(FRAME, FRAME + FRAME), 422, "broken_image"),
    "no frame": (GREY.replace(FRAME, b""), 422, "broken_image"),
    "a number of lines behind the pixels": (
        picture("L", progressive=True)[:-2] + b"\xff\xdc\0\x04\0\x10\xff\xd9",
        422,
        "broken_image",
    ),
    "nothing but markers": (b"\xff\xd8\xff\xd9", 422, "broken_image"),
    "no end": (picture("L", progressive=True)[:-2], 422, "broken_image"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "reason"), NOT_TAKEN.values(), ids=NOT_TAKEN)
def test_what_is_not_understood_is_refused(body, status, reason):
    assert refused(body) == (status, reason)


def segment(marker: int, data: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def among_its_scans(count: int) -> bytes:
    body = picture("L", progressive=True)
    at = [found.start() for found in re.finditer(b"\xff\xda", body)][2]
    return body[:at] + segment(0xFE, b"x") * count + body[at:]


TOO_MUCH = {
    "notes in 100,000 pieces": (
        GREY[:2] + segment(0xE1, b"Exif\0\0" + bytes(150)) * 100_000 + GREY[2:],
        413,
        "too_many_parts",
    ),
    "a million comments": (GREY[:2] + segment(0xFE, b"") * 1_000_000 + GREY[2:], 413, "too_many_parts"),
    "comments among the scans": (among_its_scans(1000), 413, "too_many_parts"),
    "bytes that fill up": (b"\xff\xd8" + b"\xff" * (16 << 20), 422, "broken_image"),
    "bytes that fill up before a segment": (GREY[:2] + b"\xff" * (1 << 20) + GREY[2:], 422, "broken_image"),
}


@pytest.mark.parametrize(("body", "status", "reason"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_parts_are_bounded_before_anything_is_decoded(body, status, reason):
    assert refused(body) == (status, reason)


def test_of_a_large_picture_fewer_scans_are_taken():
    body = picture("L", (100, 100), progressive=True)
    last = body[body.rindex(b"\xff\xda") : -2]
    many = body[:-2] + last * 12 + body[-2:]
    assert jpeg.read(many).wide == 100
    large = changed(many, frame(many) + 5, struct.pack(">HH", 6000, 6000))
    with pytest.raises(BadInput, match="scans") as problem:
        jpeg.read(large)
    assert (problem.value.status, problem.value.reason) == (413, "too_many_scans")


@pytest.mark.parametrize(("mode", "side", "is_taken"), [("L", 6000, True), ("RGB", 4600, True), ("RGB", 4700, False)])
def test_of_one_that_has_to_be_held_until_its_last_scan_fewer_samples_are_taken(mode, side, is_taken):
    """libjpeg would hold 128 bytes for each block of each component: 240 MB of the largest picture."""
    body = picture(mode, (100, 100), progressive=True, subsampling=0)
    large = changed(body, frame(body) + 5, struct.pack(">HH", side, side))
    if is_taken:
        assert jpeg.read(large).wide == side
    else:
        with pytest.raises(BadInput, match="samples") as problem:
            jpeg.read(large)
        assert (problem.value.status, problem.value.reason) == (413, "too_many_pixels")
    at_once = picture(mode, (100, 100), subsampling=0)
    assert jpeg.read(changed(at_once, frame(at_once) + 5, struct.pack(">HH", 6000, 6000))).wide == 6000


def test_few_segments_and_what_follows_the_end_are_taken():
    body = GREY[:2] + segment(0xFE, b"a comment") * 100 + b"\xff\xff" + GREY[2:] + b"\xff\xda and more"
    assert (decode(body) == decode(GREY)).all()
    assert decode(among_its_scans(100)).shape == (64, 64)
