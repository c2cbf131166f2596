"""How a tensor lies inside a larger one of the same kind, and which dimensions of which modules are
composite.

Everything else of a module is a plain dimension, of which a smaller module has the leading entries. A block
of one's own needs an entry here only where that would mix up what an entry means::

    composite(MyAttention, "qkv.weight", {0: lambda m: axes(3, m.heads, m.head_dim)})

Channels within groups are not composite: a grouped 1x1 convolution of another width has other channels in
its second group, whose rows are leading all the same, since the layers before and behind count them so.

How a tensor lies inside a larger one of the same kind.

A dimension of a weight is a concatenation of parts, and a part a product of axes: rows of a query-key-value
projection are one part (3, heads, head dimension), columns of a layer behind a concatenation are two parts.
A smaller tensor takes the leading entries of every axis (of a *centred* dimension, the middle ones), so that
an entry means the same in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hvnas.nn.attention import OffsetBias
from hvnas.nn.coatnet import RelativeBias
from hvnas.nn.efficientvit import LinearAttention
from hvnas.nn.metaformer import AttentionMixer, RandomMixer, SpatialFc
from hvnas.nn.mobileformer import DepthPoint, DynamicReLU, MobileFormerHeadModule
from hvnas.nn.mobilevit import MobileViTModule
from hvnas.nn.vit import TokenEmbedModule, ViTAttention


@dataclass(frozen=True)
class Dim:
    """One dimension of a tensor: parts that follow each other, each a product of axes."""

    parts: tuple[tuple[int, ...], ...]
    centred: bool = False

    @property
    def size(self) -> int:
        """Entries along the dimension."""
        return sum(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each part."""
        return tuple(math.prod(part) for part in self.parts)

    @property
    def is_plain(self) -> bool:
        """One part of one axis."""
        return len(self.parts) == 1 and len(self.parts[0]) == 1

    def union(self, other: Dim) -> Dim:
        """Return the smallest that both lie in."""
        assert self._rank == other._rank and self.centred == other.centred, (self, other)
        pairs = zip(self.parts, other.parts, strict=True)
        return Dim(tuple(tuple(map(max, a, b)) for a, b in pairs), self.centred)

    def start(self, within: int, of: int) -> int:
        """Return the first of `of` entries of an axis that has `within`."""
        return (within - of) // 2 if self.centred else 0

    @property
    def _rank(self) -> tuple[int, ...]:
        return tuple(map(len, self.parts))


Declared = Callable[[Any], Dim]
Finish = Callable[[Tensor], Tensor]


class Described(NamedTuple):
    """A module's tensor by name: its layout, and what is done to the selection, if anything."""

    layout: Layout
    finish: Finish | None


_DIMS: dict[type[nn.Module], dict[str, dict[int, Declared]]] = {}
_FINISH: dict[type[nn.Module], dict[str, Finish]] = {}


def composite(
    module: type[nn.Module], name: str, dims: Mapping[int, Declared], *, finish: Finish | None = None
) -> None:
    """Declare dimensions of the tensor `name` of `module` (a dotted name reaches into its parts).

    `dims` gives for an index the function of the module that says what the dimension is made of. What an
    outer module declares goes before what an inner one does. `finish` is applied to the selection, of
    buffers that do not train.
    """
    _DIMS.setdefault(module, {}).setdefault(name, {}).update(dims)
    if finish is not None:
        _FINISH.setdefault(module, {})[name] = finish


def describe(module: nn.Module) -> dict[str, Described]:
    """Every parameter and every buffer of the state dict, by name."""
    tensors = dict(tensors_of(module))
    dims: dict[str, dict[int, Dim]] = {name: {} for name in tensors}
    finish: dict[str, Finish] = {}
    for prefix, part in module.named_modules():  # outer modules first
        for cls in type(part).__mro__:
            for name, declared in _DIMS.get(cls, {}).items():
                full = f"{prefix}.{name}" if prefix else name
                for index, dim in declared.items():
                    if full in tensors and index not in dims[full]:
                        dims[full][index] = dim(part)
            for name, function in _FINISH.get(cls, {}).items():
                finish[f"{prefix}.{name}" if prefix else name] = function
    return {
        name: Described(_layout(name, tensor, dims[name]), finish.get(name))
        for name, tensor in tensors.items()
    }


def _layout(name: str, tensor: Tensor, dims: Mapping[int, Dim]) -> Layout:
    layout = Layout(tuple(dims.get(i, axes(size)) for i, size in enumerate(tensor.shape)))
    assert layout.shape == tuple(tensor.shape), f"{name}: declared {layout.shape} for {tuple(tensor.shape)}"
    return layout


def tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and the buffers of the state dict, by name."""
    yield from module.named_parameters(remove_duplicate=False)
    for prefix, part in module.named_modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and name not in part._non_persistent_buffers_set:
                yield (f"{prefix}.{name}" if prefix else name), buffer


def _square(entries: int) -> Dim:
    """Positions of a square map by row and column; in one row where they are no square."""
    side = math.isqrt(entries)
    return axes(side, side) if side * side == entries else axes(entries, 1)


def _positions(module: TokenEmbedModule) -> Dim:
    count = module.positions.shape[1] if module.positions is not None else 0
    others = int(module.class_token is not None)
    return Dim(((others, 1), *_square(count - others).parts))


def _rows_sum_to_one(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(-1, keepdim=True)


def _per_channel(module: DepthPoint) -> Dim:
    """The depthwise convolution's outputs: each input channel has as many, one after the other."""
    conv = module.depthwise.conv
    assert isinstance(conv, nn.Conv2d)
    return axes(conv.in_channels, conv.out_channels // conv.in_channels)


def _slopes(module: DepthPoint) -> Dim:
    return axes(2, *_per_channel(module).parts[0])


def _declare_attention() -> None:
    for name in ("qkv.weight", "qkv.bias"):
        composite(ViTAttention, name, {0: lambda m: axes(3, m.heads, m.head_dim)})
    composite(ViTAttention, "proj.weight", {1: lambda m: axes(m.heads, m.head_dim)})
    composite(AttentionMixer, "qkv.weight", {0: lambda m: axes(3, m.qkv.in_features)})
    composite(
        LinearAttention,
        "proj.conv.weight",
        {1: lambda m: axes(1 + len(m.gather), m.qkv.in_channels)},
    )


def _declare_positions() -> None:
    composite(OffsetBias, "table", {1: lambda m: _square(m.table.shape[1])})
    composite(RelativeBias, "table", {1: lambda m: axes(2 * m.grid[0] - 1, 2 * m.grid[1] - 1, centred=True)})
    composite(TokenEmbedModule, "positions", {1: _positions})
    composite(
        SpatialFc,
        "fc.weight",
        {0: lambda m: _square(m.fc.in_features), 1: lambda m: _square(m.fc.in_features)},
    )
    composite(
        RandomMixer,
        "matrix_NN",
        {0: lambda m: _square(m.matrix_NN.shape[0]), 1: lambda m: _square(m.matrix_NN.shape[0])},
        finish=_rows_sum_to_one,
    )


def _declare_channels() -> None:
    composite(
        nn.Conv2d,
        "weight",
        {i: lambda m, i=i: axes(m.weight.shape[i], centred=True) for i in (2, 3)},  # type: ignore[misc]
    )
    composite(
        MobileViTModule,
        "fuse.conv.weight",
        {1: lambda m: joined(m.spatial.conv.in_channels, m.project.conv.out_channels)},
    )
    composite(
        MobileFormerHeadModule,
        "hidden.weight",
        {1: lambda m: joined(m.expand.conv.out_channels, m.hidden.in_features - m.expand.conv.out_channels)},
    )
    for name in ("fc2.weight", "fc2.bias"):
        composite(DynamicReLU, name, {0: lambda m: axes(2, m.channels)})
        composite(DepthPoint, f"act.{name}", {0: _slopes})
    for name in ("conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
        composite(DepthPoint, f"depthwise.{name}", {0: _per_channel})
    composite(DepthPoint, "project.conv.weight", {1: _project_columns})


def _project_columns(module: DepthPoint) -> Dim:
    """Grouped 1x1 convolutions read a part of the channels, counted behind the shuffle."""
    conv = module.project.conv
    assert isinstance(conv, nn.Conv2d)
    return _per_channel(module) if conv.groups == 1 else axes(conv.in_channels // conv.groups, 1)


def axes(*sizes: int, centred: bool = False) -> Dim:
    """Return a dimension that is a product of axes."""
    return Dim((sizes,), centred)


_declare_attention()
_declare_positions()


def joined(*sizes: int) -> Dim:
    """Return a dimension that is a concatenation of plain parts."""
    return Dim(tuple((size,) for size in sizes))


_declare_channels()


@dataclass(frozen=True)
class Layout:
    """The dimensions of one tensor."""

    dims: tuple[Dim, ...]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the tensor."""
        return tuple(dim.size for dim in self.dims)

    def union(self, other: Layout) -> Layout:
        """The smallest that both lie in."""
        assert len(self.dims) == len(other.dims), f"{self.shape} and {other.shape} cannot share a tensor"
        return Layout(tuple(a.union(b) for a, b in zip(self.dims, other.dims, strict=True)))


class Selection:
    """What of a tensor laid out as `largest` one laid out as `wanted` is."""

    def __init__(self, largest: Layout, wanted: Layout) -> None:
        assert largest.union(wanted) == largest, (
            f"{wanted} does not lie in {largest}: the largest module of the slot was not found"
        )
        self.is_whole = wanted == largest
        pairs = [*zip(largest.dims, wanted.dims, strict=True)]
        self._composite = [
            (i, a, b) for i, (a, b) in enumerate(pairs) if a.parts != b.parts and not a.is_plain
        ]
        self._shape = tuple(a.size if not a.is_plain else b.size for a, b in pairs)
        self._starts = tuple(a.start(a.size, b.size) if a.is_plain else 0 for a, b in pairs)

    @property
    def is_view(self) -> bool:
        """Whether writing to the selection surely writes to the tensor."""
        return not self._composite

    def put(self, tensor: Tensor, values: Tensor) -> None:
        """Write `values`, shaped as the selection, to where they belong in `tensor`."""
        with torch.no_grad():
            places = self(torch.arange(tensor.numel(), device=tensor.device).view(tensor.shape))
            tensor.view(-1).index_copy_(0, places.flatten(), values.flatten())

    def __call__(self, tensor: Tensor) -> Tensor:
        """The part of `tensor`: itself where that is all of it, else a view, or a copy where none can be."""
        if self.is_whole:
            return tensor
        # one view with one node in the graph: a chain of narrow() fills one zero tensor each going back
        strides = tensor.stride()
        offset = tensor.storage_offset() + sum(map(int.__mul__, self._starts, strides))
        tensor = tensor.as_strided(self._shape, strides, offset)
        for index, largest, wanted in self._composite:
            tensor = _of_parts(tensor, index, largest, wanted)
        return tensor


def _of_parts(tensor: Tensor, index: int, largest: Dim, wanted: Dim) -> Tensor:
    pieces = []
    spans = zip(tensor.split(largest.sizes, index), largest.parts, wanted.parts, strict=True)
    for piece, within, of in spans:
        piece = piece.unflatten(index, within)
        for axis, (a, b) in enumerate(zip(within, of, strict=True)):
            piece = piece.narrow(index + axis, largest.start(a, b), b)
        pieces.append(piece.flatten(index, index + len(within) - 1))
    if len(pieces) == 1:
        return pieces[0]
    return torch.cat(pieces, index)
