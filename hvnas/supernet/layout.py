"""How a tensor lies inside a larger one of the same kind.

A dimension of a weight is a concatenation of parts, and a part a product of axes: rows of a query-key-value
projection are one part (3, heads, head dimension), columns of a layer behind a concatenation are two parts.
A smaller tensor takes the leading entries of every axis (of a *centred* dimension, the middle ones), so that
an entry means the same in both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


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
        """The smallest that both lie in."""
        assert self._rank == other._rank and self.centred == other.centred, (self, other)
        pairs = zip(self.parts, other.parts, strict=True)
        return Dim(tuple(tuple(map(max, a, b)) for a, b in pairs), self.centred)

    def start(self, within: int, of: int) -> int:
        """The first of `of` entries of an axis that has `within`."""
        return (within - of) // 2 if self.centred else 0

    @property
    def _rank(self) -> tuple[int, ...]:
        return tuple(map(len, self.parts))


def axes(*sizes: int, centred: bool = False) -> Dim:
    """A dimension that is a product of axes."""
    return Dim((sizes,), centred)


def joined(*sizes: int) -> Dim:
    """A dimension that is a concatenation of plain parts."""
    return Dim(tuple((size,) for size in sizes))


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
