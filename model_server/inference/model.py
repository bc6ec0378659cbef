"""The network, and weights that are what they say they are or are not loaded at all."""

import contextlib
import ctypes
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from model_server.inference.densenet import DenseNet121
from model_server.inference.images import SIDE
from model_server.settings import WEIGHTS

WARM_UP_S = 1.5
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


class WeightsError(Exception):
    """The weights cannot be used; the message says why. The service does not start."""


class DeviceError(Exception):
    """The device that was asked for is not there."""


class SmallCNN(nn.Module):
    """Four convolutions and a mean: about 3 million multiplications an image."""

    architecture = "small-cnn-64"
    side = SIDE

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


ARCHITECTURES = {kind.architecture: kind for kind in (SmallCNN, DenseNet121)}


class Card(BaseModel):
    """What stands beside the weights, in JSON."""

    version: str
    sha256: str
    architecture: str
    known_answers: dict[str, float] = {}  # bundled sample: probability of pneumonia
    features: dict[str, list[float]] = {}  # of the training set, as drift.reference gives them


@dataclass(frozen=True)
class Model:
    """A loaded model on the CPU: `predict` and what it is."""

    device = "cpu"
    network: nn.Module
    version: str
    sha256: str
    architecture: str
    known_answers: Mapping[str, float] = field(default_factory=dict)
    features: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def side(self) -> int:
        """Pixels a side of what it is shown."""
        return self.network.side

    @torch.inference_mode()
    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, side, side) to the probability of pneumonia, float32 (n,); NaN where the network failed."""
        return probability(self.network(torch.from_numpy(pixels))).numpy()

    def usable(self) -> bool:
        """Whether it can go on after an error."""
        return True


def probability(log_odds: torch.Tensor) -> torch.Tensor:
    """Of pneumonia, float32; NaN where the log odds are not finite, for an overflow must not look like certainty."""
    log_odds = log_odds.float()
    return torch.sigmoid(log_odds) + (log_odds - log_odds)  # an infinity less itself is no number, all else is 0


def load(path: Path = WEIGHTS, sha256: str = "") -> Model:
    """The model in a safetensors file, as the JSON file beside it, its card, describes it. Raises WeightsError.

    The file has to have the SHA-256 on the card, and the one given here.
    """
    card_path = path.with_suffix(".json")
    try:
        card = Card.model_validate_json(card_path.read_bytes())
        weights = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{error.filename}: {error.strerror}") from None
    except ValidationError as error:
        raise WeightsError(f"{card_path}: not a model card ({error})") from None
    found = hashlib.sha256(weights).hexdigest()
    for says, wanted in ((card_path.name, card.sha256), ("--weights-sha256", sha256 or card.sha256)):
        if found != wanted.lower():
            raise WeightsError(
                f"{path}: SHA-256 is {found}, {says} says {wanted}: the file is truncated, changed or another one"
            )
    if card.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise WeightsError(f"{card_path}: unknown architecture {card.architecture!r} (known: {known})")
    network = ARCHITECTURES[card.architecture]()
    try:
        network.load_state_dict(safetensors.torch.load(weights))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path}: these are not the weights of a {card.architecture}: {error}") from None
    return Model(network.eval(), card.version, found, card.architecture, card.known_answers, card.features)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next batch: it returns a few megabytes to the system at once, and the page
    faults to get them again made inference half as slow again. Nothing where the C library is another one."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, 64 << 20)  # bytes at the top of each heap
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # a piece of this size or more is returned; glibc allows no more


def ready(
    path: Path = WEIGHTS, max_batch: int = 1, threads: int = 1, device: str = "cpu", sha256: str = "",
    precision: str = "fp16",
):  # fmt: skip
    """A loaded model (a Model, or a CudaModel) that has answered before, so that no request pays for a first time.

    `device` is cpu, cuda, or auto: CUDA where there is some; `precision` is fp16, bf16 or fp32, of CUDA alone. Raises
    WeightsError, DeviceError.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    model = load(path, sha256)
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda: torch finds no CUDA device here; auto or cpu would do without")
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        from model_server.inference.cuda import CudaModel

        if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise DeviceError("--precision bf16: this GPU has it by emulation only; take fp16")
        model = CudaModel(model, max_batch, precision)
    began = time.monotonic()
    for size in range(1, max_batch + 1):  # every size, unless the network is large: then it is no first time that hurts
        answers = model.predict(np.zeros((size, model.side, model.side), np.uint8))
        if answers.shape != (size,) or not np.isfinite(answers).all():
            raise WeightsError(f"{path}: the model answers {answers!r} to {size} black images")
        if time.monotonic() - began > WARM_UP_S:
            break
    return model
