"""Pictures of every kind over HTTP: answered, or refused in one shape; never a failure of the service."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from model_server.errors import BadInput
from model_server.inference.images import check_content, decode
from model_server.training.radiographs import radiographs


def picture(form: str, image: Image.Image, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_head(wide: int, high: int, *more: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)) + b"".join(more)


SHADES = Image.linear_gradient("L").resize((100, 100))
JPEG, PNG = picture("JPEG", SHADES), picture("PNG", SHADES)
BOMB = png_head(6000, 6000, chunk(b"IDAT", zlib.compress(bytes(6001 * 6000), 9)), chunk(b"IEND", b""))

PROGRESSIVE = picture("JPEG", SHADES, progressive=True)
NOISE = picture("JPEG", Image.effect_noise((300, 300), 90))
HOLED = NOISE[: len(NOISE) // 3] + bytes(len(NOISE) // 3) + NOISE[2 * len(NOISE) // 3 :]
MANY_SCANS = PROGRESSIVE[:-2] + PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2] * 1000 + PROGRESSIVE[-2:]
SPECK = np.zeros((100, 100), np.uint8)
SPECK[40:44, 40:44] = 255

REFUSED = {
    "20000 x 20000": (png_head(20000, 20000, chunk(b"IDAT", b"x")), 413, "too_many_pixels"),
    "the most a PNG can say": (png_head(2**31 - 1, 2**31 - 1, chunk(b"IDAT", b"x")), 413, "too_many_pixels"),
    "no columns": (png_head(0, 100, chunk(b"IDAT", b"x")), 415, "not_an_image"),
    "a PNG without pixels": (png_head(100, 100, chunk(b"IEND", b"")), 422, "broken_image"),
    "a PNG with a wrong sum": (PNG.replace(b"IDAT", b"IDAU"), 415, "not_an_image"),
    "an inflating comment": (
        png_head(100, 100, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200 << 20), 1)), chunk(b"IDAT", b"x")),
        422,
        "broken_image",
    ),
    "an animated PNG": (
        picture("PNG", SHADES, save_all=True, append_images=[Image.new("L", (100, 100), i) for i in (1, 2)]),
        422,
        "several_frames",
    ),
    "two pictures in a JPEG": (
        picture("MPO", SHADES.convert("RGB"), save_all=True, append_images=[Image.new("RGB", (100, 100))]),
        422,
        "several_frames",
    ),
    "an animated GIF": (
        picture("GIF", SHADES, save_all=True, append_images=[Image.new("L", (100, 100), 5)]),
        415,
        "not_an_image",
    ),
    "a TIFF": (picture("TIFF", SHADES), 415, "not_an_image"),
    "a JPEG of a thousand scans": (MANY_SCANS, 413, "too_many_scans"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], 422, "broken_image"),
    "half a JPEG that says it ends there": (JPEG[: len(JPEG) // 2] + b"\xff\xd9", 422, "broken_image"),
    "a JPEG with a hole": (HOLED, 422, "broken_image"),
    "two bytes of a JPEG": (JPEG[:2], 415, "not_an_image"),
    "JSON": (b'{"image": "aGVsbG8="}', 415, "not_an_image"),
    "text": (b"x", 415, "not_an_image"),
    "36 million pixels in 36 kB": (BOMB, 422, "no_content"),
    "one pixel": (picture("PNG", Image.new("L", (1, 1))), 422, "no_content"),
    "one row": (picture("PNG", Image.linear_gradient("L").resize((5000, 1))), 422, "no_content"),
    "one grey": (picture("JPEG", Image.new("L", (100, 100), 90)), 422, "no_content"),
    "a speck": (picture("PNG", Image.fromarray(SPECK)), 422, "no_content"),
    "values from 0 to 1": (picture("PNG", SHADES.point(lambda grey: grey // 128)), 422, "no_content"),
    "inverted colours": (picture("JPEG", SHADES.convert("CMYK")), 415, "greys_not_understood"),
    "a palette with a hole": (picture("PNG", SHADES.convert("P"), transparency=0), 422, "greys_not_understood"),
    "see-through": (picture("PNG", Image.merge("LA", (SHADES, SHADES))), 422, "greys_not_understood"),
    "colour, see-through": (
        picture("PNG", Image.merge("RGBA", (SHADES, SHADES, SHADES, SHADES))),
        422,
        "greys_not_understood",
    ),
}


@pytest.mark.parametrize(("body", "status", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_with_the_reason(served, body, status, reason):
    answer = served.post("/predict", content=body)
    problem = answer.json()
    assert (answer.status_code, problem["reason"]) == (status, reason), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["x-request-id"]


TAKEN = {
    "sixteen bits": picture("PNG", Image.fromarray(np.arange(10000, dtype=np.uint16).reshape(100, 100))),
    "opaque": picture("PNG", SHADES.convert("LA")),
    "colour, opaque": picture("PNG", SHADES.convert("RGBA")),
    "a progressive JPEG": PROGRESSIVE,
}  # fmt: skip


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN)
def test_taken(served, body):
    assert served.post("/predict", content=body).status_code == 200


@pytest.mark.parametrize("said", ["image/jpeg", "text/plain", "application/dicom", "application/json", "", "nonsense"])
def test_the_bytes_say_what_they_are_whatever_the_content_type_says(served, said):
    assert served.post("/predict", content=PNG, headers={"Content-Type": said}).status_code == 200
    assert served.post("/predict", content=b"{}", headers={"Content-Type": said}).status_code == 415


@pytest.mark.parametrize("told", [["deflate"], ["identity, deflate"], ["identity", "deflate"]], ids=str)
def test_a_compressed_body_is_refused_as_such(served, told):
    coded = [("Content-Encoding", coding) for coding in told]
    answer = served.post("/predict", content=zlib.compress(PNG), headers=coded)
    assert (answer.status_code, answer.json()["reason"]) == (415, "encoded_body")


@pytest.mark.parametrize("told", [[""], ["Identity, identity"], ["identity", ""]], ids=str)
def test_a_body_that_is_said_to_be_as_it_is_is_read(served, told):
    assert served.post("/predict", content=PNG, headers=[("Content-Encoding", one) for one in told]).status_code == 200


RADIOGRAPH = Image.fromarray(next(radiographs(1, 13)).pixels)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("held", range(1, 9))
def test_an_image_is_seen_upright_however_the_camera_was_held(form, held):
    notes = Image.Exif()
    notes[0x0112] = held
    seen = decode(picture(form, turned(held), exif=notes)).astype(int)
    assert np.abs(seen - decode(picture(form, RADIOGRAPH)).astype(int)).mean() < 2


def turned(held: int) -> Image.Image:
    """The radiograph as a camera stores it that is held so."""
    turns = (
        None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_270,
    )  # fmt: skip
    return RADIOGRAPH if held == 1 else RADIOGRAPH.transpose(turns[held - 1])


def xmp(how: str) -> bytes:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {how}</rdf:Description></x:xmpmeta>'.encode()


AS_ELEMENT = xmp("><tiff:Orientation>6</tiff:Orientation>")
AS_ATTRIBUTE = xmp('tiff:Orientation="6">')
SINGLE_QUOTES = xmp("tiff:Orientation='6'>")


def noted(form: str, where: str) -> bytes:
    """A radiograph on its side, with a note of that in one of the places where Pillow looks for it."""
    if form == "JPEG":
        return picture("JPEG", turned(6), xmp={"element": AS_ELEMENT, "attribute": AS_ATTRIBUTE}[where])
    about = PngInfo()
    about.add_itxt("XML:com.adobe.xmp", {"element": AS_ELEMENT, "attribute": AS_ATTRIBUTE}[where].decode())
    return picture("PNG", turned(6), pnginfo=about)


@pytest.mark.parametrize(
    ("form", "where"),
    [("JPEG", "element"), ("JPEG", "attribute"), ("PNG", "element"), ("PNG", "attribute")],
)
def test_wherever_the_note_of_the_orientation_stands_it_is_heeded(form, where):
    seen = decode(noted(form, where)).astype(int)
    assert np.abs(seen - decode(picture(form, RADIOGRAPH)).astype(int)).mean() < 2


def test_a_note_behind_the_pixels_is_heeded_too():
    body, notes = picture("PNG", turned(6)), Image.Exif()
    notes[0x0112] = 6
    end = body.rindex(b"IEND") - 4
    seen = decode(body[:end] + chunk(b"eXIf", notes.tobytes()[6:]) + body[end:]).astype(int)
    assert np.abs(seen - decode(picture("PNG", RADIOGRAPH)).astype(int)).mean() < 2


def test_an_orientation_in_xmp_that_is_continued_is_heeded():
    body, more = picture("JPEG", turned(6)), b"http://ns.adobe.com/xmp/extension/\0" + bytes(40) + AS_ELEMENT
    body = body[:2] + b"\xff\xe1" + struct.pack(">H", len(more) + 2) + more + body[2:]
    assert np.abs(decode(body).astype(int) - decode(picture("JPEG", RADIOGRAPH)).astype(int)).mean() < 2


def with_orientation(value: int) -> bytes:
    notes = Image.Exif()
    notes[0x0112] = value
    return picture("JPEG", SHADES, exif=notes)


def text_chunk(key: str, value: str) -> bytes:
    about = PngInfo()
    about.add_text(key, value)
    return picture("PNG", SHADES, pnginfo=about)


UNREADABLE = {
    "EXIF that nobody can read": JPEG[:2] + b"\xff\xe1\x00\x10Exif\0\0" + b"x" * 8 + JPEG[2:],
    "an orientation of 0": with_orientation(0),
    "an orientation of 9": with_orientation(9),
    "XMP in another form": picture("JPEG", SHADES, xmp=SINGLE_QUOTES),
    "XMP in UTF-16": picture("JPEG", SHADES, xmp=AS_ELEMENT.decode().encode("utf-16")),
    "a profile that Pillow does not read": text_chunk("Raw profile type APP1", "\nexif\n 4\n00000000\n"),
    "a profile of colours that Pillow does not read": text_chunk("Raw profile type icc", "\nicc\n 4\n00000000\n"),
    "a profile whose name is not written as usual": text_chunk("raw profile type exif", "\nexif\n 4\n00000000\n"),
    "a profile that Pillow reads": text_chunk("Raw profile type exif", "\nexif\n 4\n00000000\n"),
    "endless EXIF": picture("PNG", SHADES, exif=b"Exif\0\0MM\0*\0\0\0\x08" + bytes(1 << 20)),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_note_of_the_orientation_that_is_not_understood_is_a_refusal(body):
    with pytest.raises(BadInput) as refused:
        decode(body)
    assert (refused.value.status, refused.value.reason) == (422, "orientation_not_understood")


def test_notes_that_say_nothing_of_the_orientation_change_nothing():
    notes = Image.Exif()
    notes[0x010F] = "maker"
    body = picture("JPEG", SHADES, exif=notes, xmp=xmp(">"), comment=b"of nobody")
    assert (decode(body) == decode(JPEG)).all()


def profile(gamma: float) -> bytes:
    """sRGB with another curve: the same tags, each a gamma."""
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = struct.unpack_from(">I", plain, 128)[0]
    curve = b"curv\0\0\0\0\0\0\0\x01" + struct.pack(">H", round(gamma * 256)) + b"\0\0"
    table, out = b"", bytearray(plain)
    for i in range(count):
        kind, at, size = struct.unpack_from(">4sII", plain, 132 + 12 * i)
        at, size = (len(plain), len(curve)) if kind in (b"rTRC", b"gTRC", b"bTRC") else (at, size)
        table += struct.pack(">4sII", kind, at, size)
    out[132 : 132 + len(table)] = table
    out += curve
    out[:4] = struct.pack(">I", len(out))
    return bytes(out)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_colour_profile_is_heeded(form):
    colour = RADIOGRAPH.convert("RGB")
    plain = decode(picture(form, colour)).astype(int)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.abs(decode(picture(form, colour, icc_profile=srgb)).astype(int) - plain).max() <= 3
    linear = decode(picture(form, colour, icc_profile=profile(1.0))).astype(int)  # half the light is grey level 188
    some = (plain > 60) & (plain < 200)
    expected = 255 * (1.055 * (plain / 255) ** (1 / 2.4) - 0.055)
    assert np.abs(linear - expected)[some].mean() < 4 and (linear - plain)[some].mean() > 30


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("what", ["nonsense", "of other colours", "cut short"])
def test_a_colour_profile_that_does_not_fit_is_a_refusal(form, what):
    given = {"nonsense": b"no profile" * 20, "of other colours": profile(1.0), "cut short": profile(1.0)[:-30]}[what]
    image = RADIOGRAPH.convert("RGB") if what == "cut short" else RADIOGRAPH
    with pytest.raises(BadInput) as refused:
        decode(picture(form, image, icc_profile=given))
    assert (refused.value.status, refused.value.reason) == (415, "greys_not_understood")


def test_twelve_bits_in_sixteen_keep_their_detail():
    image = next(radiographs(1, 13))
    plain = decode(picture("PNG", Image.fromarray(image.pixels))).astype(int)
    twelve = decode(picture("PNG", Image.fromarray(image.pixels.astype(np.uint16) * 16))).astype(int)
    assert np.abs(plain - twelve).max() <= 1


def contents() -> dict[str, tuple[np.ndarray, bool]]:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    speck = np.full((64, 64), 7, np.uint8)
    speck[3, :20] = 255
    return {
        "a ramp": (ramp, True), "dark": (ramp // 4, True), "bright": (ramp // 4 + 190, True),
        "one grey": (np.full((64, 64), 128, np.uint8), False), "0 and 1": (ramp // 4 % 2, False),
        "0 to 15": (ramp // 17, False), "a few pixels": (speck, False),
    }  # fmt: skip


@pytest.mark.parametrize("name", contents())
def test_an_image_without_content_is_refused_with_the_range_that_it_is_in(name):
    pixels, is_taken = contents()[name]
    if is_taken:
        check_content(pixels)
        return
    with pytest.raises(BadInput, match=r"from \d+ to \d+") as refused:
        check_content(pixels)
    assert (refused.value.status, refused.value.reason) == (422, "no_content")


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
