"""No single edit of an audit log goes unseen, and what is found is said with its line."""

import gzip
import hashlib
import hmac
import io
import itertools
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from model_server.audit.__main__ import main
from model_server.audit.chain import Chain, Head
from model_server.audit.verify import Verifier, head_path, verify

KEY = b"k" * 32
TORN = "audit_recovered"


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
    return [(one.line, one.why) for one in report.broken + report.unclear]


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


class Pieces:
    """A log in pieces, each a list of lines, and the content of the head after the last."""

    def __init__(self):
        self._chain = Chain(KEY)
        self._end, self.pieces = self._chain.start, [[]]

    def add(self, event_type: str = "prediction", **more) -> "Pieces":
        record = {"timestamp": f"at {self._end.seq + 1}", "event_type": event_type, "action": "", "result": "ok"}
        line, self._end = self._chain.line(self._end, record | more)
        self.pieces[-1].append(line)
        return self

    def next(self, event_type: str = "audit_rotated", **more) -> "Pieces":
        self.pieces.append([])
        return self.add(event_type, after_mac=self._end.mac, **more)

    def report(self, *pieces: list[bytes]):
        verifier = Verifier(self._chain.head(self._end), KEY)
        for i, piece in enumerate(pieces or self.pieces):
            verifier.piece(piece, f"piece {i}")
        return verifier.finish()


def three_pieces() -> Pieces:
    return Pieces().add().add().next().add().next().add().add()


def whys(findings) -> list[str]:
    return [one.why for one in findings]


def test_pieces_in_order_are_one_whole_log():
    report = three_pieces().report()
    assert report.records == 7 and not report.broken + report.unclear + report.notes


@pytest.mark.parametrize(
    ("picked", "said"),
    [
        pytest.param((0, 2), "goes on after record 4, and the piece before ends with record 2", id="one is missing"),
        pytest.param((1, 0, 2), "goes on after record 2", id="in another order"),
        pytest.param((0, 1), "cut: the head says that record 7 was written", id="the last is missing"),
        pytest.param((0, 1, 1, 2), "goes on after record 2, and the piece before ends with record 4", id="one twice"),
    ],
)
def test_pieces_that_are_not_all_there_in_their_order_are_found(picked, said):
    log = three_pieces()
    report = log.report(*(log.pieces[i] for i in picked))
    assert any(said in why for why in whys(report.broken + report.notes)) and report.broken


def test_the_last_pieces_alone_are_whole_and_say_that_there_was_more():
    log = three_pieces()
    report = log.report(*log.pieces[1:])
    assert not report.broken and whys(report.notes) == ["goes on after record 2, which is in a piece that is not given"]


@given(st.integers(0, 2), st.data())
def test_any_line_that_is_missing_from_any_piece_is_found(which, data):
    log = three_pieces()
    at = data.draw(st.integers(0, len(log.pieces[which]) - 1))
    pieces = [[*piece] for piece in log.pieces]
    del pieces[which][at]
    assert log.report(*pieces).broken


def test_what_a_new_piece_says_it_goes_on_after_cannot_be_made_up():
    log = three_pieces()
    begin = log.pieces[1][0]
    seq, mac = b'"seq": 3', json.loads(begin)["after_mac"].encode()
    for forged in (begin.replace(seq, b'"seq": 9'), begin.replace(mac, b"0" * 64), begin.replace(mac, b"5")):
        assert log.report([forged, *log.pieces[1][1:]], log.pieces[2]).broken


@pytest.mark.parametrize("event", ["audit_removed", "audit_truncated"])
def test_a_file_that_was_removed_or_truncated_is_broken_unless_all_that_it_held_is_given(event):
    log = Pieces().add().add().next(event, result="failed").add()
    assert "removed or truncated" in log.report(log.pieces[1]).broken[0].why
    whole = log.report()
    assert not whole.broken and "is given whole" in whole.notes[0].why
    assert log.report(log.pieces[0][:1], log.pieces[1]).broken


def test_part_of_a_record_at_the_end_of_a_piece_is_accounted_for_by_the_next():
    part = b'{"seq": 3, "tim'
    log = Pieces().add().add().next(torn_sha256=hashlib.sha256(part).hexdigest()).add()
    report = log.report([*log.pieces[0], part], log.pieces[1])
    assert not report.broken + report.unclear and report.notes[0][:2] == (
        3, "a killed writer left part of a record; the next record accounts for it",
    )  # fmt: skip
    assert "is gone" in log.report().broken[0].why


START, STOP = {"action": "start", "loss_window_s": 0.1}, {"action": "stop"}


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (Pieces().add("service", **START).add().add("service", **STOP), []),
        (Pieces().add("service", **START).add(), ["at the end"]),
        (Pieces().add("service", **START).add().add("service", **START).add("service", **STOP), ["before this start"]),
        (
            Pieces().add("service", **START).add().add("audit_interrupted").add("service", **START).add(),
            ["before this start", "at the end"],
        ),
        (Pieces().add("service", **START).add("service", **STOP).next().add("service", **START).add(), ["at the end"]),
        (Pieces().add("service", **START).next().add().next().add("service", **STOP), []),
        (Pieces().add().add(), []),  # nothing is known of a service
    ],
)
def test_each_end_that_was_not_in_order_is_said(log, said):
    report = log.report()
    assert not report.broken + report.unclear + report.notes and len(report.interrupted) == len(said)
    assert all(part in one.why for part, one in zip(said, report.interrupted, strict=True))


def test_an_end_that_was_not_in_order_is_said_with_what_may_be_missing():
    log = Pieces().add("service", **START).add().next().add("service", **START).add("service", **STOP)
    [one] = log.report().interrupted
    assert (one.file, one.line) == ("piece 1", 2)
    assert "last record: at 2; what was done in the last 0.1 s before the end may be missing" in one.why
    older = Pieces().add("service", action="start").add().add("service", action="start").add("service", **STOP)
    assert "in the last moments before the end" in older.report().interrupted[0].why


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_the_command_takes_the_pieces_in_any_order_compressed_or_not(tmp_path, capsys, order):
    log = three_pieces().add("service", **START).add()
    files = [tmp_path / name for name in ("audit.jsonl.2.gz", "audit.jsonl.1", "audit.jsonl")]
    for file, lines in zip(files, log.pieces, strict=True):
        content = b"".join(lines)
        file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    head_path(files[-1]).write_bytes(log._chain.head(log._end))
    (tmp_path / "audit.key").write_bytes(KEY)
    assert main(["verify", *(str(files[i]) for i in order)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"INTERRUPTED  {files[-1]}:4: no `stop` before this start")
    assert said[1].startswith(f"INTERRUPTED  {files[-1]}:5: no `stop` at the end")
    assert said[2:] == ["9 records, whole; interrupted: 2"]
    assert main(["verify", str(files[2]), str(files[0])]) == 1
    assert f"BROKEN  {files[2]}:1: goes on after record 4" in capsys.readouterr().out
    assert main(["verify", *map(str, (files[2], *files))]) == 1
    assert f"BROKEN  {files[2]}:1: goes on after record 4, and the piece before ends with" in capsys.readouterr().out
    empty = tmp_path / "audit.jsonl.0"
    empty.touch()
    head_path(files[-1]).rename(head_path(empty))  # as a rotation leaves them for a moment
    assert main(["verify", *map(str, (empty, *files))]) == 0
    head_path(empty).rename(head_path(files[-1]))
    capsys.readouterr()
    assert main(["verify", str(files[1])]) == 1 and "give the next piece too" in capsys.readouterr().out


def test_a_compressed_piece_that_is_cut_is_a_usage_error(tmp_path, capsys):
    file = tmp_path / "audit.jsonl.1.gz"
    file.write_bytes(gzip.compress(b"".join(LINES))[:-20])
    (tmp_path / "audit.key").write_bytes(KEY)
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(file)])
    assert ended.value.code == 2 and "compressed piece" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["\ud800", 1 << 70, float("nan"), Head(1, "x"), b"bytes"])
def test_a_record_that_no_json_library_likes_is_written_all_the_same(value):
    line, end = Chain(KEY).line(Chain(KEY).start, {"event_type": "prediction", "resource": value})
    assert not found([line], Chain(KEY).head(end)) and json.loads(line)["event_type"] == "prediction"


def test_a_record_is_one_line_of_json_whatever_it_holds():
    assert json.loads(LINES[0])["principal"] == "wärd\n3" and TEXT.count(b"\n") == 6
