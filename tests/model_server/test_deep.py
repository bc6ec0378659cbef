"""The deep health check: true when all is well, and each thing that breaks is named."""

import collections
import concurrent.futures
import json
import re
import resource
import sqlite3
from pathlib import Path

import psycopg
import pytest
from fake_nvml import tell
from test_gpu import FAKE
from test_served_health import SLOW_LOAD, WEDGED

from model_server import health as deep
from model_server.storage.database import Database

ANOTHER_MODEL = """
import model_server.inference.model as m
real = m.Model.predict
m.Model.predict = lambda *a: 1 - real(*a)
"""
MEMORY = """
import model_server.health as d
from model_server.telemetry.container import Memory
d.memory = lambda: Memory({used}, 100, {working_set})
"""


# The model seems to be on CUDA, and CUDA says of itself what is put in here.
ON_CUDA = """
import model_server.health as h, model_server.inference.model as m, time
m.Model.device, m.Model.uuid = "cuda", "00000001-0000-0000-0000-000000000000"
h.gpu = lambda device: {says}
"""


def unhealthy(answer) -> dict[str, str]:
    """Check and reason of everything that is wrong."""
    assert answer.status_code == 503 and answer.json()["status"] == "unhealthy"
    return {name: check["reason"] for name, check in answer.json()["checks"].items() if not check["healthy"]}


def test_all_is_well_and_each_check_has_its_time(served):
    answer = served.get("/health/deep")
    told = answer.json()
    assert answer.status_code == 200 and told["status"] == "healthy" and told["timestamp"].endswith("Z"), told
    assert list(told["checks"]) == ["model", "memory", "gpu", "data_path"]
    assert all(check["healthy"] and check["seconds"] >= 0 for check in told["checks"].values())
    checks = told["checks"]
    assert checks["model"]["samples"] == checks["model"]["known_answers"] == 4
    memory = checks["memory"]
    assert 0 < memory["working_set_bytes"] <= memory["used_bytes"] < memory["limit_bytes"]
    assert checks["gpu"]["present"] in (True, False)
    assert checks["data_path"]["decode_s"] > 0 and checks["data_path"]["store"]


def test_known_answers_are_those_on_the_card_and_right(served):
    known = json.loads((deep.SAMPLES.parent / "weights/small-cnn.json").read_text())["known_answers"]
    for path in deep.SAMPLES.glob("*/*"):
        answer = served.post("/predict", content=path.read_bytes()).json()
        assert answer["class"] == path.parent.name
        assert answer["probability"] == pytest.approx(known[path.name], abs=0.01)


def test_another_network_than_the_card_says_is_found(serve):
    with serve(defect=ANOTHER_MODEL) as client:
        assert list(unhealthy(client.get("/health/deep"))) == ["model"]
        assert client.get("/health/ready").status_code == 200  # nothing but the deep check can see this


def test_a_wedged_model_ends_the_check_in_time_and_only_one_runs(serve):
    with serve("--deadline-s", "1", "--wedged-after-s", "30", defect=WEDGED) as client:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = [future.result() for future in [pool.submit(client.get, "/health/deep") for _ in range(4)]]
        assert sorted(answer.status_code for answer in answers) == [409, 409, 409, 503]
        for answer in answers:
            if answer.status_code == 409:
                assert answer.json()["reason"] == "deep_check_running" and answer.headers["retry-after"]
            else:
                assert set(unhealthy(answer)) == {"model", "data_path"}
        assert set(unhealthy(client.get("/health/deep"))) == {"model", "data_path"}  # and another may run now
        client.process.kill()


@pytest.fixture
def with_gpu(tmp_path) -> str:
    """A defect: NVML shows a good GPU."""
    tell(tmp_path / "nvml")
    return FAKE.format(folder=str(Path(__file__).parent), state=str(tmp_path / "nvml"))


def test_a_gpu_that_nvml_shows_and_the_model_is_not_on_is_found_unless_it_was_not_to_be_used(serve, with_gpu):
    with serve(defect=with_gpu) as client:
        client.until(lambda: client.metric("gpu_present") == 1)
        assert client.metric("ml_model_info", device="cpu") == 1
        found = unhealthy(client.get("/health/deep"))
        assert found == {"gpu": "GPUs that NVML shows: 1; CUDA could use none, and the model is on the CPU"}
        assert client.get("/health/ready").status_code == 200
    with serve("--device", "cpu", defect=with_gpu) as client:
        client.until(lambda: client.metric("gpu_present") == 1)
        told = client.get("/health/deep")
        assert told.status_code == 200 and told.json()["checks"]["gpu"]["nvml_gpus"] == 1


def test_a_gpu_that_works_is_healthy_with_metrics_and_without(serve, with_gpu):
    defect = with_gpu + ON_CUDA.format(says='{"present": True}')
    for flags in ((), ("--metrics", "off")):
        with serve(*flags, defect=defect) as client:
            answer = client.until(lambda: (a := client.get("/health/deep")).status_code == 200 and a)
            assert answer.json()["checks"]["gpu"]["nvml_gpus"] == 1
            assert flags or client.metric("ml_model_info", device="cuda") == 1


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ('{"present": False}', "the model is on cuda, and CUDA has no device any more"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_cuda_says_of_itself_is_a_finding(serve, with_gpu, says, told):
    with serve(defect=with_gpu + ON_CUDA.format(says=says)) as client:
        assert unhealthy(client.get("/health/deep")) == {"gpu": told}


def test_a_device_that_never_answers_takes_one_thread_however_often_it_is_asked_and_holds_up_no_end(serve, with_gpu):
    defect = with_gpu + ON_CUDA.format(says="time.sleep(3600)")
    with serve("--deadline-s", "1", defect=defect) as client:
        assert unhealthy(client.get("/health/deep")) == {"gpu": "not within 1 s"}
        tasks = Path(f"/proc/{client.process.pid}/task")
        threads = len(list(tasks.iterdir()))
        for _ in range(5):
            assert unhealthy(client.get("/health/deep")) == {"gpu": "cuda: the question before has no answer yet"}
        assert len(list(tasks.iterdir())) < threads + 5
        assert client.get("/health/live").status_code == 200
        client.process.terminate()
        assert client.process.wait(30) == 0


def test_full_memory_is_found(serve):
    with serve(defect=MEMORY.format(used=96, working_set=95)) as client:
        assert unhealthy(client.get("/health/deep")) == {"memory": "95 of 100 bytes are in use"}


def test_memory_full_of_pages_of_files_is_well(serve):
    """Reading and writing fills it with them, and the kernel takes them back when it needs room."""
    with serve(defect=MEMORY.format(used=100, working_set=50)) as client:
        answer = client.get("/health/deep")
        assert answer.status_code == 200
        assert answer.json()["checks"]["memory"]["working_set_bytes"] == 50


def counted(client) -> dict[str, float | None]:
    """What is counted of predictions and labels."""
    return {name: client.metric(name) for name in ("ml_predictions_total", "ml_feedback_total", "ml_model_accuracy")}


def test_the_data_path_ends_in_a_database_that_stores_and_nothing_of_it_stays(serve, tmp_path):
    file = tmp_path / "records.db"
    with serve("--database", f"sqlite:///{file}", "--audit", "off") as client:
        other = sqlite3.connect(file, isolation_level=None)
        before = counted(client)
        assert [client.get("/health/deep").status_code for _ in range(3)] == [200] * 3
        rows = " UNION ALL ".join(f"SELECT count(*) FROM {table}" for table in ("predictions", "feedback", "models"))
        assert other.execute(rows).fetchall() == [(0,), (0,), (1,)] and counted(client) == before

        other.execute("CREATE TRIGGER full BEFORE INSERT ON predictions BEGIN SELECT RAISE(ABORT, 'no room'); END")
        found = unhealthy(client.get("/health/deep"))
        assert list(found) == ["data_path"] and found["data_path"].startswith("store: insert: ")
        assert "no room" in found["data_path"]
        assert client.metric("storage_errors_total", store="database", operation="write") == 1
        assert client.get("/health/ready").status_code == 200  # nothing else can see it before a prediction is lost
        other.execute("DROP TRIGGER full")
        assert client.get("/health/deep").status_code == 200

        hard = resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE)[1]
        size = file.with_name(file.name + "-wal").stat().st_size
        resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (size, hard))  # as a full disk would
        assert unhealthy(client.get("/health/deep"))["data_path"].startswith("store: commit: ")
        resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert client.get("/health/deep").status_code == 200
        assert other.execute(rows).fetchall() == [(0,), (0,), (1,)]
        other.close()


@pytest.mark.parametrize(
    ("may", "said"),
    [
        pytest.param("INSERT, UPDATE ON models", "insert: .* permission denied for table predictions", id="no records"),
        pytest.param("USAGE ON SCHEMA public", "ProgrammingError: .* permission denied for table models", id="nothing"),
    ],
)
def test_a_role_that_may_not_write_is_found(serve, cluster, may, said):
    url = cluster.database()
    Database(url).upgrade()
    role = url.rpartition("/")[2] + "_reader"
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN")
        owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        owner.execute(f"GRANT {may} TO {role}")
    with serve("--database", url.replace("postgres@", f"{role}@")) as client:
        found = unhealthy(client.get("/health/deep"))
        assert list(found) == ["data_path"] and re.match(f"store: {said}", found["data_path"]), found
        client.until(lambda: client.metric("storage_errors_total", store="database", operation="write"))


def test_a_trend_needs_readings_and_is_the_growth_of_all_of_them():
    readings = collections.deque((30.0 * i, 1000 + 5 * 30 * i) for i in range(deep.TREND_FROM))
    assert deep.slope(readings) == pytest.approx(5)
    readings.pop()
    assert deep.slope(readings) is None


def test_there_is_none_before_the_start(serve):
    with serve(defect=SLOW_LOAD, wait=False) as client:
        answer = client.until(lambda: client.get("/health/deep"))
        assert (answer.status_code, answer.json()["reason"]) == (503, "starting")
