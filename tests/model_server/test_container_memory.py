"""Memory used and allowed, read from made-up roots."""

from pathlib import Path

import pytest

from model_server.memory import usage_and_limit

MB = 1 << 20
UNLIMITED = "9223372036854771712"


def world(root: Path, cgroup: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal:       1048576 kB\n")
    (root / "proc/self/status").write_text("VmSize:\t 2048 kB\nVmRSS:\t 1024 kB\n")
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
            {"sys/fs/cgroup/a/b/memory.max": str(64 * MB), "sys/fs/cgroup/a/b/memory.current": str(60 * MB)},
            (60 * MB, 64 * MB),
            id="version 2",
        ),
        pytest.param(
            "0::/a/b\n",
            {
                "sys/fs/cgroup/a/b/memory.max": "max",
                "sys/fs/cgroup/a/b/memory.current": "1",
                "sys/fs/cgroup/a/memory.max": str(64 * MB),
                "sys/fs/cgroup/a/memory.current": str(50 * MB),
            },
            (50 * MB, 64 * MB),
            id="version 2, limited above us",
        ),
        pytest.param(
            "4:memory:/a\n0::/\n",
            {
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": str(64 * MB),
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": str(7 * MB),
            },
            (7 * MB, 64 * MB),
            id="version 1",
        ),
        pytest.param(
            "4:memory:/outside\n",
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(64 * MB),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(7 * MB),
            },
            (7 * MB, 64 * MB),
            id="version 1 in a container that sees only its own",
        ),
        pytest.param(
            "4:memory:/a\n",
            {
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": UNLIMITED,
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": str(900 * MB),
            },
            (MB, 1024 * MB),
            id="no limit: the process, against the machine",
        ),
        pytest.param("", {}, (MB, 1024 * MB), id="no cgroup at all"),
    ],
)
def test_the_tightest_limit_counts(tmp_path, cgroup, files, expected):
    assert usage_and_limit(world(tmp_path, cgroup, **files)) == expected


def test_the_real_machine_has_an_answer():
    usage, limit = usage_and_limit()
    assert 0 < usage < limit
