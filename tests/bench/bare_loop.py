"""Decode and forward in a bare loop, nothing else: prints images per processor second at the best batch size."""

import sys
import time
from pathlib import Path

import numpy as np

from model_server.inference.images import decode
from model_server.inference.model import ready

BATCHES = (1, 2, 4, 8, 16, 32, 64)


def main(for_s: float, weights: Path) -> None:
    """A batch that takes longer than its share of the time is the last."""
    bodies = [path.read_bytes() for path in sorted(Path("scenarios/radiographs").glob("*/*.jpg"))]
    model = ready(weights, max_batch=max(BATCHES))
    best = 0.0
    for batch in BATCHES:
        images, used, began = 0, time.process_time(), time.monotonic()
        while time.monotonic() < began + for_s / len(BATCHES):
            model.predict(np.stack([decode(bodies[(images + i) % len(bodies)], side=model.side) for i in range(batch)]))
            images += batch
        best = max(best, images / (time.process_time() - used))
        if images == batch:
            break
    print(best)


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
