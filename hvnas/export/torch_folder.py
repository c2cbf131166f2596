"""PyTorch without hvnas: the network as readable source, its weights and its configuration in one folder."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from hvnas._numbers import clean
from hvnas.arch import Arch, save_arch
from hvnas.export.graph import (
    Graph,
    Images,
    Shape,
    arch_of,
    largest_error,
    make_graph,
    refuse_error,
    shapes,
    tensors_of,
)
from hvnas.export.source import is_word, module_source
from hvnas.export.target import check_folder, size_of, writing
from hvnas.nn.weights import save_weights

CONFIG, WEIGHTS, SOURCE = "config.yaml", "model.safetensors", "model.py"
FILES = frozenset({CONFIG, WEIGHTS, SOURCE, "__pycache__"})
TOLERANCE = 1e-6

TITLE = """\
An image network in plain PyTorch; its weights are in {weights} beside this file.

    from model import load

    network = load()          # in eval mode
    y = network({arguments})  # {shapes}

Shapes in the names of tensors: B batch, C channels, H W height and width, N tokens, D their dimension.
Written by hvnas {version}; needs torch and nothing else.
"""

ENTRY = '''\
def load(path: str | Path | None = None) -> Network:
    """The network in eval mode, weights read from a safetensors file: by default that beside this one."""
    network = Network()
    beside = Path(__file__).with_name("{weights}")
    network.load_state_dict(read_weights(beside if path is None else Path(path)))
    return network.eval()
'''


@dataclass(frozen=True, kw_only=True)
class TorchReport:
    """What was written. `lines` are those of the source; `error` is relative, of the source's outputs."""

    path: Path
    bytes: int
    lines: int
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    error: float


def export_torch(
    source: Arch | nn.Module,
    path: str | Path,
    *,
    weights: str | Path | None = None,
    resolution: int | None = None,
    inputs: Mapping[str, Shape] | None = None,
    images: Images | None = None,
) -> TorchReport:
    """Write a network, or any module, as a folder: config.yaml, model.safetensors and model.py.

    ``model.py`` imports torch only; its ``load()`` gives the network with its weights, ready to run or to
    train further: nothing is folded, and the weights are hvnas's own, key for key. A module without an
    architecture has no config.yaml. Options are those of `hvnas.export.graph.make_graph`. The source is
    run and must give `source`'s outputs up to `TOLERANCE` of the largest. The folder appears whole or not
    at all. Raises ValueError, one line: a bad path, options that do not fit, a module whose classes cannot
    be written as source.
    """
    path = check_folder(path, FILES)
    graph = make_graph(
        source, weights=weights, deploy=False, resolution=resolution, inputs=inputs, images=images
    )
    text = _source(graph)
    with writing(path) as part:
        part.mkdir()
        if (arch := arch_of(graph.module)) is not None:
            save_arch(arch, part / CONFIG)
        save_weights(graph.module.state_dict(), part / WEIGHTS, metadata=graph.facts)
        (part / SOURCE).write_text(text, encoding="utf-8")
        error = _error(part / SOURCE, graph)
        refuse_error(error, tolerance=TOLERANCE, path=path, of="the source's", against="the network's")
        size = size_of(part)
    return TorchReport(
        path=path,
        bytes=size,
        lines=text.count("\n"),
        inputs=shapes(graph.inputs),
        outputs=shapes(graph.outputs),
        error=error,
    )


def _source(graph: Graph) -> str:
    from hvnas._version import __version__

    tensors = {**graph.inputs, **graph.outputs}
    title = TITLE.format(
        weights=WEIGHTS,
        arguments=", ".join(filter(is_word, graph.inputs)),
        shapes=", ".join(f"{name} {list(t.shape)}" for name, t in tensors.items() if is_word(name)),
        version=__version__,
    )
    return module_source(
        graph.module,
        title=title,
        constants=_constants(graph),
        entry=ENTRY.format(weights=WEIGHTS),
        helpers=(read_weights,),
    )


def _constants(graph: Graph) -> dict[str, Any]:
    arch, images = arch_of(graph.module), graph.images
    constants: dict[str, Any] = {}
    if arch is not None:
        constants |= {"NAME": clean(arch.name), "RESOLUTION": arch.resolution, "CLASSES": arch.head.out}
    if images is not None:
        names = tuple(map(clean, images.class_names))
        constants |= {"CLASS_NAMES": names, "MEAN": images.mean, "STD": images.std}
    return constants


def _error(path: Path, graph: Graph) -> float:
    """Largest relative error of the written source over the outputs."""
    with _imported(path) as written, torch.no_grad():
        results = tensors_of(written.load()(*graph.arguments))
    return largest_error(graph, results)


@contextmanager
def _imported(path: Path) -> Iterator[ModuleType]:
    """The module of a file, under a name that is taken by nothing, and without a trace of it."""
    name = f"_written_{path.parent.parent.name.strip('.').replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.dont_write_bytecode = before


# reading safetensors with torch alone: part of every exported model.py
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises ValueError where it is cut short or no such file."""
    try:
        data = bytearray(path.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            shape, begin = entry["shape"], start + entry["data_offsets"][0]
            flat = torch.frombuffer(data, dtype=DTYPES[entry["dtype"]], count=math.prod(shape), offset=begin)
            tensors[name] = flat.view(shape)
        return tensors
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(
            f"{path}: not a complete safetensors file ({type(error).__name__}); export it again"
        ) from None
