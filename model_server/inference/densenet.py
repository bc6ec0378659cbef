"""DenseNet-121, the network of CheXNet: parameters named and shaped as everywhere else, so that its weights fit."""

from collections import OrderedDict

import torch
from torch import nn

GROWTH, BOTTLENECK = 32, 4
LAYERS = (6, 12, 24, 16)


class DenseNet121(nn.Module):
    """With one output, the log odds of pneumonia, 6,954,881 parameters; with the usual thousand, 7,978,856."""

    architecture = "densenet-121"
    side = 224

    def __init__(self, outputs: int = 1):
        super().__init__()
        width = 2 * GROWTH
        steps: dict[str, nn.Module] = {
            "conv0": nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
            "norm0": nn.BatchNorm2d(width),
            "relu0": nn.ReLU(inplace=True),
            "pool0": nn.MaxPool2d(3, stride=2, padding=1),
        }
        for block, layers in enumerate(LAYERS, 1):
            steps[f"denseblock{block}"] = nn.Sequential(
                OrderedDict((f"denselayer{i + 1}", _Layer(width + i * GROWTH)) for i in range(layers))
            )
            width += layers * GROWTH
            if block < len(LAYERS):
                steps[f"transition{block}"] = _transition(width)
                width //= 2
        steps["norm5"] = nn.BatchNorm2d(width)
        self.features = nn.Sequential(OrderedDict(steps))
        self.classifier = nn.Linear(width, outputs)
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):  # ImageNet's
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (n, side, side) to log odds, float32 (n,); with several outputs (n, outputs)."""
        images = (pixels.unsqueeze(1).float() / 255 - self.mean) / self.std  # one grey is all three colours
        seen = torch.relu(self.features(images)).mean((2, 3))
        return self.classifier(seen).squeeze(1)


class _Layer(nn.Module):
    """Adds its 32 maps to those it was given."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(width, BOTTLENECK * GROWTH, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(BOTTLENECK * GROWTH), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(BOTTLENECK * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        narrow = self.conv1(self.relu1(self.norm1(maps)))
        return torch.cat([maps, self.conv2(self.relu2(self.norm2(narrow)))], 1)


def _transition(width: int) -> nn.Sequential:
    steps = {
        "norm": nn.BatchNorm2d(width),
        "relu": nn.ReLU(inplace=True),
        "conv": nn.Conv2d(width, width // 2, 1, bias=False),
        "pool": nn.AvgPool2d(2, stride=2),
    }
    return nn.Sequential(OrderedDict(steps))
