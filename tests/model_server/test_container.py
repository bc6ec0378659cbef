"""Memory and CPU used and allowed, read from made-up roots and from this machine."""

import os
from pathlib import Path

import psutil
import pytest

from model_server.telemetry.container import cpu, memory

MB = 1 << 20
UNLIMITED = "9223372036854771712"


def world(root: Path, cgroup: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        pytest.param(
            "0::/a/b\n",
            {
                "sys/fs/cgroup/a/b/memory.max": str(64 * MB),
                "sys/fs/cgroup/a/b/memory.current": str(60 * MB),
                "sys/fs/cgroup/a/b/memory.stat": f"anon 1\nactive_file {7 * MB}\ninactive_file {25 * MB}",
            },
            (60 * MB, 64 * MB, 35 * MB),
            id="version 2",
        ),
        pytest.param(
            "0::/a/b\n",
            {
                "sys/fs/cgroup/a/b/memory.max": "max",
                "sys/fs/cgroup/a/b/memory.current": "1",
                "sys/fs/cgroup/a/memory.max": str(64 * MB),
                "sys/fs/cgroup/a/memory.current": str(50 * MB),
                "sys/fs/cgroup/a/memory.stat": f"inactive_file {20 * MB}",
                "sys/fs/cgroup/a/b/memory.stat": f"inactive_file {30 * MB}",
            },
            (50 * MB, 64 * MB, 30 * MB),
            id="version 2, limited above us",
        ),
        pytest.param(
            "4:memory:/a\n0::/\n",
            {
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": str(64 * MB),
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": str(7 * MB),
                "sys/fs/cgroup/memory/a/memory.stat": f"inactive_file {MB}\ntotal_inactive_file {3 * MB}",
            },
            (7 * MB, 64 * MB, 4 * MB),
            id="version 1, with the groups below it",
        ),
        pytest.param(
            "4:memory:/a\n0::/\n",
            {
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": str(64 * MB),
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": str(7 * MB),
                "sys/fs/cgroup/memory/a/memory.stat": f"cache {2 * MB}\ninactive_file {MB}",
            },
            (7 * MB, 64 * MB, 6 * MB),
            id="version 1 without hierarchy",
        ),
        pytest.param(
            "0::/a\n",
            {
                "sys/fs/cgroup/a/memory.max": str(64 * MB),
                "sys/fs/cgroup/a/memory.current": str(7 * MB),
                "sys/fs/cgroup/a/memory.stat": f"inactive_file {8 * MB}",
            },
            (7 * MB, 64 * MB, 0),
            id="version 2, read a moment later",
        ),
        pytest.param(
            "4:memory:/outside\n",
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(64 * MB),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(7 * MB),
            },
            (7 * MB, 64 * MB, 7 * MB),
            id="version 1 in a container that sees only its own, without statistics",
        ),
    ],
)
def test_the_tightest_memory_limit_counts(tmp_path, cgroup, files, expected):
    assert memory(world(tmp_path, cgroup, **files)) == expected


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        pytest.param("", {}, id="no cgroup at all"),
        pytest.param(
            "4:memory:/a\n",
            {
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": UNLIMITED,
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": str(900 * MB),
            },
            id="no limit",
        ),
    ],
)
def test_without_a_limit_the_process_counts_against_the_machine(tmp_path, cgroup, files):
    used, limit, working_set = memory(world(tmp_path, cgroup, **files))
    assert used == working_set == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert limit == psutil.virtual_memory().total


V2 = "sys/fs/cgroup/a/b/"
STAT_V2 = "usage_usec 2500000\nuser_usec 1\nnr_throttled 3\nthrottled_usec 750000"
V1 = {
    "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "50000",
    "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
    "sys/fs/cgroup/cpu/a/cpu.stat": "nr_periods 9\nnr_throttled 3\nthrottled_time 750000000",
    "sys/fs/cgroup/cpuacct/a/cpuacct.usage": "2500000000",
}


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        pytest.param(
            "0::/a/b\n",
            {V2 + "cpu.max": "150000 100000", V2 + "cpu.stat": STAT_V2},
            (2.5, 1.5, 0.75),
            id="version 2",
        ),
        pytest.param(
            "0::/a/b\n",
            {
                V2 + "cpu.max": "max 100000",
                V2 + "cpu.stat": "usage_usec 1\nthrottled_usec 0",
                "sys/fs/cgroup/a/cpu.max": "400000 100000",
                "sys/fs/cgroup/a/cpu.stat": STAT_V2,
            },
            (2.5, 4, 0.75),
            id="version 2, limited above us",
        ),
        pytest.param("3:cpu:/a\n2:cpuacct:/a\n0::/\n", V1, (2.5, 0.5, 0.75), id="version 1"),
        pytest.param("3:cpuacct,cpu:/a\n", V1, (2.5, 0.5, 0.75), id="version 1, mounted together"),
    ],
)
def test_the_tightest_cpu_quota_counts(tmp_path, cgroup, files, expected):
    assert cpu(world(tmp_path, cgroup, **files)) == expected


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        pytest.param("0::/a/b\n", {V2 + "cpu.max": "max 100000", V2 + "cpu.stat": STAT_V2}, id="version 2"),
        pytest.param("3:cpu:/a\n", V1 | {"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1"}, id="version 1"),
        pytest.param("0::/a/b\n", {V2 + "cpu.max": "150000 100000"}, id="a quota without figures"),
        pytest.param("", {}, id="no cgroup at all"),
    ],
)
def test_without_a_quota_the_process_counts_and_nothing_throttles_it(tmp_path, cgroup, files):
    found = cpu(world(tmp_path, cgroup, **files))
    assert found.used_s > 0 and found.cores == len(os.sched_getaffinity(0)) and found.throttled_s is None


def test_the_real_machine_has_an_answer():
    usage, limit, working_set = memory()
    assert 0 < working_set <= usage < limit
    assert cpu().used_s > 0 and cpu().cores > 0
