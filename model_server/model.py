"""The network, and weights that are what they say they are or are not loaded at all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

from model_server.images import SIDE
from model_server.settings import WEIGHTS


class WeightsError(Exception):
    """The weights cannot be used; the message says why. The service does not start."""


class SmallCNN(nn.Module):
    """Four convolutions and a mean: about 3 million multiplications an image."""

    architecture = "small-cnn-64"

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(2 * 64, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (n, SIDE, SIDE) to the log odds of pneumonia, float32 (n,)."""
        images = pixels.unsqueeze(1).float()
        std, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)  # exposure must not matter
        features = self.features((images - mean) / (std + 1))
        return self.head(torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)).squeeze(1)


ARCHITECTURES = {SmallCNN.architecture: SmallCNN}


@dataclass(frozen=True)
class Model:
    """A loaded model: `predict` and what it is."""

    network: nn.Module
    version: str
    sha256: str
    architecture: str

    @torch.inference_mode()
    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, SIDE, SIDE) to the probability of pneumonia, float32 (n,)."""
        return torch.sigmoid(self.network(torch.from_numpy(pixels))).numpy()


def load(path: Path = WEIGHTS) -> Model:
    """The model in a safetensors file, as the JSON file beside it describes it. Raises WeightsError."""
    card_path = path.with_suffix(".json")
    try:
        card = json.loads(card_path.read_text())
        weights = path.read_bytes()
        version, sha256, architecture = card["version"], card["sha256"], card["architecture"]
    except FileNotFoundError as error:
        raise WeightsError(f"{error.filename}: no such file") from None
    except OSError as error:
        raise WeightsError(f"{error.filename}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{card_path}: not a model card ({type(error).__name__}: {error})") from None
    found = hashlib.sha256(weights).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{path}: SHA-256 is {found}, {card_path.name} says {sha256}: the file is truncated, changed or another one"
        )
    if architecture not in ARCHITECTURES:
        raise WeightsError(f"{card_path}: unknown architecture {architecture!r} (known: {', '.join(ARCHITECTURES)})")
    network = ARCHITECTURES[architecture]()
    try:
        network.load_state_dict(safetensors.torch.load(weights))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path}: these are not the weights of a {architecture}: {error}") from None
    return Model(network.eval(), version, sha256, architecture)


def ready(path: Path = WEIGHTS, max_batch: int = 1, threads: int = 1) -> Model:
    """A loaded model that has answered batches of every size once, so that no request pays for a first time."""
    torch.set_num_threads(threads)
    model = load(path)
    for size in range(1, max_batch + 1):
        answers = model.predict(np.zeros((size, SIDE, SIDE), np.uint8))
        if answers.shape != (size,) or not np.isfinite(answers).all():
            raise WeightsError(f"{path}: the model answers {answers!r} to {size} black images")
    return model
