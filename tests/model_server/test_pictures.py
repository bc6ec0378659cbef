"""Pictures of every kind over HTTP: answered, or refused in one shape; never a failure of the service."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model_server.inference.images import decode
from model_server.training.radiographs import radiographs


def picture(form: str, image: Image.Image, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_head(wide: int, high: int, *more: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)) + b"".join(more)


GREY = Image.new("L", (100, 100), 90)
JPEG, PNG = picture("JPEG", GREY), picture("PNG", GREY)
BOMB = png_head(6000, 6000, chunk(b"IDAT", zlib.compress(bytes(6001 * 6000), 9)), chunk(b"IEND", b""))

PROGRESSIVE = picture("JPEG", GREY, progressive=True)
NOISE = picture("JPEG", Image.effect_noise((300, 300), 90))
HOLED = NOISE[: len(NOISE) // 3] + bytes(len(NOISE) // 3) + NOISE[2 * len(NOISE) // 3 :]
MANY_SCANS = PROGRESSIVE[:-2] + PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2] * 1000 + PROGRESSIVE[-2:]

REFUSED = {
    "20000 x 20000": (png_head(20000, 20000, chunk(b"IDAT", b"x")), 413, "too_many_pixels"),
    "the most a PNG can say": (png_head(2**31 - 1, 2**31 - 1, chunk(b"IDAT", b"x")), 413, "too_many_pixels"),
    "no columns": (png_head(0, 100, chunk(b"IDAT", b"x")), 415, "not_an_image"),
    "a PNG without pixels": (png_head(100, 100, chunk(b"IEND", b"")), 422, "broken_image"),
    "a PNG with a wrong sum": (PNG.replace(b"IDAT", b"IDAU"), 415, "not_an_image"),
    "an inflating comment": (
        png_head(100, 100, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200 << 20), 9)), chunk(b"IDAT", b"x")),
        422,
        "broken_image",
    ),
    "an animated PNG": (
        picture("PNG", GREY, save_all=True, append_images=[Image.new("L", (100, 100), i) for i in (1, 2)]),
        422,
        "several_frames",
    ),
    "two pictures in a JPEG": (
        picture("MPO", GREY.convert("RGB"), save_all=True, append_images=[Image.new("RGB", (100, 100))]),
        422,
        "several_frames",
    ),
    "an animated GIF": (
        picture("GIF", GREY, save_all=True, append_images=[Image.new("L", (100, 100), 5)]),
        415,
        "not_an_image",
    ),
    "a TIFF": (picture("TIFF", GREY), 415, "not_an_image"),
    "a JPEG of a thousand scans": (MANY_SCANS, 413, "too_many_scans"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], 422, "broken_image"),
    "half a JPEG that says it ends there": (JPEG[: len(JPEG) // 2] + b"\xff\xd9", 422, "broken_image"),
    "a JPEG with a hole": (HOLED, 422, "broken_image"),
    "two bytes of a JPEG": (JPEG[:2], 415, "not_an_image"),
    "JSON": (b'{"image": "aGVsbG8="}', 415, "not_an_image"),
    "text": (b"x", 415, "not_an_image"),
}


@pytest.mark.parametrize(("body", "status", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_with_the_reason(served, body, status, reason):
    answer = served.post("/predict", content=body)
    problem = answer.json()
    assert (answer.status_code, problem["reason"]) == (status, reason), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["x-request-id"]


TAKEN = {
    "36 million pixels in 36 kB": BOMB,
    "one pixel": picture("PNG", Image.new("L", (1, 1))),
    "one row": picture("PNG", Image.new("L", (5000, 1))),
    "sixteen bits": picture("PNG", Image.fromarray(np.arange(10000, dtype=np.uint16).reshape(100, 100))),
    "inverted colours": picture("JPEG", Image.new("CMYK", (100, 100))),
    "a palette with a hole": picture("PNG", GREY.convert("P"), transparency=0),
    "see-through": picture("PNG", Image.new("LA", (100, 100), (90, 10))),
    "colour, see-through": picture("PNG", Image.new("RGBA", (100, 100))),
    "a progressive JPEG": PROGRESSIVE,
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN)
def test_taken(served, body):
    assert served.post("/predict", content=body).status_code == 200


@pytest.mark.parametrize("said", ["image/jpeg", "text/plain", "application/dicom", "application/json", "", "nonsense"])
def test_the_bytes_say_what_they_are_whatever_the_content_type_says(served, said):
    assert served.post("/predict", content=PNG, headers={"Content-Type": said}).status_code == 200
    assert served.post("/predict", content=b"{}", headers={"Content-Type": said}).status_code == 415


def test_a_compressed_body_is_refused_as_such(served):
    answer = served.post("/predict", content=zlib.compress(PNG), headers={"Content-Encoding": "deflate"})
    assert (answer.status_code, answer.json()["reason"]) == (415, "encoded_body")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("form", [{}, {"progressive": True}, {"quality": 20, "subsampling": 2}], ids=str)
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (127, 300), (511, 513), (640, 1000)], ids=str)
def test_a_jpeg_is_decoded_to_what_pillow_makes_of_it(mode, form, size):
    body = picture("JPEG", Image.effect_noise(size, 60).convert(mode), **form)
    image = Image.open(io.BytesIO(body))
    image.draft("L", (64, 64))
    # Pillow scales colours of its own accord only to what it then turns grey itself.
    expected = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BOX))
    assert np.abs(decode(body).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("held", range(1, 9))
def test_an_image_is_seen_upright_however_the_camera_was_held(form, held):
    upright = Image.fromarray(next(radiographs(1, 13)).pixels)
    turns = (
        None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_270,
    )  # fmt: skip
    turned = upright if held == 1 else upright.transpose(turns[held - 1])
    notes = Image.Exif()
    notes[0x0112] = held
    seen = decode(picture(form, turned, exif=notes)).astype(int)
    assert np.abs(seen - decode(picture(form, upright)).astype(int)).mean() < 2


def test_notes_that_nobody_can_read_are_none():
    broken = JPEG[:2] + b"\xff\xe1\x00\x10Exif\0\0" + b"x" * 8 + JPEG[2:]
    assert (decode(broken) == decode(JPEG)).all()


def test_twelve_bits_in_sixteen_keep_their_detail():
    image = next(radiographs(1, 13))
    plain = decode(picture("PNG", Image.fromarray(image.pixels))).astype(int)
    twelve = decode(picture("PNG", Image.fromarray(image.pixels.astype(np.uint16) * 16))).astype(int)
    assert np.abs(plain - twelve).max() <= 1


def test_random_bytes_and_changed_pictures_are_answered_or_refused(served):
    rng = random.Random(7)
    before = served.metric("http_requests_total", endpoint="/predict", status="500")
    for i in range(200):
        body = bytearray((PNG, JPEG, rng.randbytes(rng.randrange(1, 3000)))[i % 3])
        for _ in range(rng.randrange(1, 20)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        answer = served.post("/predict", content=bytes(body[: rng.randrange(1, 2 * len(body))]))
        assert answer.status_code in (200, 413, 415, 422), answer.text
    assert served.metric("http_requests_total", endpoint="/predict", status="500") == before == 0
