"""No single edit of an audit log goes unseen, and what is found is said with its line."""

import hashlib
import hmac
import io
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from model_server.audit.__main__ import main
from model_server.audit.chain import TORN, Chain, Head
from model_server.audit.verify import head_path, verify

KEY = b"k" * 32


def logged(count: int, key: bytes = KEY, **first) -> tuple[list[bytes], bytes]:
    """The lines and the head file's content of a log with so many records."""
    chain = Chain(key)
    head, lines = chain.start, []
    for i in range(count):
        fields = {"event_type": "prediction", "principal": "wärd\n3", "user_agent": '", "mac": "' + "0" * 64 + '"}'}
        line, head = chain.line(head, fields | {"request_id": f"r{i}"} | (first if i == 0 else {}))
        lines.append(line)
    return lines, chain.head(head)


def found(lines: list[bytes], head: bytes | None, **more) -> list[tuple[int, str]]:
    report = verify(io.BytesIO(b"".join(lines)), head, KEY, **more)
    return report.broken + report.unclear


LINES, HEAD = logged(6)
TEXT = b"".join(LINES)


@pytest.mark.parametrize("count", [0, 1, 6])
def test_an_untouched_log_is_whole(count):
    lines, head = logged(count)
    report = verify(lines, head, KEY)
    assert report.records == count and not report.broken + report.unclear + report.notes


@given(st.integers(0, len(TEXT) - 1), st.integers(0, 255))
def test_any_one_changed_byte_is_found(at, byte):
    assume(TEXT[at] != byte)
    assert found([TEXT[:at] + bytes([byte]) + TEXT[at + 1 :]], HEAD)


@given(st.integers(0, len(TEXT)), st.binary(min_size=1, max_size=5))
def test_any_inserted_bytes_are_found(at, more):
    assert found([TEXT[:at] + more + TEXT[at:]], HEAD)


@given(st.integers(0, len(TEXT)), st.integers(1, len(TEXT)))
def test_any_cut_is_found_at_the_end_too(at, size):
    assume(at < len(TEXT))
    assert found([TEXT[:at] + TEXT[at + size :]], HEAD)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_any_moved_swapped_or_repeated_line_is_found(a, b, c):
    moved, swapped, repeated = ([*LINES] for _ in range(3))
    moved.insert(b, moved.pop(a))
    swapped[a], swapped[b] = swapped[b], swapped[a]
    repeated.insert(b, LINES[c])
    for edited in (moved, swapped, repeated):
        assert (edited == LINES) or found(edited, HEAD)


@given(st.integers(0, len(HEAD) - 1), st.integers(0, 255))
def test_any_one_changed_byte_of_the_head_is_found(at, byte):
    assume(HEAD[at] != byte)
    assert found(LINES, HEAD[:at] + bytes([byte]) + HEAD[at + 1 :])


@pytest.mark.parametrize(
    ("lines", "head", "line", "why"),
    [
        pytest.param([LINES[0], LINES[1].replace(b"r1", b"rX"), *LINES[2:]], HEAD, 2, "changed", id="changed"),
        pytest.param([*LINES[:2], *LINES[3:]], HEAD, 3, "record 4 stands where 3 belongs", id="cut inside"),
        pytest.param(LINES[:4], HEAD, 4, "cut: the head says that record 6 was written", id="cut at the end"),
        pytest.param([], HEAD, 0, "cut", id="emptied"),
        pytest.param([*LINES[:3], LINES[1], *LINES[3:]], HEAD, 4, "record 2 stands where 4 belongs", id="put in"),
        pytest.param([*LINES[:3], b"\n", *LINES[3:]], HEAD, 4, "not a record", id="an empty line"),
        pytest.param(LINES, None, 6, "head beside the log is missing", id="no head"),
        pytest.param(LINES, logged(6, b"x" * 32)[1], 6, "another key", id="another key's head"),
        pytest.param(LINES, Chain(KEY).head(Chain(KEY).start._replace(seq=6)), 6, "not the one", id="another's end"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(lines, head, line, why):
    findings = found(lines, head)
    assert any(at == line and why in said for at, said in findings), findings


def test_one_changed_line_is_one_finding():
    assert len(found([LINES[0].replace(b"r0", b"rX"), *LINES[1:]], HEAD)) == 1


def test_an_older_pair_of_log_and_head_is_found_by_a_witness_elsewhere():
    lines, head = logged(4)
    assert not found(lines, head) and "6 records are known of" in found(lines, head, at_least=6)[0][1]


def test_a_killed_writers_part_of_a_record_is_unclear_and_told_until_a_record_accounts_for_it():
    lines, head = logged(3)
    part = LINES[3][:40]
    report = verify([*lines, part], head, KEY)
    assert not report.broken and report.unclear[0][0] == 4
    chain, left = Chain(KEY), part + b"\n"
    accounts, end = chain.line(report.end, {"event_type": TORN, "torn_sha256": hashlib.sha256(left).hexdigest()})
    whole = verify([*lines, left, accounts], chain.head(end), KEY)
    assert not whole.broken + whole.unclear and whole.notes[0][0] == 4
    assert found([*lines, left.replace(b"e", b"f", 1), accounts], chain.head(end))
    assert "is gone" in found([*lines, accounts], chain.head(end))[0][1]


def test_a_log_from_before_is_whole_and_so_is_what_is_added_to_it():
    """Its lines were the standard library's JSON, blanks and all."""
    chain = Chain(KEY)
    head, lines = chain.start, []
    left = b'{"seq": 2, "tim' + b"\n"
    torn = {"event_type": TORN, "torn_sha256": hashlib.sha256(left).hexdigest()}
    for seq, fields in enumerate(({"event_type": "prediction", "principal": "wärd"}, torn), 1):
        signed = json.dumps({"seq": seq} | fields).encode()[:-1]
        mac = hmac.digest(hmac.digest(KEY, b"line", "sha256"), head.mac.encode() + signed, "sha256").hex()
        head = Head(seq, mac)
        lines.append(signed + f', "mac": "{mac}"}}\n'.encode())
    lines.insert(1, left)
    report = verify(lines, chain.head(head), KEY)
    assert not report.broken + report.unclear and report.notes[0][0] == 2
    more, end = chain.line(head, {"event_type": "prediction"})
    assert not found([*lines, more], chain.head(end))
    assert "is gone" in found([lines[0], *lines[2:]], chain.head(head))[0][1]


def test_records_that_the_killed_writer_had_not_yet_put_in_the_head_are_whole():
    assert not found(LINES, logged(4)[1])


def test_the_command_says_whole_broken_or_unclear(tmp_path, capsys):
    log = tmp_path / "audit.jsonl"
    log.write_bytes(TEXT)
    head_path(log).write_bytes(HEAD)
    (tmp_path / "audit.key").write_bytes(KEY)
    assert main(["verify", str(log)]) == 0 and capsys.readouterr().out == "6 records, whole\n"
    log.write_bytes(TEXT + LINES[0][:9])
    assert main(["verify", str(log)]) == 3 and "audit.jsonl:7: part of a record" in capsys.readouterr().out
    log.write_bytes(b"".join(LINES[1:]))
    assert main(["verify", str(log)]) == 1 and "audit.jsonl:1: record 2 stands" in capsys.readouterr().out


@pytest.mark.parametrize("key", [None, b"short"])
def test_without_a_usable_key_the_command_is_a_usage_error(tmp_path, capsys, key):
    if key:
        (tmp_path / "audit.key").write_bytes(key)
    (tmp_path / "audit.jsonl").write_bytes(TEXT)
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(tmp_path / "audit.jsonl")])
    assert ended.value.code == 2 and "key" in capsys.readouterr().err


def test_a_record_is_one_line_of_json_whatever_it_holds():
    assert json.loads(LINES[0])["principal"] == "wärd\n3" and TEXT.count(b"\n") == 6
