"""Parts of the server that need no server: settings, feedback."""

import asyncio
import os

import pytest

from model_server import settings
from model_server.inference.feedback import Feedback


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    """The settings of whoever runs the tests are not theirs."""
    for name in os.environ:
        if name.startswith((settings.PREFIX, "OTEL_")):
            monkeypatch.delenv(name)


def test_a_flag_beats_the_environment_which_beats_the_default(monkeypatch):
    monkeypatch.setenv("MODEL_SERVER_MAX_BATCH", "5")
    monkeypatch.setenv("MODEL_SERVER_MAX_QUEUE", "7")
    read = settings.read(["--max-queue", "9"])
    assert (read.max_batch, read.max_queue, read.max_wait_ms) == (5, 9, 2.0)


@pytest.mark.parametrize(
    "flags",
    [
        ["--max-queue", "0"],
        ["--deadline-s", "nan"],
        ["--deadline-s", "inf"],
        ["--deadline-s", "1e300"],
        ["--database", "sqlite:///"],
        ["--max-wait-ms", "-5"],
        ["--max-wait-ms", "nan"],
        ["--max-wait-ms", "inf"],
        ["--stop-after-s", "-1"],
        ["--port", "-1"],
        ["--port", "65536"],
        ["--log-level", "LOUD"],
        ["--colour"],
        ["--metrics", "yes"],
        ["--precision", "int8"],
        ["--unready-after-failures", "0"],
        ["--dead-after-failures", "0"],
        ["--canary-every-s", "0"],
        ["--trace-ratio", "1.5"],
        ["--trace-ratio", "nan"],
        ["--otlp-endpoint", "collector:4318"],
    ],
)
def test_a_wrong_setting_ends_with_usage(flags, capsys):
    with pytest.raises(SystemExit) as ended:
        settings.read(flags)
    assert ended.value.code == 2 and flags[0].lstrip("-") in capsys.readouterr().err


@pytest.mark.parametrize("url", ["mysql://x:secret@h/d", "secret", "sqlite:/secret"])
def test_a_database_of_another_kind_is_a_usage_error_that_shows_no_password(url, monkeypatch, capsys):
    monkeypatch.setenv("MODEL_SERVER_DATABASE", url)
    with pytest.raises(SystemExit) as ended:
        settings.read([])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "--database: not postgresql://" in said and "secret" not in said


def test_a_wrong_environment_variable_ends_with_usage(monkeypatch, capsys):
    monkeypatch.setenv("MODEL_SERVER_PORT", "eighty")
    with pytest.raises(SystemExit):
        settings.read([])
    assert "--port: " in capsys.readouterr().err


def test_white_space_around_a_setting_means_nothing(monkeypatch):
    """A value from a file ends in a line feed."""
    monkeypatch.setenv("MODEL_SERVER_PORT", " 80\n")
    monkeypatch.setenv("MODEL_SERVER_AUTH", "off\n")
    monkeypatch.setenv("MODEL_SERVER_DATABASE", " off ")
    monkeypatch.setenv("MODEL_SERVER_KEYS", "\tkeys.json ")
    read = settings.read(["--max-batch", " 5 "])
    assert (read.port, read.auth, read.database, str(read.keys), read.max_batch) == (80, "off", "off", "keys.json", 5)


def test_an_empty_variable_is_none(monkeypatch):
    """As compose.yaml makes one of `${MAX_BATCH:-}`; an empty host would be every address of the machine."""
    for name, nothing in (("HOST", ""), ("PORT", " "), ("MAX_BATCH", "\n"), ("DATABASE", "")):
        monkeypatch.setenv(settings.PREFIX + name, nothing)
    read = settings.read([])
    assert (read.host, read.port, read.max_batch, read.database) == ("127.0.0.1", 8000, 32, "")


def test_what_looks_like_a_setting_and_is_none_is_named(monkeypatch):
    for name in ("MAX_BACH", "MAX_BATCH", "AUDIT_KEY", "SERVICE_HOST"):
        monkeypatch.setenv(settings.PREFIX + name, "5")
    assert settings.unknown() == ["MODEL_SERVER_MAX_BACH", "MODEL_SERVER_SERVICE_HOST"]


def serving(**options: int) -> Feedback:
    feedback = Feedback(**options)
    feedback.serves("1.0.0")
    return feedback


def label(feedback: Feedback, request_id: str, truth: int) -> bool:
    return asyncio.run(feedback.label(truth, request_id=request_id))


def test_accuracy_is_of_the_window_and_forgets_the_oldest():
    feedback = serving(remembered=3, window=2, enough=2)
    for i in range(4):
        feedback.remember(f"p{i}", f"r{i}", 1, "1.0.0", 0.9)
    with pytest.raises(KeyError):
        label(feedback, "r0", 1)  # forgotten: only three are remembered
    assert label(feedback, "r1", 0) is False and feedback.accuracy is None
    assert label(feedback, "r2", 1) is True and feedback.accuracy == 0.5
    with pytest.raises(KeyError):
        label(feedback, "r2", 1)  # labelled
    assert label(feedback, "r3", 1) is True and feedback.accuracy == 1.0


def test_precision_and_recall_are_absent_where_nothing_is_to_be_shared():
    feedback = serving(window=4, enough=2)
    feedback.begin([("a", 0, 0), ("b", 0, 0)])
    assert (feedback.accuracy, feedback.precision, feedback.recall) == (1, None, None)
    feedback.begin([("a", 1, 1), ("b", 1, 0), ("c", 0, 1), ("d", 1, 1)])
    assert (feedback.accuracy, feedback.precision, feedback.recall) == (0.5, 2 / 3, 2 / 3)
    feedback.remember("e", "r", 0, "1.0.0", 0.9)
    assert label(feedback, "r", 1) is False  # in the window it takes the place of the first from before
    assert (feedback.accuracy, feedback.precision, feedback.recall) == (0.25, 0.5, 1 / 3)


def test_precision_is_of_those_predicted_positive_and_recall_of_those_that_are():
    feedback = serving(enough=4)
    for i, (predicted, truth) in enumerate([(1, 1), (1, 0), (1, 0), (0, 1), (0, 0)]):
        feedback.remember(f"p{i}", f"r{i}", predicted, "1.0.0", 0.9)
        label(feedback, f"r{i}", truth)
    assert (feedback.accuracy, feedback.precision, feedback.recall) == (0.4, 1 / 3, 0.5)


def test_labels_for_another_model_are_answered_and_do_not_count():
    feedback = serving(enough=1)
    feedback.remember("p1", "old", 1, "0.9.0", 0.9)
    feedback.remember("p2", "new", 1, "1.0.0", 0.9)
    assert label(feedback, "old", 0) is False and feedback.accuracy is None
    assert label(feedback, "new", 1) is True and feedback.accuracy == 1


def test_a_label_that_came_before_the_database_answered_counts_once():
    feedback = serving(enough=1)
    feedback.remember("p2", "r", 1, "1.0.0", 0.9)
    label(feedback, "r", 0)
    feedback.begin([("p1", 1, 1), ("p2", 1, 0)])  # by then it was written
    assert feedback.accuracy == 0.5
