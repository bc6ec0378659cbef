"""Memory that a batch gave back is there for the next one."""

import os
import platform
import subprocess
import sys

import pytest
from real_server import ROOT

COUNTED = """
import resource, threading
import numpy as np
from model_server.inference import model
network, faults = model.ready(max_batch=32), []
def infer():
    for size in (32,) * 40:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        network.predict(np.zeros((size, 64, 64), np.uint8))
        faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)
thread = threading.Thread(target=infer)
thread.start()
thread.join()
print(sorted(faults[8:])[len(faults[8:]) // 2])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_inference_takes_no_page_faults_once_it_has_run():
    about = {"env": {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, "cwd": ROOT, "text": True}
    done = subprocess.run([sys.executable, "-c", COUNTED], check=True, capture_output=True, **about)
    assert int(done.stdout) < 20, "1,248 a batch of 32 where glibc gives the memory back"
