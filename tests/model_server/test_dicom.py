"""DICOM files as detectors and archives write them, and as attackers do."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
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
from model_server.inference.images import decode
from model_server.training.radiographs import CLASSES, radiographs

PATIENT = "Doe^Jane"


def dicom(
    pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, stored_bits: int = 0, data: bytes | None = None, **members
) -> bytes:
    """A file with the pixels given; `members` are set last, so that they can also be wrong."""
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
    said["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    for name, value in members.items():
        if value is None:
            delattr(said, name)
        else:
            setattr(said, name, value)
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
        pytest.param(RAMP, {"WindowCenter": "128", "WindowWidth": "0"}, id="a window of nothing is none"),
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


def test_jpeg_inside_is_read_small_and_in_full_range():
    image = next(radiographs(1, 11, 512))
    said = dicom(image.pixels, JPEGBaseline8Bit, data=encapsulate([image.jpeg(95)]))
    shown, plain = decode(said), decode(png(image.pixels))
    assert shown.shape == (64, 64) and np.corrcoef(shown.ravel(), plain.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        pytest.param(dicom(RAMP, DeflatedExplicitVRLittleEndian), 415, "dicom_compression", id="deflated"),
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
        pytest.param(dicom(RAMP, PixelData=None), 422, "broken_image", id="no pixels"),
        pytest.param(dicom(RAMP)[:-100], 422, "broken_image", id="cut short in its pixels"),
        pytest.param(dicom(RAMP)[:300], 422, "broken_image", id="cut short in its head"),
        pytest.param(bytes(128) + b"DICM", 415, "dicom_compression", id="nothing but the mark"),
        pytest.param(dicom(RAMP, JPEGBaseline8Bit, data=encapsulate([b"no jpeg"])), 422, "broken_image", id="no JPEG"),
        pytest.param(
            dicom(np.zeros((9, 9), np.uint8), JPEGBaseline8Bit, data=encapsulate([next(radiographs(1, 1)).jpeg()])),
            422,
            "broken_image",
            id="another JPEG than it says",
        ),
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


def test_a_jpeg_inside_of_a_thousand_scans_is_refused():
    out = io.BytesIO()
    Image.fromarray(RAMP).save(out, "JPEG", progressive=True)
    jpeg = out.getvalue()
    many = jpeg[:-2] + jpeg[jpeg.rindex(b"\xff\xda") : -2] * 1000 + jpeg[-2:]
    with pytest.raises(BadInput, match="scans"):
        decode(dicom(RAMP, JPEGBaseline8Bit, data=encapsulate([many])))


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
