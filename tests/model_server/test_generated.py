"""What is generated: the same bytes from the same sources."""

from pathlib import Path

import pytest

from model_server.monitoring import generate

RUNBOOK = generate.RUNBOOK


@pytest.mark.parametrize("path", generate.files(), ids=str)
def test_generating_again_changes_nothing(path):
    again = "run: python -m model_server.monitoring.generate"
    assert (generate.HERE / path).read_text() == generate.files()[path], again


def test_the_address_of_the_runbook_is_said_once(monkeypatch):
    before = generate.files()
    monkeypatch.setattr(generate, "RUNBOOK", "https://wiki.example.net/runbook")
    after = generate.files()
    changed = {path for path in before if before[path] != after[path]}
    assert changed >= {Path("rules/service.yaml"), Path("rules/slos.yaml"), Path("kubernetes/prometheus-rules.yaml")}
    for path in changed:
        assert "git.example.org" not in after[path]
        assert after[path].replace("https://wiki.example.net/runbook", "RUNBOOK") == before[path].replace(
            RUNBOOK, "RUNBOOK"
        )


def test_no_generated_file_is_left_over():
    made = {generate.HERE / path for path in generate.files()}
    assert set((generate.HERE / "dashboards").iterdir()) <= made
