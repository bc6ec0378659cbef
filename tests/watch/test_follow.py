"""Files that a service writes are copied while they are rotated, truncated or replaced."""

import os
import shutil
import time

import pytest

from harness.watch.follow import Follower, following


@pytest.fixture
def told():
    return []


@pytest.fixture
def follower(tmp_path, told):
    (tmp_path / "x.log").write_bytes(b"before the run\n")
    return Follower(
        tmp_path / "x.log", tmp_path / "copy", lambda name, outcome, **about: told.append((name, outcome, about))
    )


def add(path, text):
    with open(path, "ab") as file:
        file.write(text)


def copied(tmp_path):
    return (tmp_path / "copy").read_bytes()


def test_what_is_appended_is_copied_and_what_was_there_before_is_not(tmp_path, follower, told):
    add(tmp_path / "x.log", b"1\n2")
    follower.look()
    add(tmp_path / "x.log", b"\n")
    follower.look()
    assert (copied(tmp_path), told) == (b"1\n2\n", [])


def test_a_file_that_comes_later_is_copied_whole(tmp_path, told):
    follower = Follower(tmp_path / "late", tmp_path / "copy", lambda *_, **__: told.append(1))
    follower.look()
    assert not (tmp_path / "copy").exists()
    add(tmp_path / "late", b"1\n")
    follower.look()
    assert (copied(tmp_path), told) == (b"1\n", [])


def test_one_that_is_renamed_and_begun_anew_is_followed(tmp_path, follower, told):
    add(tmp_path / "x.log", b"1\n")
    follower.look()
    add(tmp_path / "x.log", b"2\n")
    os.rename(tmp_path / "x.log", tmp_path / "x.log.1")
    follower.look()  # there is no new one yet, and its writer goes on with the old one
    add(tmp_path / "x.log.1", b"3\n")
    add(tmp_path / "x.log", b"4\n")
    follower.look()
    add(tmp_path / "x.log", b"5\n")
    follower.look()
    assert copied(tmp_path) == b"1\n2\n3\n4\n5\n"
    assert [one[:2] for one in told] == [("rotated", "ok")]


def test_one_that_is_copied_and_truncated_loses_nothing_where_the_copy_lies_beside_it(tmp_path, follower, told):
    add(tmp_path / "x.log", b"1\n")
    follower.look()
    add(tmp_path / "x.log", b"2\n")
    (tmp_path / "x.log.0").write_bytes(b"another, and longer than the file of today")
    shutil.copy(tmp_path / "x.log", tmp_path / "x.log.1")
    os.truncate(tmp_path / "x.log", 0)
    add(tmp_path / "x.log", b"3\n")
    follower.look()
    assert copied(tmp_path) == b"1\n2\n3\n"
    assert [(*one[:2], one[2]["copy"]) for one in told] == [("truncated", "ok", "x.log.1")]


@pytest.mark.parametrize("after", [b"3\n", b"a line that is longer than all that was there before\n"])
def test_one_that_is_truncated_is_said_to_be(tmp_path, follower, told, after):
    add(tmp_path / "x.log", b"1\n")
    follower.look()
    os.truncate(tmp_path / "x.log", 0)
    add(tmp_path / "x.log", after)
    follower.look()
    assert copied(tmp_path) == b"1\n" + after
    assert [one[:2] for one in told] == [("truncated", "unknown")]


def test_a_named_pipe_or_a_folder_is_said_to_be_none_and_waits_for_nobody(tmp_path, told):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        follower = Follower(tmp_path / name, tmp_path / "copy", lambda *said, **about: told.append((*said, about)))
        follower.look()
    assert [(one[0], one[2]["problem"]) for one in told] == [("unreadable", "it is no regular file")] * 2


def test_until_the_block_ends_all_is_copied(tmp_path, told):
    with following({tmp_path / "copy": tmp_path / "x"}, lambda *_, **__: None):
        add(tmp_path / "x", b"1\n")
        give_up = time.monotonic() + 20
        while not (tmp_path / "copy").exists():
            assert time.monotonic() < give_up
            time.sleep(0.02)
        add(tmp_path / "x", b"2\n")
    assert copied(tmp_path) == b"1\n2\n"
