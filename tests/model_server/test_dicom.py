"""DICOM files as detectors and archives write them, and as attackers do."""

import encodings
import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
)

from model_server.errors import BadInput
from model_server.inference import dicom as dicom_files
from model_server.inference.images import MAX_PIXELS, decode
from model_server.training.radiographs import CLASSES, radiographs

PATIENT = "Doe^Jane"


def dicom(
    pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, stored_bits: int = 0, data: bytes | None = None,
    pixel_vr: str = "", empty: Sequence[str] = (), **members,
) -> bytes:  # fmt: skip
    """A file with the pixels given; `members` are set last, so that they can also be wrong, and then those `empty`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = syntax
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    said = FileDataset(
        None, {}, bytes(128), meta, is_implicit_VR=syntax == ImplicitVRLittleEndian, is_little_endian=order == "<"
    )
    said.SOPClassUID, said.SOPInstanceUID, said.PatientName = meta.MediaStorageSOPClassUID, "1.2.3", PATIENT
    said.Rows, said.Columns = pixels.shape
    said.SamplesPerPixel, said.PhotometricInterpretation = 1, "MONOCHROME2"
    said.BitsAllocated = 8 * pixels.itemsize
    said.BitsStored = stored_bits or said.BitsAllocated
    said.HighBit, said.PixelRepresentation = said.BitsStored - 1, int(pixels.dtype.kind == "i")
    said.PixelData = data if data is not None else pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    said["PixelData"].VR = pixel_vr or ("OW" if pixels.itemsize == 2 else "OB")
    for name, value in members.items():
        if value is None:
            delattr(said, name)
        else:
            setattr(said, name, value)
    for name in empty:
        setattr(said, name, None)
    out = io.BytesIO()
    said.save_as(out, enforce_file_format=True)
    return out.getvalue()


RAMP = np.linspace(0, 255, 64 * 64).reshape(64, 64).round().astype(np.uint8)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    ("pixels", "members"),
    [
        pytest.param(RAMP, {}, id="8 bits"),
        pytest.param(RAMP.astype(np.uint16) * 257, {}, id="16 bits"),
        pytest.param(RAMP.astype(np.uint16) * 16, {"stored_bits": 12}, id="12 of 16 bits"),
        pytest.param(RAMP.astype(np.int16) * 4 - 512, {}, id="signed"),
        pytest.param(RAMP.astype(np.int16) * 4 - 512, {"stored_bits": 12}, id="12 bits, signed"),
        pytest.param(255 - RAMP, {"PhotometricInterpretation": "MONOCHROME1"}, id="bright is air"),
        pytest.param(RAMP, {"RescaleSlope": "2.5", "RescaleIntercept": "-1024"}, id="rescaled"),
        pytest.param(255 - RAMP, {"RescaleSlope": "-1", "RescaleIntercept": "0"}, id="rescaled upside down"),
        pytest.param(RAMP, {"WindowCenter": "128", "WindowWidth": "256"}, id="a window of all"),
        pytest.param(
            RAMP,
            {"WindowCenter": "127.5", "WindowWidth": "255", "VOILUTFunction": "LINEAR_EXACT"},
            id="an exact window",
        ),
        pytest.param(
            RAMP, {"WindowCenter": ["128", "40"], "WindowWidth": ["256", "80"]}, id="the first of two windows"
        ),
    ],
)
def test_pixels_are_what_a_viewer_would_show(pixels, members, syntax):
    shown = decode(dicom(pixels, syntax, **members)).astype(int)
    assert np.abs(shown - RAMP).max() <= 1


def test_a_window_cuts_off_what_is_outside_it_and_a_sigmoid_bends():
    cut = decode(dicom(RAMP, WindowCenter="100.5", WindowWidth="51")).astype(int)  # 75 to 125
    assert (cut[RAMP <= 75] == 0).all() and (cut[RAMP >= 125] == 255).all() and 120 < cut[RAMP == 100].mean() < 136
    bent = decode(dicom(RAMP, WindowCenter="128", WindowWidth="128", VOILUTFunction="SIGMOID")).astype(int)
    assert (np.diff(bent.ravel()) >= 0).all() and 0 < bent[0, 0] < 10 and 245 < bent[-1, -1] < 255


def test_bits_above_the_stored_ones_are_not_the_pixels():
    assert np.abs(decode(dicom((RAMP.astype(np.uint16) * 16) | 0xF000, stored_bits=12)).astype(int) - RAMP).max() <= 1


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        pytest.param(dicom(RAMP, DeflatedExplicitVRLittleEndian), 415, "dicom_compression", id="deflated"),
        pytest.param(dicom(RAMP, JPEGBaseline8Bit, data=encapsulate([b"x"])), 415, "dicom_compression", id="JPEG"),
        pytest.param(dicom(RAMP, JPEG2000Lossless, data=encapsulate([b"x"])), 415, "dicom_compression", id="JPEG 2000"),
        pytest.param(dicom(RAMP, NumberOfFrames=2), 422, "several_frames", id="two frames"),
        pytest.param(dicom(RAMP, SamplesPerPixel=3), 415, "dicom_colour", id="colour"),
        pytest.param(dicom(RAMP, PhotometricInterpretation="RGB"), 415, "dicom_colour", id="RGB"),
        pytest.param(dicom(RAMP, PhotometricInterpretation=None), 415, "dicom_colour", id="no photometric"),
        pytest.param(dicom(RAMP, BitsAllocated=32), 415, "dicom_depth", id="32 bits"),
        pytest.param(dicom(RAMP, BitsStored=12), 422, "broken_image", id="12 of 8 bits"),
        pytest.param(dicom(RAMP, Rows=20000, Columns=20000), 413, "too_many_pixels", id="20000 x 20000"),
        pytest.param(dicom(RAMP, Rows=65), 422, "broken_image", id="one row too few"),
        pytest.param(dicom(RAMP, Rows=0), 422, "broken_image", id="no rows"),
        pytest.param(dicom(RAMP, Rows=60), 422, "broken_image", id="more rows than it says"),
        pytest.param(dicom(RAMP.astype(np.uint16), HighBit=11), 415, "dicom_depth", id="in the middle bits"),
        pytest.param(dicom(RAMP, PixelData=None), 422, "broken_image", id="no pixels"),
        pytest.param(dicom(RAMP)[:-100], 422, "broken_image", id="cut short in its pixels"),
        pytest.param(dicom(RAMP)[:300], 422, "broken_image", id="cut short in its head"),
        pytest.param(bytes(128) + b"DICM", 415, "dicom_compression", id="nothing but the mark"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_reason(served, body, status, reason):
    answer = served.post("/predict", content=body, headers={"Content-Type": "application/dicom"})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


@pytest.mark.parametrize("value", [b"nonsense", b"nan ", b"1e999 ", b"1\\" * 2000])
def test_numbers_that_are_none_are_refused(value):
    said = b"DS" + (8).to_bytes(2, "little") + b"12345678"
    body = dicom(RAMP, RescaleIntercept="12345678")
    assert said in body
    with pytest.raises(BadInput) as refused:
        decode(body.replace(said, b"DS" + len(value).to_bytes(2, "little") + value))
    assert refused.value.status == 422


def test_a_million_empty_elements_cost_no_time():
    body = bytearray(dicom(RAMP))
    empty = b"\x09\x00\x10\x00LO\x00\x00"
    at = body.index(b"\x10\x00\x10\x00PN")  # before the patient's name
    with pytest.raises(BadInput, match="too many elements"):
        decode(bytes(body[:at]) + empty * 1_000_000 + bytes(body[at:]))


def test_deeply_nested_sequences_are_refused():
    body = bytearray(dicom(RAMP))
    nested = b"\x10\x00\x02\x10SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    at = body.index(b"\x10\x00\x10\x00PN")
    with pytest.raises(BadInput):
        decode(bytes(body[:at]) + nested * 100_000)


def test_any_one_changed_byte_is_an_answer_or_a_refusal():
    rng, body = np.random.default_rng(5), dicom(RAMP, ImplicitVRLittleEndian, WindowCenter="128", WindowWidth="256")
    head = len(body) - RAMP.size
    for _ in range(1500):
        changed = bytearray(body)
        changed[rng.integers(128, head)] = rng.integers(256)
        try:
            assert decode(bytes(changed)).shape == (64, 64)
        except BadInput as refused:
            assert 400 <= refused.status < 500 and PATIENT not in str(refused)


def test_a_radiograph_gets_the_class_it_gets_as_a_png(served):
    for image in radiographs(6, 12):
        said = dicom(image.pixels.astype(np.uint16) * 16, stored_bits=12)
        answers = [
            served.post("/predict", content=body, headers={"Content-Type": kind}).json()
            for body, kind in ((said, "application/dicom"), (png(image.pixels), "image/png"))
        ]
        assert answers[0]["class"] == answers[1]["class"] == CLASSES[image.label]
        assert answers[0]["probability"] == pytest.approx(answers[1]["probability"], abs=0.05)


def test_neither_answers_nor_logs_repeat_what_a_file_says_in_words(served):
    for body in (dicom(RAMP)[:-100], dicom(RAMP)[:300], dicom(RAMP, PhotometricInterpretation=PATIENT[:16])):
        assert PATIENT not in served.post("/predict", content=body).text
    assert PATIENT not in served.log_path.read_text()
    assert served.log  # every line of it is JSON still


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_a_dataset_is_no_dicom_file():
    out = io.BytesIO()
    Dataset().save_as(out, implicit_vr=True, little_endian=True)
    with pytest.raises(BadInput) as refused:
        decode(out.getvalue() + bytes(500))
    assert refused.value.status == 415


def read_back(body: bytes) -> Dataset:
    return dcmread(io.BytesIO(body))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("stored_bits", [8, 10, 12, 16])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("garbage", [0, 0xF000], ids=["clean", "with bits above the stored ones"])
def test_stored_values_are_those_of_pydicoms_pixel_array(syntax, stored_bits, signed, garbage):
    kind = np.int16 if signed else np.uint16
    pixels = (RAMP.astype(np.uint16) << (stored_bits - 8) | (0 if stored_bits > 12 else garbage)).view(kind)
    body = dicom(pixels, syntax, stored_bits)
    seen, expected = dicom_files.read(body, MAX_PIXELS)[1], read_back(body).pixel_array
    assert seen.dtype == expected.dtype.newbyteorder("=") and (seen == expected).all()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("vr", ["OB", "OW"])
@pytest.mark.parametrize("columns", [64, 63])
def test_eight_bits_are_those_of_pydicoms_pixel_array_however_they_are_packed(syntax, vr, columns):
    pixels = np.ascontiguousarray(RAMP[:63, :columns])
    data = pixels.tobytes() + bytes(pixels.size % 2)
    if (syntax, vr) == (ExplicitVRBigEndian, "OW"):
        data = np.frombuffer(data, "<u2").astype(">u2").tobytes()
    body = dicom(pixels, syntax, data=data, pixel_vr=vr)
    seen = dicom_files.read(body, MAX_PIXELS)[1]
    assert (seen == read_back(body).pixel_array).all() and (seen == pixels).all()


def lut(descriptor: tuple[int, int, int], values: np.ndarray, order: str = "<") -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if descriptor[1] < 0 else "US", list(descriptor))
    item.add_new("LUTData", "OW", values.astype(f"{order}u2").tobytes())
    return [item]


ROOTS = np.sqrt(np.arange(4096) / 4095)
TWELVE, SIGNED = RAMP.astype(np.uint16) * 16, RAMP.astype(np.int16) * 16 - 2048
WINDOW = {"WindowCenter": "1500", "WindowWidth": "2000"}
GREYS = {  # pixels, the elements, and the range of what pydicom makes of them
    "LINEAR": (TWELVE, WINDOW, (0, 4095)),
    "LINEAR_EXACT": (TWELVE, WINDOW | {"VOILUTFunction": "LINEAR_EXACT"}, (0, 4095)),
    "SIGMOID": (TWELVE, WINDOW | {"VOILUTFunction": "SIGMOID"}, (0, 4095)),
    "a window wider than all": (TWELVE, {"WindowCenter": "2048", "WindowWidth": "20000"}, (0, 4095)),
    "several windows": (TWELVE, {"WindowCenter": ["1500", "9"], "WindowWidth": ["2000", "9"]}, (0, 4095)),
    "signed": (SIGNED, {"WindowCenter": "-300", "WindowWidth": "900"}, (-2048, 2047)),
    "rescaled": (TWELVE, WINDOW | {"RescaleSlope": "0.5", "RescaleIntercept": "-9"}, (-9, 2038.5)),
    "rescaled upside down": (TWELVE, WINDOW | {"RescaleSlope": "-1", "RescaleIntercept": "4095"}, (4095, 0)),
    "a VOI LUT": (TWELVE, {"VOILUTSequence": lut((4096, 0, 16), 65535 * ROOTS)}, (0, 65535)),
    "a VOI LUT of 12 bits": (TWELVE, {"VOILUTSequence": lut((4096, 0, 12), 4095 * ROOTS)}, (0, 4095)),
    "a VOI LUT of a part": (TWELVE, {"VOILUTSequence": lut((1000, 500, 16), np.arange(1000) * 65)}, (0, 65535)),
    "a VOI LUT from below zero": (SIGNED, {"VOILUTSequence": lut((4096, -2048, 16), 65535 * ROOTS)}, (0, 65535)),
    "a VOI LUT before a window": (TWELVE, WINDOW | {"VOILUTSequence": lut((4096, 0, 16), 65535 * ROOTS)}, (0, 65535)),
}  # fmt: skip


@pytest.mark.parametrize("name", GREYS)
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_greys_are_what_pydicom_makes_of_them(name, syntax, photometric):
    pixels, members, (black, white) = GREYS[name]
    body = dicom(pixels, syntax, 12, **members, PhotometricInterpretation=photometric)
    said = read_back(body)
    shown = apply_voi_lut(apply_modality_lut(said.pixel_array, said), said).astype(float)
    expected = 255 * ((shown - black) / (white - black)).clip(0, 1)
    expected = 255 - expected if photometric == "MONOCHROME1" else expected
    assert np.abs(decode(body) - expected).max() <= 1


def test_a_table_in_the_other_byte_order_is_the_same():
    here, there = (
        dicom(TWELVE, syntax, 12, VOILUTSequence=lut((4096, 0, 16), 65535 * ROOTS, order))
        for syntax, order in ((ExplicitVRLittleEndian, "<"), (ExplicitVRBigEndian, ">"))
    )
    assert (decode(here) == decode(there)).all()


@pytest.mark.parametrize(("value", "photometric"), [(65535, "MONOCHROME2"), (0, "MONOCHROME1"), (9000, "MONOCHROME2")])
def test_padding_decides_no_range_and_is_cut_off_where_it_is_a_border(value, photometric):
    pixels = (255 - RAMP if photometric == "MONOCHROME1" else RAMP).astype(np.uint16) * 16 + 100
    pixels[10:20, 30:40] = value
    plain = np.full((80, 70), value, np.uint16)
    plain[9:73, 2:66] = pixels
    shown = decode(dicom(plain, PixelPaddingValue=value, PhotometricInterpretation=photometric)).astype(int)
    assert (shown[10:20, 30:40] == 0).all()
    shown[10:20, 30:40] = RAMP[10:20, 30:40]
    assert np.abs(shown - RAMP).max() <= 3


def test_a_radiograph_with_a_padded_border_gets_the_class_that_it_has_without(served):
    for image in radiographs(6, 12):
        framed = np.pad(image.pixels.astype(np.uint16) * 16, 40, constant_values=65535)
        answer = served.post("/predict", content=dicom(framed, PixelPaddingValue=65535)).json()
        assert answer["class"] == CLASSES[image.label]


def test_padding_alone_is_no_picture():
    with pytest.raises(BadInput, match="all padding") as refused:
        decode(dicom(np.full((64, 64), 7, np.uint16), PixelPaddingValue=7))
    assert (refused.value.status, refused.value.reason) == (422, "no_content")


def test_padding_below_zero_is_found():
    pixels = np.pad(RAMP.astype(np.int16) * 8, ((0, 0), (8, 0)), constant_values=-2000)
    body = dicom(pixels, PixelPaddingValue=-2000)
    assert b"SS\x02\0\x30\xf8" in body
    assert np.abs(decode(body).astype(int) - RAMP).max() <= 3
    with pytest.raises(BadInput, match="PixelPaddingValue"):  # without its sign
        decode(body.replace(b"SS\x02\0\x30\xf8", b"US\x02\0\x30\xf8"))


def test_no_single_pixel_decides_the_range_where_there_is_no_window():
    pixels = TWELVE.copy()
    pixels[3, 3:6] = 65535
    shown = decode(dicom(pixels)).astype(int)
    assert (shown[3, 3:6] == 255).all()
    shown[3, 3:6] = RAMP[3, 3:6]
    assert np.abs(shown - RAMP).max() <= 1


FULL = {"WindowCenter": "128", "WindowWidth": "256"}
NOTHING = [Dataset()]
NOT_UNDERSTOOD = {
    "stored as in a mirror": {"PatientOrientation": ["R", "F"]},
    "head down": {"PatientOrientation": ["L", "H"]},
    "on its side": {"PatientOrientation": ["F", "L"]},
    "on its side, the other way": {"PatientOrientation": ["H", "R"]},
    "from the side": {"PatientOrientation": ["A", "F"]},
    "one direction": {"PatientOrientation": "L"},
    "directions that are none": {"PatientOrientation": ["X", "Y"]},
    "left and right": {"PatientOrientation": ["L", "R"]},
    "one side": {"ImageLaterality": "L"},
    "to be turned": {"ImageRotation": 90},
    "to be mirrored": {"ImageHorizontalFlip": "Y"},
    "mirrored, and nothing says where the patient's left is": {"FieldOfViewHorizontalFlip": "YES"},
    "turned, and nothing says where the head is": {"FieldOfViewRotation": "90"},
    "directions that are numbers": {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
    "a view from the side": {"ViewPosition": "LL"},
    "for processing": {"PresentationIntentType": "FOR PROCESSING"},
    "in colours beside": {"PixelPresentation": "MIXED"},
    "a shape that contradicts": {"PresentationLUTShape": "INVERSE"},
    "a shape of its own": {"PresentationLUTShape": "LIN OD"},
    "a presentation LUT": {"PresentationLUTSequence": lut((256, 0, 8), np.arange(256))},
    "functional groups": {"SharedFunctionalGroupsSequence": NOTHING},
    "a mask": {"MaskSubtractionSequence": NOTHING},
    "a shutter": {"ShutterShape": "RECTANGULAR"},
    "a slope without intercept": {"RescaleSlope": "2"},
    "an intercept without slope": {"RescaleIntercept": "2"},
    "a centre without width": {"WindowCenter": "128"},
    "a width without centre": {"WindowWidth": "128"},
    "another window function": FULL | {"VOILUTFunction": "GAMMA"},
    "a window too narrow": {"WindowCenter": "128", "WindowWidth": "0.5"},
    "a modality LUT": {"ModalityLUTSequence": lut((256, 0, 16), np.arange(256))},
    "a table cut short": {"VOILUTSequence": lut((4096, 0, 16), np.arange(4000))},
    "a table of 9 bits": {"VOILUTSequence": lut((256, 0, 9), np.arange(256))},
    "a table of 8 bits that pydicom would take modulo 256": {"VOILUTSequence": lut((512, 0, 8), np.arange(512) // 2)},
    "a table without data": {"VOILUTSequence": NOTHING},
    "padding beyond what can be stored": {"PixelPaddingValue": 300},
    "a range of padding": {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 3},
}  # fmt: skip


@pytest.mark.parametrize("members", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_what_decides_greys_or_orientation_and_is_not_understood_is_refused_by_its_name(members):
    with pytest.raises(BadInput) as refused:
        decode(dicom(RAMP, **members))
    assert refused.value.status == 415
    assert refused.value.reason in ("greys_not_understood", "orientation_not_understood")
    assert any(name in refused.value.detail for name in members)


USUAL = {
    "a frontal picture as it is stored": {
        "PatientOrientation": ["L", "F"], "ImageLaterality": "U", "PresentationIntentType": "FOR PRESENTATION",
        "PresentationLUTShape": "IDENTITY", "FieldOfViewHorizontalFlip": "YES", "FieldOfViewRotation": "90",
        "PixelPresentation": "MONOCHROME", "ImageRotation": 0, "ImageHorizontalFlip": "N", "ViewPosition": "PA",
        "ImageOrientationPatient": [1, 0, 0, 0, 0, -1],
    },
    "directions between two": {"PatientOrientation": ["LF", "FR"]},
    "inverted, in other words": {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    "what says nothing": {
        "PatientOrientation": [], "ImageLaterality": "", "VOILUTSequence": [], "PixelPaddingValue": None,
        "WindowCenter": "128", "WindowWidth": "256", "RescaleSlope": None, "VOILUTFunction": "",
    },
    "no turn of the detector": {"FieldOfViewHorizontalFlip": "NO", "FieldOfViewRotation": "0.0"},
}  # fmt: skip


@pytest.mark.parametrize("members", USUAL.values(), ids=USUAL)
def test_what_says_the_usual_changes_nothing(members):
    given = {name: value for name, value in members.items() if value is not None}
    empty = [name for name, value in members.items() if value is None]
    body = dicom(RAMP, empty=empty, **FULL | given)
    shown = decode(body).astype(int)
    expected = 255 - RAMP if members.get("PhotometricInterpretation") else RAMP
    assert np.abs(shown - expected).max() <= 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RescaleSlope", "0"), ("RescaleSlope", "1e-30"), ("RescaleSlope", "1e300"), ("RescaleIntercept", "-1e30"),
        ("WindowWidth", "0"), ("WindowWidth", "1e-9"), ("WindowCenter", "1e99"),
    ],
)  # fmt: skip
def test_numbers_that_no_detector_gives_are_refused_by_their_name(name, value):
    whole = {"RescaleSlope": "1", "RescaleIntercept": "0", **FULL}
    with pytest.raises(BadInput, match=name) as refused:
        decode(dicom(RAMP, **whole | {name: value}))
    assert (refused.value.status, refused.value.reason) == (422, "broken_image")


def test_a_picture_of_hardly_any_greys_is_not_stretched():
    with pytest.raises(BadInput) as refused:
        decode(dicom(RAMP.astype(np.uint16) // 20 + 3000))
    assert (refused.value.status, refused.value.reason) == (422, "no_content")


def test_names_of_character_sets_are_not_looked_up():
    """To look one up costs a search on the disk, and stays in memory."""
    names = b"\\".join(b"q%dq" % i for i in range(5000))
    element = b"\x08\0\x05\0" + len(names).to_bytes(4, "little") + names
    begin, end = b"\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    nested = b"\x08\0\x40\x11" + begin + element + end  # in an item of ReferencedImageSequence
    body = dicom(RAMP, ImplicitVRLittleEndian, **FULL)
    first, patient = body.index(b"\x08\0\x16\0"), body.index(b"\x10\0\x10\0")
    whole = body[:first] + element + body[first:patient] + nested + body[patient:]
    assert np.abs(decode(whole).astype(int) - RAMP).max() <= 1
    assert not [name for name in encodings._cache if name.startswith("q") and name.endswith("q")]


def test_the_items_of_a_sequence_are_bounded():
    body = bytearray(dicom(RAMP))
    at = body.index(b"\xe0\x7f\x10\0OB")
    items = b"\xfe\xff\0\xe0\0\0\0\0" * 60_000
    tag = b"\x28\0\x10\x30SQ\0\0" + len(items).to_bytes(4, "little")  # VOILUTSequence
    with pytest.raises(BadInput) as refused:
        decode(bytes(body[:at]) + tag + items + bytes(body[at:]))
    assert refused.value.status == 422
