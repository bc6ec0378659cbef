"""One JSON object a line, nothing of what was sent in it, and nobody who waits for it."""

import base64
import fcntl
import io
import json
import logging
import os
import warnings

import pytest
import structlog
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from model_server.telemetry import logs
from model_server.telemetry.correlation import IDS


class Kept:
    """Takes lines as `Lines` does, and keeps what they say."""

    def __init__(self):
        self.lines = []

    def put(self, level, line):
        self.lines.append(json.loads(line))

    debug = info = warning = error = critical = put


@pytest.fixture
def kept():
    """What is logged in this process from now on."""
    kept, showwarning = Kept(), warnings.showwarning
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield logs.configure("INFO", kept).lines
    structlog.reset_defaults()
    warnings.showwarning = showwarning
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in logs.QUOTE_DATA:
        logging.getLogger(name).propagate = True


def line(n: int = 0) -> bytes:
    return json.dumps({"message": "x" * 900, "n": n}).encode() + b"\n"


def test_a_line_has_the_guides_fields_and_the_rest_as_context(kept):
    structlog.get_logger().warning("Slow", request_id="r1", took_s=2)
    (line,) = kept
    assert line.pop("timestamp").endswith("Z") and line.pop("version")
    assert line == {
        "level": "WARN", "service": "pneumonia-detector", "trace_id": None, "span_id": None, "request_id": "r1",
        "message": "Slow", "context": {"deployment": "none", "took_s": 2},
    }  # fmt: skip


def test_a_line_inside_a_request_has_its_ids_unasked(kept):
    token = IDS.set({"trace_id": "t", "span_id": "s", "request_id": "r"})
    structlog.get_logger().info("Inside")
    IDS.reset(token)
    structlog.get_logger().info("Outside")
    assert [(x["trace_id"], x["span_id"], x["request_id"]) for x in kept] == [("t", "s", "r"), (None, None, None)]


@pytest.mark.parametrize(
    ("method", "level"),
    [("debug", None), ("info", "INFO"), ("warning", "WARN"), ("error", "ERROR"), ("exception", "ERROR")],
)
def test_levels_are_the_guides(kept, method, level):
    getattr(structlog.get_logger(), method)("x")
    assert [line["level"] for line in kept] == ([level] if level else [])


def test_an_error_says_where_it_came_from_and_not_what_it_was_given(kept):
    try:
        try:
            int("DOE^JANE")
        except ValueError as error:
            raise OSError(28, "No space left on device") from error
    except OSError:
        structlog.get_logger().exception("Failed")
    told = kept[0]["context"]["exception"]
    assert "DOE" not in told.replace('int("DOE^JANE")', "") and "\nValueError\nthen\n" in told
    assert told.endswith("OSError: [Errno 28] No space left on device") and "test_logs.py" in told


def test_libraries_log_the_same_way_but_those_that_quote_what_they_read(kept):
    logging.getLogger("uvicorn.error").error("Port in use")
    logging.getLogger("pydicom").error("PatientName DOE^JANE is wrong")
    logging.getLogger("PIL.PngImagePlugin").error("chunk DOE^JANE")
    warnings.warn("the value DOE^JANE is wrong", UserWarning, stacklevel=1)
    assert [(x["message"], x["level"]) for x in kept] == [("Port in use", "ERROR"), ("A library warns", "WARN")]
    assert kept[0]["context"]["logger"] == "uvicorn.error" and kept[1]["context"]["kind"] == "UserWarning"


@pytest.mark.parametrize(
    ("record", "message", "level"),
    [
        ({"msg": "%d of %s", "args": ("DOE^JANE",)}, "%d of %s", "WARN"),  # arguments that do not fit
        ({"msg": "x", "exc_info": (None, None, None)}, "x", "WARN"),  # outside of any except
        ({"msg": "x", "levelno": 37}, "x", "WARN"),
        ({"msg": "x", "levelno": 99}, "x", "ERROR"),
        ({"msg": ValueError("x")}, "x", "WARN"),
    ],
)
def test_a_librarys_odd_line_is_a_line_and_ends_nothing(kept, record, message, level):
    logs.Forward().handle(logging.makeLogRecord({"levelno": logging.WARNING, "name": "library"} | record))
    assert [(line["message"], line["level"], line["context"]) for line in kept] == [
        (message, level, {"deployment": "none", "logger": "library"})
    ]


def test_a_reader_that_stalls_costs_lines_and_never_time():
    reading, writing = os.pipe()
    lines = logs.Lines(writing, limit=100)
    for _ in range(2000):
        lines.put("INFO", line())  # two megabytes into a pipe that holds 64 KiB
    assert lines.lost > 1000 and lines.made["INFO"] == 2000
    os.close(reading)
    lines.close()
    os.close(writing)


def test_each_line_is_written_or_counted_as_lost():
    reading, writing = os.pipe()
    lines = logs.Lines(writing, limit=1000)
    for n in range(200):
        lines.put("INFO", line(n))
    got = os.read(reading, 30_000)
    os.close(reading)  # in the middle of a line
    lines.close()
    os.close(writing)
    whole = got.count(b"\n")
    assert 0 < whole < 200 and lines.lost <= 200 - whole  # what lay in the pipe was written, and is nobody's to count
    assert lines.lost > 0 and [json.loads(x)["n"] for x in got.splitlines()[:whole]] == list(range(whole))


def test_a_server_whose_log_nobody_reads_goes_on_and_counts_what_it_drops(serve, corpus):
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # full after a dozen lines
    few = "import model_server.telemetry.logs as l\nl.Lines.__init__.__defaults__ = (1, 50)"
    with serve(defect=few, stdout=writing) as client:

        def dropped():
            answers = [client.post("/predict", content=corpus[0][0]) for _ in range(20)]
            assert {answer.status_code for answer in answers} == {200}
            return client.metric("log_lines_dropped_total")

        client.until(dropped)
        assert client.metric("log_lines_total", level="INFO") > 50
        assert client.get("/health/ready").status_code == 200
    os.close(reading)
    os.close(writing)


NAME, BIRTHDAY = "DOE^JANE", "19501212"
SECRET = b"RECOGNISABLE-PIXELS"


def pictures() -> dict[str, bytes]:
    """Bodies that say whose they are, good and bad."""
    about, out = PngInfo(), io.BytesIO()
    about.add_text("PatientName", f"{NAME} {BIRTHDAY}")
    image = Image.frombytes("L", (19, 40), SECRET * 40)
    image.save(out, "PNG", pnginfo=about, compress_level=0)
    dicom = b"\0" * 128 + b"DICM" + b"\x10\x00\x10\x00PN\x08\x00" + NAME.encode() + b"\x10\x00\x30\x00DA\x08\x00"
    return {
        "good": out.getvalue(), "cut": out.getvalue()[:-40], "dicom-like": dicom + BIRTHDAY.encode() + SECRET * 9,
        "text": f"{NAME} {BIRTHDAY}".encode() + SECRET, "chunk": b"\x89PNG\r\n\x1a\n" + NAME.encode() + SECRET,
    }  # fmt: skip


QUOTING = """
import logging, sys, model_server.http.app
real = model_server.inference.images.decode
def quoting(body, *more, **options):
    if b"a library quotes" in body:
        logging.getLogger("PIL.Image").error(repr(body))
        raise ValueError(f"cannot use {body!r}")
    return real(body, *more, **options)
for module in list(sys.modules.values()):
    if getattr(module, "decode", None) is real:
        module.decode = quoting
"""


def test_neither_image_nor_patient_is_ever_in_the_log(serve):
    with serve("--log-level", "DEBUG", defect=QUOTING) as client:
        statuses = set()
        for body in pictures().values():
            for headers in ({}, {"Content-Type": "application/dicom"}, {"X-Patient": NAME, "X-Request-ID": NAME}):
                statuses.add(client.post(f"/predict?patient={NAME}", content=body, headers=headers).status_code)
                client.post(f"/{NAME}/{BIRTHDAY}", content=body, headers=headers)
        quoted = pictures()["good"] + b"a library quotes " + NAME.encode()
        statuses.add(client.post("/predict", content=quoted).status_code)
        client.post("/feedback", content=f'{{"request_id": "{NAME}", "label": "{BIRTHDAY}"}}')
        client.post("/feedback", content=f'{{"{NAME}": ')
        client.process.terminate()
        client.process.wait(60)
        written = client.log_path.read_bytes()
    assert {200, 415, 422, 500} <= statuses and b"ValueError" in written
    for telling in (NAME.encode(), b"DOE", BIRTHDAY.encode(), SECRET[:8], base64.b64encode(SECRET)[:12]):
        assert telling not in written
