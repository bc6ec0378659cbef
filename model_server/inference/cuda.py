"""A loaded model on a CUDA device: half precision, pinned memory, channels last, one captured graph a batch size."""

from __future__ import annotations

import numpy as np
import torch

from model_server.inference.model import Model


class CudaModel:
    """Answers as the model it was made of. For one thread at a time."""

    def __init__(self, model: Model, max_batch: int):
        self.version, self.sha256, self.architecture, self.side = (
            model.version, model.sha256, model.architecture, model.side,
        )  # fmt: skip
        self.known_answers = model.known_answers
        self._network = model.network.to("cuda", memory_format=torch.channels_last)
        self._half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        # Powers of two: a batch is filled up to the next one, which costs less than a graph for each size would hold.
        self._sizes = sorted({min(1 << i, max_batch) for i in range(max_batch.bit_length() + 1)})
        self._staged = torch.zeros((max_batch, self.side, self.side), dtype=torch.uint8, pin_memory=True)
        self._answered = torch.zeros(max_batch, pin_memory=True)
        self._graphs = {size: self._captured(size) for size in reversed(self._sizes)}  # the largest makes the pool

    @torch.inference_mode()
    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, side, side), at most a batch, to the probability of pneumonia, float32 (n,)."""
        count = len(pixels)
        graph, given, answers = self._graphs[next(size for size in self._sizes if size >= count)]
        self._staged[:count].copy_(torch.from_numpy(pixels))
        given[:count].copy_(self._staged[:count], non_blocking=True)
        graph.replay()
        self._answered[:count].copy_(answers[:count], non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return self._answered[:count].numpy().copy()

    def usable(self) -> bool:
        """False after an error that stays until the process ends."""
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return False
        return True

    @torch.inference_mode()
    def _captured(self, size: int) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]:
        """A graph, what it reads and what it writes."""
        given = torch.zeros((size, self.side, self.side), dtype=torch.uint8, device="cuda")

        def run() -> torch.Tensor:
            with torch.autocast("cuda", self._half, cache_enabled=False):
                return torch.sigmoid(self._network(given).float())

        aside = torch.cuda.Stream()  # a graph may only be captured of what has run before, on another stream
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            answers = run()
        return graph, given, answers
