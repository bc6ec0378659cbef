"""What a SIGKILL takes with it: of what was answered, no more than what came in the window that is stated."""

import itertools
import json
import sqlite3
import threading
import time

import httpx
import pytest

from model_server.threads import LOSS_WINDOW_S

CLIENTS = 4


@pytest.mark.calm
@pytest.mark.parametrize("turn", range(3))
def test_what_a_sigkill_loses_was_answered_in_the_last_moment(serve, tmp_path, corpus, turn):
    state, answered = tmp_path / "state", {}

    def ask(url: httpx.URL, worker: int) -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            for i in itertools.count():
                name = f"{worker}-{i}"
                try:
                    answer = client.post("/predict", content=corpus[i % 40][0], headers={"X-Request-ID": name})
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    answered[name] = time.monotonic()

    with serve("--state-dir", str(state)) as client:
        asking = [threading.Thread(target=ask, args=(client.base_url, i)) for i in range(CLIENTS)]
        for thread in asking:
            thread.start()
        client.until(lambda: len(answered) > 500 + 10 * turn)
        client.process.kill()
        killed = time.monotonic()
        for thread in asking:
            thread.join()
    lines = (state / "audit.jsonl").read_bytes().split(b"\n")[:-1]
    with sqlite3.connect(state / "records.db") as database:
        rows = {name for (name,) in database.execute("SELECT request_id FROM predictions")}
    database.close()
    for kept in ({json.loads(line)["request_id"] for line in lines}, rows):
        lost_s = [killed - at for name, at in answered.items() if name not in kept]
        assert max(lost_s, default=0) <= LOSS_WINDOW_S and len(kept) > 400
