"""A loaded model on a CUDA device: half precision, pinned memory, channels last, one captured graph a batch size."""

import copy

import numpy as np
import torch
from torch import nn

from model_server.inference.model import Model, probability

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


class CudaModel:
    """Answers as the model it was made of, and NaN where a number leaves the precision's range. For one thread at a
    time. fp16 is the default: bf16 has a wider range, and moves answers ten times as far."""

    def __init__(self, model: Model, max_batch: int, precision: str = "fp16", device: str = "cuda"):
        self.version, self.sha256, self.architecture, self.side = (
            model.version, model.sha256, model.architecture, model.side,
        )  # fmt: skip
        self.known_answers, self.features = model.known_answers, model.features
        self.device = device
        self.uuid = str(torch.cuda.get_device_properties(device).uuid)  # of the GPU, or of a slice of it (MIG)
        self._precision = PRECISIONS[precision]
        self._network = copy.deepcopy(model.network).to(device, memory_format=torch.channels_last)
        for part in self._network.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):  # what autocast would cast, each time it is replayed
                part.to(self._precision)
        # Powers of two: a batch is filled up to the next one, which costs less than a graph for each size would hold.
        self._sizes = sorted({min(1 << i, max_batch) for i in range(max_batch.bit_length() + 1)})
        self._staged = torch.zeros((max_batch, self.side, self.side), dtype=torch.uint8).pin_memory()
        self._answered = torch.zeros(max_batch).pin_memory()
        self._given = torch.zeros((max_batch, self.side, self.side), dtype=torch.uint8, device=device)
        # One pool for all graphs: only one is replayed at a time, and its answers are fetched before the next.
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs = {size: self._captured(size) for size in reversed(self._sizes)}  # the largest makes the pool

    @torch.inference_mode()
    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, side, side), at most a batch, to the probability of pneumonia, float32 (n,); NaN where the network
        failed."""
        count = len(pixels)
        graph, answers = self._graphs[next(size for size in self._sizes if size >= count)]
        self._staged[:count].copy_(torch.from_numpy(pixels))
        self._given[:count].copy_(self._staged[:count], non_blocking=True)
        graph.replay()
        self._answered[:count].copy_(answers[:count], non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return self._answered[:count].numpy().copy()

    def usable(self) -> bool:
        """False after an error that stays until the process ends. May never answer."""
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return False
        return True

    @torch.inference_mode()
    def _captured(self, size: int) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        """A graph that reads the first images given, and what it writes."""
        half = self._precision != torch.float32

        def run() -> torch.Tensor:
            with torch.autocast(self._given.device.type, self._precision, half, cache_enabled=False):
                return probability(self._network(self._given[:size]))

        aside = torch.cuda.Stream()  # a graph may only be captured of what has run before, on another stream
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            answers = run()
        return graph, answers
