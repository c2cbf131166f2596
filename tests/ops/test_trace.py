"""The tracer: what torch emits, in the vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from hvnas.ops import Op, Program
from hvnas.ops.trace import trace


class Fn(nn.Module):
    """A function of an image, with some modules and parameters at hand."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def traced(function: Callable[..., Tensor], *, size: int = 8, **parts: object) -> Program:
    return trace(Fn(function, **parts), resolution=size)  # type: ignore[arg-type]


def kinds(program: Program) -> list[str]:
    return [op.variant if op.kind == "relayout" else op.kind for op in program.ops]


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def test_views_vanish() -> None:
    def views(m: nn.Module, x: Tensor) -> Tensor:
        y = m.conv(x)
        y = y.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2).clone()
        y = y.view(1, 2, 2, 8, 8).transpose(1, 2).reshape(1, 4, 8, 8)
        return m.conv2(F.dropout(y.flip(2).roll(1, 3), 0.5, training=False).to(torch.float64).float())

    program = traced(views, conv=nn.Conv2d(3, 4, 1), conv2=nn.Conv2d(4, 4, 1))
    assert kinds(program) == ["conv", "conv"]
    assert program.ops[1].inputs == (0,)


def test_scalings_by_constants_and_buffers_vanish() -> None:
    def scaled(m: nn.Module, x: Tensor) -> Tensor:
        y = (x - m.mean) / m.std
        y = m.conv(y) * 0.5 + 3
        return m.conv2(y / 7 - 1)

    parts = {"mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1)}
    program = traced(scaled, conv=nn.Conv2d(3, 4, 1), conv2=nn.Conv2d(4, 4, 1), **parts)
    assert kinds(program) == ["conv", "conv"]


def test_learned_factors_and_offsets_stay() -> None:
    gamma, position = nn.Parameter(torch.ones(4, 1, 1)), nn.Parameter(torch.zeros(1, 4, 8, 8))
    program = traced(
        lambda m, x: m.conv(x) * m.gamma + m.position, conv=nn.Conv2d(3, 4, 1), gamma=gamma, position=position
    )
    assert [(op.kind, op.weights) for op in program.ops] == [("conv", 0), ("scale", 4), ("bias", 256)]
    assert program.params == 16 + 4 + 256


LINEAR = Op("linear", (64, 3), (64, 5), (-1,), bias=True)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.fc(tokens(x)),
        lambda m, x: F.linear(tokens(x), m.fc.weight, m.fc.bias),
        lambda m, x: tokens(x) @ m.fc.weight.T + m.fc.bias,
        lambda m, x: torch.addmm(m.fc.bias, tokens(x)[0], m.fc.weight.T),
        lambda m, x: torch.mm(tokens(x)[0], m.fc.weight.T) + m.fc.bias,
        lambda m, x: torch.bmm(tokens(x), m.fc.weight.T[None]) + m.fc.bias,
        lambda m, x: torch.einsum("bnc,dc->bnd", tokens(x), m.fc.weight) + m.fc.bias,
    ],
    ids=["module", "functional", "matmul and add", "addmm", "mm and add", "bmm and add", "einsum"],
)
def test_every_spelling_of_a_linear_layer_is_one(function: Callable[..., Tensor]) -> None:
    program = traced(function, fc=nn.Linear(3, 5))
    assert [op.key for op in program.ops] == [LINEAR.key]


def test_linear_without_bias() -> None:
    program = traced(lambda m, x: m.fc(tokens(x)), fc=nn.Linear(3, 5, bias=False))
    assert [op.key for op in program.ops] == [LINEAR._replace(bias=False).key]


def test_a_product_with_a_buffer_is_no_linear_layer() -> None:
    program = traced(lambda m, x: tokens(x) @ m.frozen, frozen=torch.zeros(3, 5))
    assert [(op.kind, op.params, op.macs) for op in program.ops] == [("matmul", 0, 64 * 3 * 5)]


def test_relayout_is_decided_from_shapes_and_once_per_value() -> None:
    def two_readers(m: nn.Module, x: Tensor) -> Tensor:
        y = m.conv(x)
        flat = tokens(y).contiguous()
        z = m.a(flat) + m.b(flat)
        return m.conv2(z.transpose(1, 2).reshape(1, 4, 8, 8).clone())

    program = traced(
        two_readers,
        conv=nn.Conv2d(3, 4, 1),
        a=nn.Linear(4, 4),
        b=nn.Linear(4, 4),
        conv2=nn.Conv2d(4, 4, 1),
    )
    assert kinds(program) == ["conv", "map>tokens", "linear", "linear", "add", "tokens>map", "conv"]
    relayouts = [op for op in program.ops if op.kind == "relayout"]
    assert [(op.shape_in, op.shape_out) for op in relayouts] == [((4, 8, 8), (64, 4)), ((64, 4), (4, 8, 8))]


def test_a_copy_alone_is_no_relayout() -> None:
    program = traced(
        lambda m, x: m.conv2(tokens(m.conv(x)).contiguous().transpose(1, 2).reshape(1, 4, 8, 8)),
        conv=nn.Conv2d(3, 4, 1),
        conv2=nn.Conv2d(4, 4, 1),
    )
    assert kinds(program) == ["conv", "conv"]


def test_windows() -> None:
    def windows(m: nn.Module, x: Tensor) -> Tensor:
        y = m.conv(x).view(1, 4, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(4, 16, 4)
        return m.fc(y)

    program = traced(windows, conv=nn.Conv2d(3, 4, 1), fc=nn.Linear(4, 4))
    assert kinds(program) == ["conv", "map>windows", "linear"]


@pytest.mark.parametrize(
    "read",
    [
        lambda m, y: m.bn(y),
        lambda m, y: m.gn(y),
        lambda m, y: F.max_pool2d(y, 2),
        lambda m, y: F.avg_pool2d(y, 3, 1, 1) - y,
        lambda m, y: y.mean((2, 3)),
        lambda m, y: torch.cat((y, m.conv(y)), 1),
        lambda m, y: F.interpolate(y, scale_factor=2.0),
    ],
    ids=["batch norm", "group norm", "max pool", "avg pool", "mean", "concat", "resize"],
)
def test_what_reads_tokens_as_a_map_reads_a_map(read: Callable[..., Tensor]) -> None:
    def function(m: nn.Module, x: Tensor) -> Tensor:
        return read(m, m.fc(tokens(m.stem(x))).transpose(1, 2).unflatten(2, (8, 8)))

    program = traced(
        function,
        stem=nn.Conv2d(3, 4, 1),
        fc=nn.Linear(4, 4),
        conv=nn.Conv2d(4, 4, 1),
        bn=nn.BatchNorm2d(4),
        gn=nn.GroupNorm(1, 4),
    )
    assert kinds(program)[:4] == ["conv", "map>tokens", "linear", "tokens>map"]
    assert kinds(program).count("tokens>map") == 1
    assert all(len(op.shape_in) == 3 for op in program.ops[4:])


class Attention(nn.Module):
    """Attention of 2 heads over tokens of 8 channels, by scaled_dot_product_attention or by hand."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.stem, self.qkv = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(tokens(self.stem(x))).view(1, -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v)
        return (q @ k.transpose(2, 3) / 2).softmax(-1) @ v


def test_attention_is_counted_however_it_is_written() -> None:
    fused, plain = (trace(Attention(f), resolution=16) for f in (True, False))
    assert fused == plain
    assert kinds(fused) == ["conv", "map>tokens", "linear", "matmul", "softmax", "matmul"]
    scores, weighted = (op for op in fused.ops if op.kind == "matmul")
    assert (scores.shape_in, scores.shape_out) == ((2, 16, 4), (2, 16, 16))
    assert (weighted.shape_in, weighted.shape_out) == ((2, 16, 16), (2, 16, 4))
    assert scores.macs == weighted.macs == 2 * 16 * 16 * 4


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_module(need_weights: bool) -> None:
    def attend(m: nn.Module, x: Tensor) -> Tensor:
        y = tokens(m.stem(x))
        return m.attn(y, y, y, need_weights=need_weights)[0]

    attn = nn.MultiheadAttention(8, 2, batch_first=True)
    program = traced(attend, size=16, stem=nn.Conv2d(3, 8, 4, 4), attn=attn)
    counted = Counter(op.kind for op in program.ops)
    assert (counted["matmul"], counted["softmax"]) == (2, 1)
    assert sum(op.macs for op in program.ops if op.kind == "matmul") == 2 * 2 * 16 * 16 * 4
    linear = [op for op in program.ops if op.kind == "linear"]
    assert sum(op.macs for op in linear) == 16 * 8 * (24 + 8)
    assert program.params == 3 * 8 * 16 + 8 + sum(p.numel() for p in attn.parameters())


def test_transformer_encoder_layer_of_torch() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    program = traced(
        lambda m, x: m.layer(tokens(m.stem(x))), size=16, stem=nn.Conv2d(3, 8, 4, 4), layer=layer
    )
    assert program.params == 3 * 8 * 16 + 8 + sum(p.numel() for p in layer.parameters())
    counted = Counter(op.kind for op in program.ops if op.kind != "relayout")
    assert counted == {"conv": 1, "linear": 4, "matmul": 2, "softmax": 1, "add": 2, "norm": 2, "act": 1}


class Watch(TorchDispatchMode):
    """Notes which operations are given some tensors."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self.pointers = {tensor.data_ptr() for tensor in tensors}
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        flat = pytree.tree_leaves((args, kwargs))
        if any(
            isinstance(a, Tensor) and a.device.type == "cpu" and a.data_ptr() in self.pointers for a in flat
        ):
            self.seen.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_weights_are_neither_read_nor_moved() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    model.train()
    before = {name: (t.data_ptr(), t.clone()) for name, t in model.state_dict().items()}
    with Watch(model.state_dict().values()) as watch:
        trace(model, resolution=8)
    assert watch.seen <= {"empty_like", "detach"}  # shapes only
    assert model.training and model[1].training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        pointer, values = before[name]
        assert (tensor.data_ptr(), tensor.device.type) == (pointer, "cpu")
        assert torch.equal(tensor, values)


def test_models_on_meta_are_traced_alike() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    with torch.device("meta"):
        meta = make()
    assert trace(meta, resolution=8) == trace(make(), resolution=8)


def test_labels_are_module_names() -> None:
    model = nn.Sequential()
    model.add_module("body", nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()))
    model.add_module("last", nn.Conv2d(4, 2, 1))
    assert trace(model, resolution=8).labels == ("body.0", "body.1", "last")


def test_resolution_and_channels() -> None:
    program = trace(nn.Conv2d(5, 7, 3, 2, 1), resolution=30, channels=5)
    assert (program.ops[0].shape_in, program.ops[0].shape_out) == ((5, 30, 30), (7, 15, 15))
    assert program.resolution == 30


def test_activations_in_place_are_not_counted_twice() -> None:
    program = trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Hardswish()), resolution=8)
    assert [op.variant for op in program.ops] == ["", "relu", "hardswish"]
    assert program.ops[2].inputs == (1,)


def test_a_network_that_ignores_its_image_is_refused() -> None:
    with pytest.raises(ValueError, match="Fn computes nothing from its input image; pass an image network"):
        traced(lambda m, x: m.weight * 2, weight=nn.Parameter(torch.ones(3)))
    with pytest.raises(ValueError, match="Identity computes nothing"):
        trace(nn.Identity(), resolution=8)


def test_the_fast_path_of_attention_is_left_as_it_was() -> None:
    enabled = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(RuntimeError, match="stop"):
        traced(_stop)
    assert torch.backends.mha.get_fastpath_enabled() == enabled


def _stop(m: nn.Module, x: Tensor) -> Tensor:
    raise RuntimeError("stop")
