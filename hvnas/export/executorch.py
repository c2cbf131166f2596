"""ExecuTorch with its XNNPACK backend, run and compared with torch."""

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
from hvnas.export.target import check_target, require, size_of, writing

TOLERANCE = 1e-4
ELEMENTWISE = tuple(
    f"aten.{op}" for op in ("add", "sub", "mul", "div", "relu", "gelu", "sigmoid", "hardtanh")
)
DELEGATE = "executorch_call_delegate"


@dataclass(frozen=True, kw_only=True)
class ExecutorchReport:
    """What was written. `delegated` counts the parts that XNNPACK runs, `ops` the ops left to the runtime.

    `error` is relative, None where not checked.
    """

    path: Path
    bytes: int
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    delegated: int
    ops: Mapping[str, int]
    error: float | None


def export_executorch(
    source: Arch | nn.Module,
    path: str | Path,
    *,
    weights: str | Path | None = None,
    deploy: bool = True,
    resolution: int | None = None,
    inputs: Mapping[str, Shape] | None = None,
    images: Images | None = None,
    check: bool = True,
) -> ExecutorchReport:
    """Write a network, or any module, as ``NAME.pte`` in float32 with all that XNNPACK takes delegated to it.

    Options are those of `hvnas.export.graph.make_graph`. With `check` ExecuTorch's runtime must give torch's
    outputs up to `TOLERANCE` of the largest. The file appears whole or not at all. Raises ValueError, one
    line: a bad path, a missing package, options that do not fit, outputs that differ.
    """
    path = check_target(path, ".pte")
    require("executorch", extra="executorch", what="ExecuTorch export")
    graph = make_graph(
        source, weights=weights, deploy=deploy, resolution=resolution, inputs=inputs, images=images
    )
    lowered = _lower(graph, path)
    nodes = [node for node in lowered.exported_program().graph.nodes if node.op == "call_function"]
    calls = Counter(_name(node.target) for node in nodes)
    delegated = calls.pop(DELEGATE, 0)
    with writing(path) as part:
        with quiet():
            part.write_bytes(lowered.to_executorch().buffer)
        error = _error(part, graph) if check else None
        refuse_error(error, tolerance=TOLERANCE, path=path, of="ExecuTorch's")
        size = size_of(part)
    return ExecutorchReport(
        path=path,
        bytes=size,
        inputs=shapes(graph.inputs),
        outputs=shapes(graph.outputs),
        delegated=delegated,
        ops={op: count for op, count in sorted(calls.items()) if op != "getitem"},
        error=error,
    )


def _name(target: Any) -> str:
    """The name of an op, without its overload."""
    return getattr(target, "__name__", str(target)).removesuffix(".default")


def _lower(graph: Graph, path: Path) -> Any:
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.export(graph.module, graph.arguments)
        partitioner = XnnpackPartitioner(configs=_taken())
        return to_edge_transform_and_lower(program, partitioner=[partitioner])


def _taken() -> list[Any]:
    """What XNNPACK is given: all that it takes, but a softmax over the last axis of what a convolution left.

    Its delegate keeps such a map with the channels last, and takes the softmax over these (executorch 1.5.1:
    a convolution followed by ``softmax(-1)`` is wrong by more than the largest output).
    """
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS, SoftmaxConfig

    class OwnLayoutOnly(SoftmaxConfig):
        def check_constraints(self, node: Any, ep: Any) -> bool:
            return not _is_of_convolution(node) and bool(super().check_constraints(node, ep))

    return [OwnLayoutOnly if config is SoftmaxConfig else config for config in ALL_PARTITIONER_CONFIGS]


def _is_of_convolution(node: Any) -> bool:
    """Whether a convolution computes what `node` reads, or something that is worked on element by element."""
    for source in node.all_input_nodes:
        name = _name(source.target)
        if "convolution" in name or (name.startswith(ELEMENTWISE) and _is_of_convolution(source)):
            return True
    return False


def _error(path: Path, graph: Graph) -> float:
    """Largest relative error over the outputs, as the runtime gives them."""
    with quiet():
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(str(path)).load_method("forward")
        assert method is not None
        results = method.execute(graph.arguments)
    return largest_error(graph, results)
