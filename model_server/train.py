"""Trains the default weights on synthetic radiographs, on a CPU, from a seed.

    python -m model_server.train --out model_server/weights/small-cnn.safetensors

Images go through JPEG and the server's own decoder, so that the network learns what it will be shown.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

from model_server import drift
from model_server.images import decode
from model_server.model import Model, SmallCNN
from model_server.radiographs import radiographs
from model_server.settings import WEIGHTS

TRAINING_SEED, HELD_OUT_SEED = 1, 2


def dataset(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (count, SIDE, SIDE) and labels int64 (count,)."""
    made = [(decode(image.jpeg()), image.label) for image in radiographs(count, seed)]
    return np.stack([pixels for pixels, _ in made]), np.array([label for _, label in made])


def fit(pixels: np.ndarray, labels: np.ndarray, epochs: int, seed: int, batch: int = 64) -> SmallCNN:
    """A trained network; progress goes to standard error."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = SmallCNN()
    steps = epochs * (len(labels) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for chosen in rng.permutation(len(labels))[: batch * (len(labels) // batch)].reshape(-1, batch):
            shown = _augmented(pixels[chosen], rng)
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(torch.from_numpy(shown)), torch.from_numpy(labels[chosen]).float()
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total * batch / len(labels):.4f}", file=sys.stderr, flush=True)
    return network.eval()


def _augmented(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shifted by up to three pixels and mirrored: both keep the truth."""
    shifted = np.roll(pixels, tuple(rng.integers(-3, 4, 2)), (1, 2))
    return np.ascontiguousarray(shifted[:, :, ::-1] if rng.random() < 0.5 else shifted)


def accuracy(network: nn.Module, pixels: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose class the network gets right."""
    said = Model(network, "", "", "").predict(pixels) > 0.5
    return float((said == labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m model_server.train", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="safetensors file; its model card goes beside it")
    parser.add_argument("--version", default="1.0.0")
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--held-out", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=TRAINING_SEED)
    options = parser.parse_args()
    began = time.monotonic()
    pixels, labels = dataset(options.images, options.seed)
    network = fit(pixels, labels, options.epochs, options.seed)
    held_out = accuracy(network, *dataset(options.held_out, HELD_OUT_SEED))
    weights = safetensors.torch.save(network.state_dict())
    card = {
        "version": options.version,
        "architecture": network.architecture,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "held_out_accuracy": held_out,
        "held_out": {"images": options.held_out, "seed": HELD_OUT_SEED},
        "trained_on": {"images": options.images, "seed": options.seed, "epochs": options.epochs},
        "features": drift.reference(pixels),
        "command": f"python -m model_server.train --images {options.images} --held-out {options.held_out}"
        f" --epochs {options.epochs} --seed {options.seed} --version {options.version}",
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(weights)
    options.out.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"held-out accuracy {held_out:.4f} after {time.monotonic() - began:.0f} s: {options.out}")


if __name__ == "__main__":
    main()
