"""Parts of the server that need no server: settings, logs, feedback."""

import json
import os

import pytest

from model_server import logs, settings
from model_server.feedback import Feedback


def test_a_flag_beats_the_environment_which_beats_the_default():
    environ = {"MODEL_SERVER_MAX_BATCH": "5", "MODEL_SERVER_MAX_QUEUE": "7"}
    read = settings.read(["--max-queue", "9"], environ)
    assert (read.max_batch, read.max_queue, read.max_wait_ms) == (5, 9, 2.0)


@pytest.mark.parametrize(
    "flags", [["--max-queue", "0"], ["--deadline-s", "nan"], ["--log-level", "LOUD"], ["--colour"]]
)
def test_a_wrong_setting_ends_with_usage(flags, capsys):
    with pytest.raises(SystemExit) as ended:
        settings.read(flags, {})
    assert ended.value.code == 2 and flags[0].lstrip("-") in capsys.readouterr().err


def test_a_wrong_environment_variable_ends_with_usage(capsys):
    with pytest.raises(SystemExit):
        settings.read([], {"MODEL_SERVER_PORT": "eighty"})
    assert "--port" in capsys.readouterr().err


def test_a_reader_that_stalls_costs_lines_and_never_time():
    reading, writing = os.pipe()
    lines = logs.Lines(writing, limit=100)
    for _ in range(2000):
        lines.put("x" * 999 + "\n")  # two megabytes into a pipe that holds 64 KiB
    assert lines.lost > 1000
    os.close(reading)
    lines.close()
    os.close(writing)


def test_a_line_has_the_guides_fields_and_the_rest_as_context():
    line = json.loads(logs.shape(None, "warning", {"event": "Slow", "request_id": "r1", "took_s": 2}))
    assert line.pop("timestamp").endswith("Z") and line.pop("version")
    assert line == {
        "level": "WARN", "service": "pneumonia-detector", "trace_id": None, "span_id": None, "request_id": "r1",
        "message": "Slow", "context": {"took_s": 2},
    }  # fmt: skip


def test_accuracy_is_of_the_window_and_forgets_the_oldest():
    feedback = Feedback(remembered=3, window=2, enough=2)
    for i in range(4):
        feedback.remember(f"r{i}", 1)
    with pytest.raises(KeyError):
        feedback.label("r0", 1)  # forgotten: only three are remembered
    assert feedback.label("r1", 0) is False and feedback.accuracy is None
    assert feedback.label("r2", 1) is True and feedback.accuracy == 0.5
    assert feedback.label("r3", 1) is True and feedback.accuracy == 1.0
