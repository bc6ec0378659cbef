"""Bytes by interface, from a made-up file and from this machine."""

import pytest

from model_server.telemetry.network import Traffic, traffic

DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes  packets errs drop fifo frame compressed multicast|bytes  packets errs drop fifo colls carrier compressed
    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0
  eth0:2200 2 0 0 0 0 0 0 3300 3 0 0 0 0 0 0
vethab12: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9
"""


def test_each_interface_but_those_of_other_containers(tmp_path):
    (tmp_path / "proc/self/net").mkdir(parents=True)
    (tmp_path / "proc/self/net/dev").write_text(DEV)
    assert traffic(tmp_path) == {"lo": Traffic(100, 100), "eth0": Traffic(2200, 3300)}


def test_where_nothing_can_be_read_there_is_nothing(tmp_path):
    with pytest.raises(OSError, match="proc/self/net/dev"):
        traffic(tmp_path)


def test_what_a_request_sends_is_seen(served):
    before = served.metric("network_receive_bytes_total", interface="lo")
    served.post("/predict", content=b"x" * 1_000_000)
    served.until(lambda: served.metric("network_receive_bytes_total", interface="lo") >= before + 1_000_000)
