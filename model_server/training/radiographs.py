"""Synthetic chest radiographs with known truth, from a seed.

Lung fields, ribs, spine, heart shadow, diaphragm, exposure and noise vary from image to image; pneumonia is a lobar
consolidation or scattered patches inside the lung fields. Soft-tissue shadows and under-exposure brighten healthy lungs
too, so that mean brightness does not tell the classes apart.

    python -m model_server.training.radiographs --out DIR --count N --seed S --size 256
"""

import argparse
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image, ImageFilter
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from model_server.classes import CLASSES


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One image and what is true of it."""

    pixels: np.ndarray  # uint8, (size, size), bright = dense
    label: int  # index into CLASSES
    pattern: str  # "clear" | "lobar" | "patchy"

    def jpeg(self, quality: int = 75) -> bytes:
        return _saved(Image.fromarray(self.pixels).save, "JPEG", quality=quality)

    def png(self) -> bytes:
        """As an archive exports it: smoothed and in 32 greys, so that even a large image is small to send."""
        smooth = np.asarray(Image.fromarray(self.pixels).filter(ImageFilter.GaussianBlur(4)))
        return _saved(Image.fromarray(smooth // 8 * 8).save, "PNG", optimize=True)

    def dicom(self) -> bytes:
        """A digital radiograph as a detector stores it: twelve bits, MONOCHROME2, of nobody."""
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(self.pixels.sum()), self.pattern])
        found = Dataset()
        found.file_meta = meta
        found.SOPClassUID, found.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        found.Modality, found.BodyPartExamined = "DX", "CHEST"
        found.WindowCenter, found.WindowWidth = 2048, 4096
        found.set_pixel_data(self.pixels.astype("<u2") << 4, "MONOCHROME2", 12, generate_instance_uid=False)
        return _saved(found.save_as, enforce_file_format=True)

    def drifted(self, rng: np.random.Generator, exposure: float, contrast: float, noise: float) -> Self:
        """On another detector: grey levels and their spread times those, `noise` (of the full range) added."""
        grey = self.pixels / 255
        changed = (grey - grey.mean()) * contrast + grey.mean() * exposure + rng.normal(0, noise, grey.shape)
        return replace(self, pixels=np.uint8(np.round(255 * changed.clip(0, 1))))


def _saved(save: Callable[..., None], *how: Any, **more: Any) -> bytes:
    out = io.BytesIO()
    save(out, *how, **more)
    return out.getvalue()


def radiographs(count: int, seed: int, size: int = 256) -> Iterator[Radiograph]:
    """`count` images, the classes in turn; image i depends on seed, size and i alone."""
    for i in range(count):
        yield draw(np.random.default_rng([seed, i]), i % 2, size)


def draw(rng: np.random.Generator, label: int, size: int = 256) -> Radiograph:
    """One radiograph of the given class."""
    x, y = _patient(rng, size)
    left, right = (_lung(rng, x, y, side) for side in (-1, 1))
    lungs = np.maximum(left, right)
    density = 0.10 + rng.uniform(0.5, 0.6) * _soft((1 - np.hypot(x / 0.92, y / 1.25)) / 0.08)
    density -= rng.uniform(0.30, 0.42) * lungs
    density += 0.12 * np.exp(-((x / 0.09) ** 2)) + _heart(rng, x, y) + _ribs(rng, x, y) + _vessels(rng, x, y) * lungs
    density += _soft_tissue(rng, x, y) + rng.uniform(0.02, 0.06) * _mottle(rng, size, 24) * lungs
    pattern = "clear"
    if label:
        pattern = str(rng.choice(["lobar", "patchy"]))
        lung = left if rng.random() < 0.5 else right
        density += _lobar(rng, x, y, lung, size) if pattern == "lobar" else _patches(rng, x, y, lungs, size)
    return Radiograph(_expose(rng, density, size), label, pattern)


def _patient(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of each pixel in the patient's frame, about -1 to 1: position, size and tilt vary."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    tilt, zoom = rng.uniform(-0.07, 0.07), rng.uniform(0.93, 1.1)
    x, y = x - rng.uniform(-0.06, 0.06), y - rng.uniform(-0.06, 0.06)
    return zoom * (x * np.cos(tilt) - y * np.sin(tilt)), zoom * (x * np.sin(tilt) + y * np.cos(tilt))


def _lung(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, side: int) -> np.ndarray:
    """One lung field, 0 to 1, ending below in the dome of the diaphragm."""
    across = (side * x - rng.uniform(0.38, 0.44)) / (rng.uniform(0.27, 0.33) * (1 + 0.25 * y))
    along = (y + 0.05) / rng.uniform(0.62, 0.74)
    dome = rng.uniform(0.42, 0.56) + 0.9 * (side * x - 0.4) ** 2 + 0.04 * side
    return _soft((1 - np.hypot(across, along)) / 0.06) * _soft((dome - y) / 0.02)


def _heart(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    wide, tall = rng.uniform(0.24, 0.36), rng.uniform(0.24, 0.32)
    strength, centre = rng.uniform(0.18, 0.3), rng.uniform(0.08, 0.16)
    return strength * _soft((1 - np.hypot((x - centre) / wide, (y - 0.28) / tall)) / 0.12)


def _ribs(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rib arcs that fall away from the spine, and the collar bones."""
    count, strength = rng.integers(8, 11), rng.uniform(0.05, 0.12)
    fall, width = rng.uniform(0.25, 0.5), rng.uniform(0.018, 0.03)
    away = np.abs(x)
    inside = _soft((0.85 - away) / 0.05) * _soft((away - 0.08) / 0.04)
    ribs = sum(
        np.exp(-(((y - (-0.75 + 1.45 * k / count) - fall * away**2 + 0.1 * away) / width) ** 2)) for k in range(count)
    )
    collar = np.exp(-(((y + 0.72 + 0.18 * away) / 0.03) ** 2)) * _soft((0.75 - away) / 0.05)
    return strength * (ribs * inside + 1.3 * collar)


def _vessels(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bright roots of the lungs, thinning outwards."""
    tree = np.zeros_like(x)
    for side in (-1, 1):
        dx, dy = side * x - 0.16, y - rng.uniform(-0.05, 0.08)
        reach, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
        tree += np.exp(-reach / 0.18) * (0.6 + 0.4 * np.cos(rng.integers(6, 10) * angle + rng.uniform(0, 6)))
    return rng.uniform(0.10, 0.2) * tree


def _soft_tissue(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Breast and muscle shadows: smooth, on both sides, in both classes."""
    low = rng.uniform(0.25, 0.5)
    return rng.uniform(0, 0.14) * sum(np.exp(-(((x - s * 0.45) / 0.35) ** 2) - ((y - low) / 0.3) ** 2) for s in (-1, 1))


def _lobar(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, lung: np.ndarray, size: int) -> np.ndarray:
    """One lobe consolidated: dense, mottled, cut off sharply at the fissure."""
    fissure = rng.uniform(-0.1, 0.15) + rng.uniform(-0.25, 0.25) * (np.abs(x) - 0.4)
    below = rng.random() < 0.65
    fade = rng.uniform(0.25, 0.5)
    away = (y - fissure) if below else (fissure - y)
    lobe = _soft(away / 0.025) * _soft((fade - away) / 0.08)
    return rng.uniform(0.14, 0.28) * lobe * lung * (1 + 0.45 * _mottle(rng, size, 20))


def _patches(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, lungs: np.ndarray, size: int) -> np.ndarray:
    """Scattered patches with ragged edges."""
    ragged = _mottle(rng, size, 28)
    patches = np.zeros_like(x)
    for _ in range(rng.integers(4, 10)):
        cx, cy = rng.choice([-1, 1]) * rng.uniform(0.25, 0.55), rng.uniform(-0.35, 0.4)
        reach = np.hypot(x - cx, (y - cy) * rng.uniform(0.8, 1.2)) / rng.uniform(0.09, 0.17)
        patches = np.maximum(patches, np.exp(-(reach**2)) * (1 + 0.5 * ragged))
    return rng.uniform(0.16, 0.3) * patches * lungs


def _expose(rng: np.random.Generator, density: np.ndarray, size: int) -> np.ndarray:
    """What the detector makes of it: exposure, shading, grain, eight bits."""
    shade = 0.04 * _mottle(rng, size, 3)
    gamma, gain, offset = rng.uniform(0.8, 1.25), rng.uniform(0.85, 1.15), rng.uniform(-0.06, 0.06)
    seen = np.clip(density + shade, 0, 1.2) ** gamma * gain + offset
    grain = rng.normal(0, rng.uniform(0.008, 0.03), (size, size))
    return np.uint8(255 * np.clip(seen + grain, 0, 1))


def _mottle(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise with `cells` bumps a side, about -1 to 1."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def _soft(edge: np.ndarray) -> np.ndarray:
    """0 far below an edge, 1 far above it."""
    return 1 / (1 + np.exp(-np.clip(edge, -30, 30)))


def main() -> None:
    parser = argparse.ArgumentParser("python -m model_server.training.radiographs", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write NORMAL/*.jpg and PNEUMONIA/*.jpg into")
    parser.add_argument("--count", type=int, default=40, help="images in all, half of each class")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--format", choices=("jpg", "png", "dcm"), default="jpg", help="PNGs are smoothed")
    parser.add_argument("--exposure", type=float, default=1.0, help="grey levels times this, as of another detector")
    parser.add_argument("--contrast", type=float, default=1.0, help="their spread times this")
    parser.add_argument("--noise", type=float, default=0.0, help="noise added, as a share of the full range")
    options = parser.parse_args()
    for i, image in enumerate(radiographs(options.count, options.seed, options.size)):
        drift = options.exposure, options.contrast, options.noise
        if drift != (1, 1, 0):
            image = image.drifted(np.random.default_rng([options.seed, i, 1]), *drift)
        folder = options.out / CLASSES[image.label]
        folder.mkdir(parents=True, exist_ok=True)
        body = {"jpg": image.jpeg, "png": image.png, "dcm": image.dicom}[options.format]()
        (folder / f"{i:04d}-{image.pattern}.{options.format}").write_bytes(body)


if __name__ == "__main__":
    main()
