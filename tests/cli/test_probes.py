"""`harness probes what-if`: a table, a proposal to paste, and a sentence where a run cannot give one."""

import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "run"))
from stored_run import PROBES, write

from harness.cli.main import main
from harness.plan.plan import _without_values
from harness.stack.spec import Probes


def what_if(capsys, run, *more):
    code = main(["probes", "what-if", str(run), *more])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write(tmp_path_factory.mktemp("runs") / "run")


def test_it_proposes_what_a_pod_specification_takes(capsys, run):
    code, out, _ = what_if(capsys, run)
    assert code == 0
    pod = yaml.safe_load(out[out.index("startupProbe:") :])
    assert list(pod) == ["startupProbe", "livenessProbe", "readinessProbe"]
    assert pod["livenessProbe"] == {
        "httpGet": {"path": "/health/live", "port": "http"},
        "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 3,
    }  # fmt: skip
    assert pod["readinessProbe"]["httpGet"]["httpHeaders"] == [{"name": "X-Key", "value": ""}]
    assert "the values of headers are not stored with a run" in out
    Probes.model_validate({name.removesuffix("Probe"): probe for name, probe in pod.items()})


def test_it_says_what_the_run_shows_and_what_it_cannot(capsys, run):
    _, out, _ = what_if(capsys, run)
    assert "liveness, now every 2 s, timeout 1 s, 3 failures" in out
    assert "had to decide in    no experiment of this run" in out and "had to stay calm in steady and sham" in out
    assert "shorter periods than 2 s: nothing is recorded between two answers" in out
    assert "startup: no start of this run came to its end; its probe is left as it is" in out
    assert "(125 settings were tried; --all shows them)" in out
    _, everything, _ = what_if(capsys, run, "--all")
    assert everything.count(" of 2 ") == 125 + 375


def test_a_probe_that_the_service_has_not_is_said(capsys, tmp_path):
    only = {"readiness": PROBES["readiness"]}
    code, out, _ = what_if(capsys, write(tmp_path / "run", probes=only))
    assert code == 0 and "liveness: the service has no such probe, so that nothing is recorded of it" in out
    assert "startup" not in out and "livenessProbe" not in out


@pytest.mark.parametrize(
    ("about", "more", "code", "said"),
    [
        pytest.param(
            {"probes": None}, "", 2, "is of a harness that stored no settings of its probes; run it", id="old"
        ),
        pytest.param({"ended": False}, "", 3, "did not end: it was over with sham", id="cut off"),
        pytest.param({"sealed": False}, "probes.jsonl", 3, "has no probe answer; does the harness start", id="none"),
    ],
)
def test_a_run_that_cannot_say_is_one_sentence(capsys, tmp_path, about, more, code, said):
    run = write(tmp_path / "run", **about)
    if more:
        (run / more).write_text("")
    ended, out, err = what_if(capsys, run)
    assert (ended, out) == (code, "") and said in err and err.count("\n") == 1


def test_what_is_stored_of_the_probes_holds_no_secret():
    given = {**PROBES, "liveness": {"path": "/", "httpHeaders": [{"name": "X-Key", "value": "s3cret"}]}}
    given["readiness"] = {"tcpSocket": {}}
    kept = _without_values(Probes.model_validate(given))
    assert kept["liveness"] == {"path": "/", "httpHeaders": [{"name": "X-Key"}]}
