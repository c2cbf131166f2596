"""TFLite by litert-torch, in float32, float16 or int8: run by LiteRT and compared with torch."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hvnas._numbers import shortened
from hvnas.arch import Arch
from hvnas.export.graph import (
    Graph,
    Images,
    Precision,
    Shape,
    batches,
    check_calibration,
    check_file,
    make_graph,
    quiet,
    shapes,
)
from hvnas.export.running import FACTS, Array, silenced
from hvnas.export.target import check_target, require, size_of, writing

SIGNATURE = "serving_default"  # what benchmarks and apps run where no other is asked for


@dataclass(frozen=True, kw_only=True)
class TfliteReport:
    """What was written. `ops` counts the file's ops by type; `error` is None where not checked.

    The error is relative to the largest output, in int8 root mean square over that of the outputs.
    """

    path: Path
    bytes: int
    precision: Precision
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    ops: Mapping[str, int]
    error: float | None


def export_tflite(
    source: Arch | nn.Module,
    path: str | Path,
    *,
    weights: str | Path | None = None,
    deploy: bool = True,
    resolution: int | None = None,
    inputs: Mapping[str, Shape] | None = None,
    images: Images | None = None,
    precision: Precision = "float32",
    calibration: Array | None = None,
    float32: str | Path | None = None,
    check: bool = True,
) -> TfliteReport:
    """Write a network, or any module, as ``NAME.tflite``, batch 1 unless `inputs` says otherwise.

    Inputs and outputs are float32, channels first, in every `precision`. ``float16`` holds weights in half
    precision; ``int8`` computes in integers where LiteRT can, weights per channel, activations in ranges that
    `calibration` fills: images [N, 3, H, W] normalised as in training. `float32` names a second file, the
    network before that. Other options are those of `hvnas.export.graph.make_graph`. With `check` LiteRT must
    give torch's outputs within `hvnas.export.graph.TOLERANCES`, in int8 those for the images. The file
    appears whole or not at all. Raises ValueError, one line: a bad path, a missing package, options that do
    not fit, outputs that differ.
    """
    path = check_target(path, ".tflite")
    whole = None if float32 is None else check_target(float32, ".tflite")
    require("litert_torch", "ai_edge_litert", extra="litert", what="TFLite export")
    graph = make_graph(
        source, weights=weights, deploy=deploy, resolution=resolution, inputs=inputs, images=images
    )
    calibration = check_calibration(calibration, graph, precision)
    with quiet(), silenced():
        content = _convert(graph, path)
        model = _described(_quantised(content, graph, precision, calibration), graph)
        ops = _ops(model)
    if whole is not None:
        with writing(whole) as part:
            part.write_bytes(_packed(_described(content, graph)))
    with writing(path) as part:
        part.write_bytes(_packed(model))
        error = check_file(part, graph, precision, calibration, path=path, of="LiteRT's") if check else None
        size = size_of(part)
    return TfliteReport(
        path=path,
        bytes=size,
        precision=precision,
        inputs=shapes(graph.inputs),
        outputs=shapes(graph.outputs),
        ops=ops,
        error=error,
    )


def _convert(graph: Graph, path: Path) -> bytes:
    import litert_torch

    try:
        with redirect_stdout(io.StringIO()):  # it prints each of its steps
            content: bytes = litert_torch.convert(graph.module, graph.arguments).model_content()
    except (RuntimeError, ValueError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path}: litert-torch cannot convert this: {shortened(reason, 200)}; use other blocks"
        ) from None
    return content


def _quantised(content: bytes, graph: Graph, precision: Precision, calibration: Array | None) -> bytes:
    if precision == "float32":
        return content
    from ai_edge_quantizer import qtyping, quantizer, recipe

    if precision == "int8":
        assert calibration is not None
        work = quantizer.Quantizer(content, recipe.static_wi8_ai8())
        samples = [{"args_0": part.numpy()} for part in batches(calibration, graph)]
        ranges = work.calibrate({SIGNATURE: samples}, num_threads=torch.get_num_threads())
    else:
        work, ranges = quantizer.Quantizer(content), None
        half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=half,
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        work.update_quantization_recipe(
            ".*", qtyping.TFLOperationName.ALL_SUPPORTED, config, quantizer.AlgorithmName.FLOAT_CASTING
        )
    result = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _described(content: bytes, graph: Graph) -> Any:
    """The file as an object, its inputs and outputs under the graph's names, its facts in the metadata."""
    from ai_edge_litert.schema_py_generated import BufferT, MetadataT
    from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

    model = read_model_from_bytearray(bytearray(content))
    (signature,) = model.signatureDefs
    for maps, names in ((signature.inputs, graph.inputs), (signature.outputs, graph.outputs)):
        for entry, name in zip(sorted(maps, key=_position), names, strict=True):
            entry.name = name.encode()
    buffer, entry = BufferT(), MetadataT()
    buffer.data = list(json.dumps(dict(graph.facts)).encode())
    entry.name, entry.buffer = FACTS.encode(), len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    return model


def _position(entry: Any) -> int:
    """The place of ``args_3`` or ``output_3``, as litert-torch calls what has no name."""
    return int(entry.name.decode().rpartition("_")[2])


def _packed(model: Any) -> bytes:
    from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

    return bytes(convert_object_to_bytearray(model))


def _ops(model: Any) -> dict[str, int]:
    from ai_edge_litert.tools.flatbuffer_utils import opcode_to_name

    kinds = (opcode_to_name(model, op.opcodeIndex) for op in model.subgraphs[0].operators)
    return dict(sorted(Counter(kind for kind in kinds if kind is not None).items()))
