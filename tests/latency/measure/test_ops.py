"""Every op that the networks of a space hold can be run by itself, and writes what it says."""

from __future__ import annotations

import sys
from math import prod

import numpy as np
import pytest
import torch

from hvnas.arch import Arch, load_arch
from hvnas.latency.measure.backend_torch import torch_op
from hvnas.latency.tables.op_regressor import group_of
from hvnas.ops import Op
from hvnas.space import load_space


def _shrunk(arch: Arch) -> list[Arch]:
    try:
        return [arch.shrunk()]
    except ValueError:  # too narrow to be an eighth as wide
        return []


@pytest.fixture(scope="module")
def ops() -> list[Op]:
    """The two smallest ops of each sort, out of 60 members and the fixed points made small."""
    space = load_space("hybrid-mobile")
    rows = space.sample(60, rng=np.random.default_rng(11), macs=(0.1e9, 1e9))
    archs = [space.decode(row) for row in rows]
    archs += [small for name in space.fixed_points() for small in _shrunk(load_arch(name))]
    distinct = {op._replace(inputs=()) for arch in archs for op in arch.lower().fused().ops}
    chosen: dict[tuple[object, ...], list[Op]] = {}
    for op in sorted(distinct, key=lambda op: (op.in_count + op.weight_count, repr(op))):
        same = (len(op.shape_in), op.kernel, op.stride, op.bias, op.variant, op.act, op.weights > 0)
        alike = chosen.setdefault((group_of(op), *same, op.shape_in == op.shape_out), [])
        if len(alike) < 2:
            alike.append(op)
    return [op for alike in chosen.values() for op in alike]


def test_the_kinds_are_there(ops: list[Op]) -> None:
    expected = "conv linear matmul softmax norm act pool add mul scale bias concat resize relayout embed"
    assert {op.kind for op in ops} >= set(expected.split())
    assert {"attention", "masked_attention", "inner"} <= {op.variant for op in ops}
    assert len(ops) > 100


def test_as_torch(ops: list[Op]) -> None:
    wrong = []
    with torch.inference_mode():
        for op in ops:
            made = torch_op(op).compute()
            if made.numel() != prod(op.shape_out) or not made.isfinite().all():
                wrong.append((op, tuple(made.shape)))
    assert not wrong


def test_as_torch_the_shapes_of_maps_are_those_declared(ops: list[Op]) -> None:
    for op in ops:
        if op.kind in ("conv", "pool", "resize") and len(op.shape_out) == 3 and op.variant != "mean":
            assert tuple(torch_op(op).compute().shape[1:]) == op.shape_out, op


def test_as_onnx(ops: list[Op]) -> None:
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from hvnas.latency.measure.backend_onnx import onnx_op

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    wrong = []
    for op in ops:
        model, feeds = onnx_op(op)
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (made,) = session.run(None, feeds)
        if made.size != prod(op.shape_out) or not np.isfinite(made).all():
            wrong.append((op, made.shape))
    assert not wrong


def test_as_litert(ops: list[Op]) -> None:
    runtime = pytest.importorskip("ai_edge_litert.interpreter")
    from hvnas.export.running import silenced
    from hvnas.latency.measure.backend_litert import litert_op

    wrong = []
    for op in ops:
        with silenced():
            interpreter = runtime.Interpreter(model_content=litert_op(op), num_threads=1)
            interpreter.allocate_tensors()
        for tensor in interpreter.get_input_details():
            interpreter.set_tensor(tensor["index"], np.ones(tensor["shape"], np.float32))
        interpreter.invoke()
        made = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        if made.size != prod(op.shape_out) or not np.isfinite(made).all():
            wrong.append((op, made.shape))
    assert not wrong


def test_litert_times_an_op_without_its_call() -> None:
    pytest.importorskip("ai_edge_litert.interpreter")
    from hvnas.latency.measure.backends import make_backend

    backend = make_backend("litert", threads=1)
    small, large = (
        Op("conv", (side, 28, 28), (side, 28, 28), kernel=(3, 3), bias=True) for side in (16, 128)
    )
    times = [sorted(backend.op(op)(5))[2] for op in (small, large)]
    assert 0 < 8 * times[0] < times[1]


@pytest.mark.parametrize(("backend", "package"), [("litert", "ai_edge_litert"), ("onnxruntime", "onnx")])
def test_a_backend_names_the_package_that_it_lacks(
    backend: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hvnas.latency.measure.backends import EXTRAS, make_backend

    for name in [name for name in sys.modules if name.startswith("hvnas.latency.measure.backend_")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ValueError, match=rf"needs the package {package}; pip install 'hvnas\[{EXTRAS[backend]}\]'"
    ):
        make_backend(backend)


def test_activations_are_what_is_read_and_weights_are_not() -> None:
    conv = torch_op(Op("conv", (8, 7, 7), (16, 7, 7), bias=True))
    assert [tuple(x.shape) for x in conv.activations] == [(1, 8, 7, 7)]
    add = torch_op(Op("add", (8, 7, 7), (8, 7, 7)))
    assert len(add.activations) == 2
    attention = torch_op(Op("matmul", (2, 9, 9), (2, 9, 8), variant="attention"))
    assert [prod(x.shape) for x in attention.activations] == [144] * 3


def test_a_kind_that_there_is_not() -> None:
    op = Op("convolve", (8, 7, 7), (8, 7, 7))
    with pytest.raises(ValueError, match="'convolve' cannot be measured; there are act, add"):
        torch_op(op)
    pytest.importorskip("onnx")
    from hvnas.latency.measure.backend_onnx import onnx_op

    with pytest.raises(ValueError, match="'convolve' cannot be measured; there are act, add"):
        onnx_op(op)
