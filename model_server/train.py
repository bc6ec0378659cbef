"""Trains weights, on synthetic radiographs or on folders of real ones, from a seed; or evaluates some.

    python -m model_server.train --out model_server/weights/small-cnn.safetensors
    python -m model_server.train --data chest_xray --out weights/mine.safetensors
    python -m model_server.train --evaluate chest_xray/test --weights weights/mine.safetensors

Synthetic images go through JPEG, and all through the server's own decoder, so that the network learns what it will be
shown. Real ones lie in folders called NORMAL and PNEUMONIA, in `train` and `test` as the public pneumonia set has them,
or in one folder. The model card beside the weights says how they were made and what they answer to the bundled samples.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from model_server.classes import CLASSES
from model_server.errors import BadInput
from model_server.health import SAMPLES
from model_server.inference import drift
from model_server.inference.images import SIDE, decode
from model_server.inference.model import ARCHITECTURES, Model, SmallCNN, WeightsError, load
from model_server.settings import WEIGHTS
from model_server.training.radiographs import radiographs

TRAINING_SEED, HELD_OUT_SEED = 1, 2
AT_ONCE = 64  # images through the network together when it is evaluated
SUFFIXES = {".png", ".jpg", ".jpeg", ".dcm"}
HOLD_OUT = 5  # where there is no folder for testing, every fifth image of each class is held out


class FolderError(Exception):
    """The folder does not hold what is needed; the message says what and where."""


def split_folder(folder: Path, side: int = SIDE) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images to train on, and images held out. Raises FolderError."""
    if (folder / "train").is_dir():
        return read_folder(folder / "train", side), read_folder(folder / "test", side)
    pixels, labels = read_folder(folder, side)
    place = np.concatenate([np.arange(count) for count in np.bincount(labels)])  # within its class
    held_out = place % HOLD_OUT == HOLD_OUT - 1
    if not held_out.any():
        raise FolderError(f"{folder}: fewer than {HOLD_OUT} images of each class; none can be held out")
    return (pixels[~held_out], labels[~held_out]), (pixels[held_out], labels[held_out])


def read_folder(folder: Path, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (n, side, side) and labels int64 (n,), the classes one after the other. Raises FolderError."""
    pixels, labels = [], []
    for label, name in enumerate(CLASSES):
        if not (folder / name).is_dir():
            raise FolderError(f"{folder}: no folder {name} in it")
        paths = sorted(path for path in (folder / name).iterdir() if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise FolderError(f"{folder / name}: no image in it ({', '.join(sorted(SUFFIXES))})")
        for path in paths:
            try:
                pixels.append(decode(path.read_bytes(), side=side))
                labels.append(label)
            except BadInput as error:
                raise FolderError(f"{path}: {error}: replace or remove it") from None
    return np.stack(pixels), np.array(labels)


def dataset(count: int, seed: int, side: int = SmallCNN.side) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (count, side, side) and labels int64 (count,)."""
    made = [(decode(image.jpeg(), side=side), image.label) for image in radiographs(count, seed)]
    return np.stack([pixels for pixels, _ in made]), np.array([label for _, label in made])


def fit(
    network: nn.Module, pixels: np.ndarray, labels: np.ndarray, epochs: int, seed: int, batch: int = 64
) -> nn.Module:
    """The network, trained, on the CPU; on CUDA meanwhile where there is some. Progress goes to standard error."""
    batch, rng = min(batch, len(labels)), np.random.default_rng(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.to(device).train()
    steps = epochs * (len(labels) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for chosen in rng.permutation(len(labels))[: batch * (len(labels) // batch)].reshape(-1, batch):
            shown = torch.from_numpy(_augmented(pixels[chosen], rng)).to(device)
            truth = torch.from_numpy(labels[chosen]).float().to(device)
            loss = nn.functional.binary_cross_entropy_with_logits(network(shown), truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total * batch / len(labels):.4f}", file=sys.stderr, flush=True)
    return network.eval().cpu()


def _augmented(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shifted by up to three pixels and mirrored: both keep the truth."""
    shifted = np.roll(pixels, tuple(rng.integers(-3, 4, 2)), (1, 2))
    return np.ascontiguousarray(shifted[:, :, ::-1] if rng.random() < 0.5 else shifted)


def scores(model: Model, pixels: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, and precision and recall of pneumonia (0 where nothing is called pneumonia)."""
    parts = [model.predict(pixels[i : i + AT_ONCE]) for i in range(0, len(pixels), AT_ONCE)]
    said, truth = np.concatenate(parts) > 0.5, labels.astype(bool)
    right, *of = (int(each.sum()) for each in (said & truth, said, truth))
    precision, recall = (right / max(1, count) for count in of)
    return {"accuracy": float((said == truth).mean()), "precision": precision, "recall": recall}


def known_answers(model: Model) -> dict[str, float]:
    """What a model answers to the bundled samples, for the deep health check."""
    paths = sorted(SAMPLES.glob("*/*"))
    answers = model.predict(np.stack([decode(path.read_bytes(), side=model.side) for path in paths]))
    return {path.name: round(float(answer), 6) for path, answer in zip(paths, answers, strict=True)}


def write(network: nn.Module, out: Path, version: str, **told: Any) -> None:
    """Weights, and their card with what is told of them."""
    weights = safetensors.torch.save(network.state_dict())
    sha256 = hashlib.sha256(weights).hexdigest()
    model = Model(network.eval(), version, sha256, network.architecture)
    card = {"version": version, "architecture": network.architecture, "sha256": sha256} | told
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(weights)
    out.with_suffix(".json").write_text(json.dumps(card | {"known_answers": known_answers(model)}, indent=2) + "\n")


def main(argv: list[str] | None = None) -> int:
    """0 done, 1 the folder or the weights cannot be used, 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m model_server.train", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="safetensors file; its model card goes beside it")
    parser.add_argument("--version", default="1.0.0")
    parser.add_argument("--architecture", choices=ARCHITECTURES, default=SmallCNN.architecture)
    parser.add_argument(
        "--data", type=Path, help="folder with NORMAL and PNEUMONIA, or with train and test; not synthetic"
    )
    parser.add_argument("--images", type=_count, default=6000, help="synthetic images to train on")
    parser.add_argument("--held-out", type=_count, default=2000, help="synthetic images to evaluate with")
    parser.add_argument("--epochs", type=_count, default=25)
    parser.add_argument("--seed", type=int, default=TRAINING_SEED)
    parser.add_argument("--evaluate", type=Path, metavar="DIR", help="train nothing; evaluate --weights on this folder")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="what --evaluate evaluates")
    options = parser.parse_args(argv)
    try:
        if options.evaluate:
            model = load(options.weights)
            pixels, labels = read_folder(options.evaluate, model.side)
            print(json.dumps(scores(model, pixels, labels) | {"images": len(labels), "version": model.version}))
        else:
            _train(options, " ".join(sys.argv[1:] if argv is None else argv))
    except (FolderError, WeightsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _train(options: argparse.Namespace, flags: str) -> None:
    began = time.monotonic()
    torch.manual_seed(options.seed)
    network = ARCHITECTURES[options.architecture]()
    if options.data:
        shown, held_out = split_folder(options.data, network.side)
    else:
        shown = dataset(options.images, options.seed, network.side)
        held_out = dataset(options.held_out, HELD_OUT_SEED, network.side)
    fit(network, *shown, options.epochs, options.seed)
    seen = scores(Model(network, "", "", ""), *held_out)
    write(
        network, options.out, options.version, **{f"held_out_{name}": share for name, share in seen.items()},
        held_out={"images": len(held_out[1])} | ({} if options.data else {"seed": HELD_OUT_SEED}),
        trained_on={"images": len(shown[1]), "seed": options.seed, "epochs": options.epochs},
        features=drift.reference(shown[0]),
        command=f"python -m model_server.train {flags}",
    )  # fmt: skip
    print(f"held-out accuracy {seen['accuracy']:.4f} after {time.monotonic() - began:.0f} s: {options.out}")


if __name__ == "__main__":
    sys.exit(main())
