"""Stands in for torch.cuda where CudaModel calls it: a graph records the operators of its capture, and runs them again
on the same memory when it is replayed, all on the CPU. What a replay reads and where its answers lie is as on a GPU."""

import contextlib
from types import SimpleNamespace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

UUID = "00000001-0000-0000-0000-000000000000"


class Graph:
    """Its operators are (function, arguments, keywords, what it gave when it was recorded)."""

    def __init__(self):
        self.operators: list[tuple] = []
        self.pool = None

    def replay(self) -> None:
        for function, args, kwargs, gave in self.operators:
            for old, new in zip(tensors(gave), tensors(function(*args, **kwargs)), strict=True):
                if memory(old) != memory(new):  # else it wrote in place, or only looks at the same memory
                    old.copy_(new)


class Recording(TorchDispatchMode):
    def __init__(self, graph: Graph):
        super().__init__()
        self._graph = graph

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        gave = function(*args, **(kwargs or {}))
        self._graph.operators.append((function, args, kwargs or {}, gave))
        return gave


def tensors(of) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(of) if isinstance(leaf, torch.Tensor)]


def memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@contextlib.contextmanager
def captured(graph: Graph, pool=None):
    graph.pool = pool
    with Recording(graph):
        yield


class Stream:
    def wait_stream(self, other: "Stream") -> None: ...

    def synchronize(self) -> None: ...


def install(monkeypatch) -> None:
    """Let CudaModel(..., device="cpu") find this instead of CUDA."""
    handles = iter(range(1, 1000))
    for name, stand_in in {
        "CUDAGraph": Graph,
        "graph": captured,
        "graph_pool_handle": lambda: (0, next(handles)),
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda _: contextlib.nullcontext(),
        "synchronize": lambda: None,
        "get_device_properties": lambda _: SimpleNamespace(uuid=UUID),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
