"""ONNX by torch's dynamo exporter, checked against ONNX Runtime."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hvnas._names import check_whole, shown
from hvnas.arch import Arch
from hvnas.export.graph import (
    TOLERANCES,
    Graph,
    Images,
    Shape,
    batches,
    check_calibration,
    check_file,
    make_graph,
    quiet,
    shapes,
)
from hvnas.export.running import Array, FileShape
from hvnas.export.target import check_target, require, size_of, writing

OPSET = 20  # the first with Gelu as one op
OPSETS = range(18, 24)  # what torch's exporter and ONNX Runtime know
SEVERAL = 2  # images in the example of a free batch: torch takes one for a constant
TOLERANCE = TOLERANCES["float32"]
SINGLE_FILE_BYTES = 2**31 - 2**24  # a protobuf message holds 2 GiB; the graph itself takes a few MB
SIDE_FILE = ".data"
OF = "ONNX Runtime's"


@dataclass(frozen=True, kw_only=True)
class OnnxReport:
    """What was written. `ops` counts the nodes by type; `error` is None where not checked.

    The error is relative to the largest output, in int8 root mean square over that of the outputs. A free
    batch is None in the shapes.
    """

    path: Path
    bytes: int
    precision: Literal["float32", "int8"]
    opset: int
    inputs: Mapping[str, FileShape]
    outputs: Mapping[str, FileShape]
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
    precision: Literal["float32", "int8"] = "float32",
    calibration: Array | None = None,
    float32: str | Path | None = None,
    batch: int | None = 1,
    opset: int = OPSET,
    check: bool = True,
) -> OnnxReport:
    """Write a network, or any module, as ONNX of an `opset`, for `batch` images at once.

    A batch of None is free: the file takes any number. `inputs` have a batch of their own.

    ``int8`` computes in integers where ONNX Runtime can: weights per channel, activations in ranges that
    `calibration` fills, images [N, 3, H, W] normalised as in training; inputs and outputs stay float32.
    `float32` names a second file, the network before that. Other options are those of
    `hvnas.export.graph.make_graph`; its facts are in the metadata. The file appears whole or not at all;
    weights of 2 GB and more lie beside it as ``NAME.onnx.data``. With `check` ONNX Runtime must give torch's
    outputs within `hvnas.export.graph.TOLERANCES`, in int8 those for the images. Raises ValueError, one
    line: a bad path, a missing package, options that do not fit, outputs that differ.
    """
    path = check_target(path, ".onnx")
    whole = None if float32 is None else check_target(float32, ".onnx")
    runtime = ["onnxruntime"] if check or precision == "int8" else []
    require("onnx", "onnxscript", *runtime, extra="onnx", what="ONNX export")
    _check_options(batch, opset, inputs)
    graph = make_graph(
        source,
        weights=weights,
        deploy=deploy,
        resolution=resolution,
        inputs=inputs,
        images=images,
        batch=SEVERAL if batch is None else batch,
    )
    calibration = check_calibration(calibration, graph, precision)
    program = _convert(graph, opset=opset, free=batch is None)
    apart = _weight_bytes(graph.module) > SINGLE_FILE_BYTES
    if whole is not None:
        with writing(whole) as part:
            program.save(part, external_data=apart)
    with writing(path) as part:
        if calibration is None:
            program.save(part, external_data=apart)
            ops = Counter(node.op_type for node in program.model.graph)
        else:
            ops = _write_int8(program, part, graph, calibration, apart=apart)
            apart = False  # a quarter of its bytes
        error = check_file(part, graph, precision, calibration, path=path, of=OF) if check else None
        size = sum(size_of(file) for file in part.parent.iterdir())
    if not apart:
        path.with_name(path.name + SIDE_FILE).unlink(missing_ok=True)
    return OnnxReport(
        path=path,
        bytes=size,
        precision=precision,
        opset=opset,
        inputs=_axes(graph.inputs, free=batch is None),
        outputs=_axes(graph.outputs, free=batch is None),
        ops=dict(ops),
        error=error,
    )


def _check_options(batch: int | None, opset: int, inputs: Mapping[str, Shape] | None) -> None:
    """Raise ValueError, one line, for an option that makes no sense."""
    if opset not in OPSETS:
        known = f"from {OPSETS[0]} to {OPSETS[-1]}"
        raise ValueError(f"opset: must be a whole number {known}, got {shown(opset)}; choose another")
    if batch is not None:
        check_whole("batch", batch, least=1)
    if inputs is not None and batch != 1:
        raise ValueError("batch: the inputs have one of their own; leave it out")


def _axes(tensors: Mapping[str, Tensor], *, free: bool) -> dict[str, FileShape]:
    return {name: (None, *shape[1:]) if free else shape for name, shape in shapes(tensors).items()}


def _convert(graph: Graph, *, opset: int, free: bool) -> Any:
    dynamic = ({0: torch.export.Dim("batch")},) if free else None
    with quiet():
        program = torch.onnx.export(
            graph.module,
            graph.arguments,
            dynamo=True,
            optimize=True,
            verbose=False,
            opset_version=opset,
            dynamic_shapes=dynamic,
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


def _write_int8(program: Any, part: Path, graph: Graph, calibration: Array, *, apart: bool) -> Counter[str]:
    """Write a program to `part` in int8; counts of its nodes by type."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    whole = part.parent / "float32" / part.name
    whole.parent.mkdir()
    program.save(whole, external_data=apart)
    with quiet():
        quantize_static(
            whole,
            part,
            _calibration_reader(graph, calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # signed and 8 bits wide for both: what ARM's kernels are fast in, and no kernel overflows in
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    shutil.rmtree(whole.parent)
    model = onnx.load(part)
    return Counter(node.op_type for node in model.graph.node)


def _calibration_reader(graph: Graph, calibration: Array) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    (name,) = graph.inputs

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds = iter([{name: batch.numpy()} for batch in batches(calibration, graph)])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.feeds, None)

    return Reader()
