"""Decode and forward in a bare loop, nothing else: prints images per processor second at the best batch size."""

import sys
import time
from pathlib import Path

import numpy as np

from model_server.images import decode
from model_server.model import ready

BATCHES = (8, 16, 32, 64)


def main(for_s: float) -> None:
    bodies = [path.read_bytes() for path in sorted(Path("scenarios/radiographs").glob("*/*.jpg"))]
    model = ready(max_batch=max(BATCHES))
    best = 0.0
    for batch in BATCHES:
        images, used, end = 0, time.process_time(), time.monotonic() + for_s / len(BATCHES)
        while time.monotonic() < end:
            model.predict(np.stack([decode(bodies[(images + i) % len(bodies)]) for i in range(batch)]))
            images += batch
        best = max(best, images / (time.process_time() - used))
    print(best)


if __name__ == "__main__":
    main(float(sys.argv[1]))
