"""Bytes by network interface."""

import psutil
import pytest

from model_server.telemetry.container import traffic


def test_each_interface_but_those_of_other_containers(monkeypatch):
    seen = psutil.net_io_counters(pernic=True)["lo"]
    interfaces = dict.fromkeys(("lo", "eth0", "vethab12", "docker0"), seen)
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: interfaces)
    assert traffic() == {"lo": seen, "eth0": seen}


def test_loopback_is_seen_on_this_machine():
    assert traffic()["lo"].bytes_recv == pytest.approx(traffic()["lo"].bytes_sent, rel=0.5)


def test_what_a_request_sends_is_seen(served):
    before = served.metric("network_receive_bytes_total", interface="lo")
    served.post("/predict", content=b"x" * 1_000_000)
    served.until(lambda: served.metric("network_receive_bytes_total", interface="lo") >= before + 1_000_000)
