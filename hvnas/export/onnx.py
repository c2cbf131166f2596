"""ONNX by torch's dynamo exporter, checked against ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hvnas.arch import Arch
from hvnas.export.graph import Graph, Images, Shape, largest_error, make_graph, quiet, refuse_error, shapes
from hvnas.export.running import open_file
from hvnas.export.target import check_target, require, size_of, writing

OPSET = 20  # the first with Gelu as one op
TOLERANCE = 1e-4
SINGLE_FILE_BYTES = 2**31 - 2**24  # a protobuf message holds 2 GiB; the graph itself takes a few MB
SIDE_FILE = ".data"


@dataclass(frozen=True, kw_only=True)
class OnnxReport:
    """What was written. `ops` counts the nodes by type; `error` is relative, None where not checked."""

    path: Path
    bytes: int
    opset: int
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    ops: Mapping[str, int]
    error: float | None


def export_onnx(
    source: Arch | nn.Module,
    path: str | Path,
    *,
    weights: str | Path | None = None,
    deploy: bool = True,
    resolution: int | None = None,
    inputs: Mapping[str, Shape] | None = None,
    images: Images | None = None,
    check: bool = True,
) -> OnnxReport:
    """Write a network, or any module, as ONNX in float32, batch 1 unless `inputs` says otherwise.

    Options are those of `hvnas.export.graph.make_graph`. The file appears whole or not at all; weights of
    2 GB and more lie beside it as ``NAME.onnx.data``. Name, hash, resolution and classes are in its
    metadata. With `check` ONNX Runtime must give torch's outputs up to `TOLERANCE` of the largest.
    Raises ValueError, one line: a bad path, a missing package, options that do not fit, outputs that differ.
    """
    path = check_target(path, ".onnx")
    require("onnx", "onnxscript", *(["onnxruntime"] if check else []), extra="onnx", what="ONNX export")
    graph = make_graph(
        source, weights=weights, deploy=deploy, resolution=resolution, inputs=inputs, images=images
    )
    program = _convert(graph)
    apart = _weight_bytes(graph.module) > SINGLE_FILE_BYTES
    with writing(path) as part:
        program.save(part, external_data=apart)
        error = _error(part, graph) if check else None
        refuse_error(error, tolerance=TOLERANCE, path=path, of="ONNX Runtime's")
        size = sum(size_of(file) for file in part.parent.iterdir())
    if not apart:
        path.with_name(path.name + SIDE_FILE).unlink(missing_ok=True)
    return OnnxReport(
        path=path,
        bytes=size,
        opset=OPSET,
        inputs=shapes(graph.inputs),
        outputs=shapes(graph.outputs),
        ops=dict(Counter(node.op_type for node in program.model.graph)),
        error=error,
    )


def _convert(graph: Graph) -> Any:
    with quiet():
        program = torch.onnx.export(
            graph.module,
            graph.arguments,
            dynamo=True,
            optimize=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
        )
    assert program is not None
    # each node carries the exporter's stack trace: half of a small file, and paths of this machine
    for node in program.model.graph:
        node.metadata_props.clear()
    program.model.metadata_props.update(graph.facts)
    return program


def _weight_bytes(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])


def _error(path: Path, graph: Graph) -> float:
    """Largest relative error over the outputs."""
    opened = open_file(path, threads=torch.get_num_threads())
    results = opened.call({name: tensor.numpy() for name, tensor in graph.inputs.items()})
    return largest_error(graph, map(torch.from_numpy, results))
