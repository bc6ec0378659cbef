"""Parts of the server that need no server: settings, feedback."""

import pytest

from model_server import settings
from model_server.feedback import Feedback


def test_a_flag_beats_the_environment_which_beats_the_default():
    environ = {"MODEL_SERVER_MAX_BATCH": "5", "MODEL_SERVER_MAX_QUEUE": "7"}
    read = settings.read(["--max-queue", "9"], environ)
    assert (read.max_batch, read.max_queue, read.max_wait_ms) == (5, 9, 2.0)


@pytest.mark.parametrize(
    "flags",
    [
        ["--max-queue", "0"],
        ["--deadline-s", "nan"],
        ["--log-level", "LOUD"],
        ["--colour"],
        ["--metrics", "yes"],
        ["--trace-ratio", "1.5"],
        ["--trace-ratio", "nan"],
        ["--otlp-endpoint", "collector:4318"],
    ],
)
def test_a_wrong_setting_ends_with_usage(flags, capsys):
    with pytest.raises(SystemExit) as ended:
        settings.read(flags, {})
    assert ended.value.code == 2 and flags[0].lstrip("-") in capsys.readouterr().err


def test_a_wrong_environment_variable_ends_with_usage(capsys):
    with pytest.raises(SystemExit):
        settings.read([], {"MODEL_SERVER_PORT": "eighty"})
    assert "--port" in capsys.readouterr().err


def test_accuracy_is_of_the_window_and_forgets_the_oldest():
    feedback = Feedback(remembered=3, window=2, enough=2)
    for i in range(4):
        feedback.remember(f"r{i}", 1)
    with pytest.raises(KeyError):
        feedback.label("r0", 1)  # forgotten: only three are remembered
    assert feedback.label("r1", 0) is False and feedback.accuracy is None
    assert feedback.label("r2", 1) is True and feedback.accuracy == 0.5
    assert feedback.label("r3", 1) is True and feedback.accuracy == 1.0


def test_precision_is_of_those_predicted_positive_and_recall_of_those_that_are():
    feedback = Feedback(enough=4)
    for i, (predicted, truth) in enumerate([(1, 1), (1, 0), (1, 0), (0, 1), (0, 0)]):
        feedback.remember(f"r{i}", predicted)
        feedback.label(f"r{i}", truth)
    assert (feedback.accuracy, feedback.precision, feedback.recall) == (0.4, 1 / 3, 0.5)


def test_of_a_class_that_never_came_nothing_is_said():
    feedback = Feedback(enough=1)
    feedback.remember("r", 0)
    feedback.label("r", 0)
    assert (feedback.accuracy, feedback.precision, feedback.recall) == (1, None, None)
