"""The parts that a network is a chain of, for the fast path."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hvnas.arch import INNER
from hvnas.blocks import Block
from hvnas.blocks.mobileformer import GlobalTokens
from hvnas.space.layout import Layout, is_profile
from hvnas.space.spec import SAME, Preset
from hvnas.space.templates import Blocks
from hvnas.space.traits import Traits

Ints = NDArray[np.int64]


class Part:
    """One link of the chain. Genes come transposed: ``genes[column]`` is a vector over networks."""

    is_stem = False

    def __init__(self, layout: Layout, reads: Sequence[int]) -> None:
        self.layout = layout
        self.reads = tuple(reads)
        sizes = [len(layout.genes[c].values) for c in self.reads]
        self.radix = [int(np.prod(sizes[:k], dtype=object)) for k in range(len(sizes))]
        self.span = int(np.prod(sizes, dtype=object))

    def key(self, genes: Ints) -> Ints:
        """One number for the values of the genes that the part reads."""
        key = np.zeros(genes.shape[1], dtype=np.int64)
        for column, radix in zip(self.reads, self.radix, strict=True):
            key += genes[column] * radix
        return key

    def repeats(self, genes: Ints) -> Ints:
        """How often the part occurs in each network, 0 where it does not."""
        return np.ones(genes.shape[1], dtype=np.int64)

    def out_channels(self, genes: Ints) -> Ints | None:
        """Channels behind the part, None where it leaves what it is given."""
        return None

    def blocks(self, row: Ints, widths: list[int]) -> tuple[Blocks, list[int]]:
        """The part's blocks as a function of their width, and those of `widths` that they can have."""
        raise NotImplementedError


class _Stem(Part):
    is_stem = True

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, [layout.stem])
        self.first_width = np.array(layout.spec.stages[0].width)
        self.own = np.array([0 if w == SAME else w for w in layout.spec.stem_width])

    def out_channels(self, genes: Ints) -> Ints:
        own = self.own[genes[self.layout.stem_width]]
        return np.where(own == 0, self.first_width[genes[self.layout.stages[0].width]], own)

    def blocks(self, row: Ints, widths: list[int]) -> tuple[Blocks, list[int]]:
        preset = self.layout.spec.stems[row[self.layout.stem]]
        return (lambda width: [preset.make(width)]), widths


class _Tokens(Part):
    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, [layout.tokens])
        self.present = np.array([tokens is not None for tokens in layout.spec.tokens])

    def repeats(self, genes: Ints) -> Ints:
        return self.present[genes[self.layout.tokens]].astype(np.int64)

    def blocks(self, row: Ints, widths: list[int]) -> tuple[Blocks, list[int]]:
        count, width = self.layout.value(row, self.layout.tokens)
        block = GlobalTokens(out=width, count=count)
        return (lambda _: [block]), widths


class _Head(Part):
    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, [layout.head])

    def blocks(self, row: Ints, widths: list[int]) -> tuple[Blocks, list[int]]:
        block = self.layout.head_block(row)
        return (lambda width: [block]), widths


class _InStage(Part):
    def __init__(self, layout: Layout, i: int, reads: Sequence[int]) -> None:
        super().__init__(layout, reads)
        self.i, self.columns = i, layout.stages[i]
        self.counts = np.array(layout.spec.counts)
        self.widths = np.array(layout.spec.stages[i].width)

    def active(self, genes: Ints) -> NDArray[np.bool_]:
        return self.counts[genes[self.layout.count]] > self.i

    def out_channels(self, genes: Ints) -> Ints:
        return self.widths[genes[self.columns.width]]


class _Down(_InStage):
    def __init__(self, layout: Layout, i: int) -> None:
        super().__init__(layout, i, [layout.stages[i].downsample])
        names = layout.spec.stages[i].downsample
        self.is_block = np.array([isinstance(layout.spec.downsamples[n].block, Block) for n in names])

    def repeats(self, genes: Ints) -> Ints:
        return (self.active(genes) & self.is_block[genes[self.columns.downsample]]).astype(np.int64)

    def blocks(self, row: Ints, widths: list[int]) -> tuple[Blocks, list[int]]:
        preset = self.layout.spec.downsamples[self.layout.value(row, self.columns.downsample)]
        return (lambda width: [preset.make(width)]), widths


class _Run(_InStage):
    """The first block of a run, or its further blocks.

    Further blocks that are all alike are one part, repeated; where a gene varies by block they are
    lowered together, and the depth is part of the key.
    """

    def __init__(self, layout: Layout, i: int, slot: str, *, first: bool) -> None:
        columns = layout.stages[i].slots[slot]
        self.slot, self.first, self.run = slot, first, columns
        super().__init__(layout, i, [columns.type, *columns.genes.values()])
        self.span *= 2 * len(columns.depths)
        self.profiles = [
            (column, np.array([is_profile(v) for v in layout.genes[column].values]))
            for column in columns.genes.values()
        ]
        names = layout.spec.stages[i].downsample
        self.is_inner = np.array([layout.spec.downsamples[n].block == INNER for n in names])
        self.local_depths = np.array(layout.stages[i].slots["local"].depths)
        self.depths = np.array(columns.depths)
        own = layout.spec.stages[i].global_width
        self.own_width = np.array([0 if w == SAME else w for w in own])

    def _strides(self, genes: Ints) -> NDArray[np.bool_]:
        """Where this part is the first block of its stage and strides by itself."""
        inner = self.first & self.is_inner[genes[self.columns.downsample]]
        if self.slot == "global":
            inner &= self.local_depths[genes[self.columns.slots["local"].depth]] == 0
        return np.asarray(inner)

    def _varies(self, genes: Ints) -> NDArray[np.bool_]:
        """Where a gene differs from block to block, so that further blocks are not one repeated."""
        varies = np.zeros(genes.shape[1], dtype=bool)
        for column, is_profile_value in self.profiles:
            varies |= is_profile_value[genes[column]]
        return varies

    def key(self, genes: Ints) -> Ints:
        depth = np.where(self._varies(genes), genes[self.run.depth], 0)
        return (super().key(genes) * 2 + self._strides(genes)) * len(self.depths) + depth

    def repeats(self, genes: Ints) -> Ints:
        depth = np.where(self.active(genes), self.depths[genes[self.run.depth]], 0)
        if self.first:
            return (depth > 0).astype(np.int64)
        return np.where(self._varies(genes), depth > 1, np.maximum(depth - 1, 0))

    def out_channels(self, genes: Ints) -> Ints:
        width = super().out_channels(genes)
        if self.slot == "local":
            return width
        own = self.own_width[genes[self.columns.global_width]]
        return np.where(own == 0, width, own)

    def blocks(self, row: Ints, widths: list[int]) -> tuple[Blocks, list[int]]:
        layout, i = self.layout, self.i
        stride = 2 if self._strides(row[:, None])[0] else 1
        varies = bool(self._varies(row[:, None])[0])

        def blocks(width: int) -> Sequence[Block]:
            run = layout.run(row, i, self.slot, width=width)
            assert run is not None
            if self.first:
                return run.blocks(stride=stride)[:1]
            return run.blocks()[1:] if varies else run.blocks()[1:2]

        return blocks, fitting_widths(self.run.types[row[self.run.type]], tuple(widths))


@lru_cache(maxsize=1024)
def fitting_widths(preset: Preset, widths: tuple[int, ...]) -> list[int]:
    """The widths that a preset can have."""
    traits = Traits(preset)
    return [width for width in widths if traits.fits_width(width)]


def make_parts(layout: Layout) -> list[Part]:
    """Every part in order."""
    parts: list[Part] = [_Stem(layout), _Tokens(layout)]
    for i in range(len(layout.stages)):
        parts.append(_Down(layout, i))
        for slot in ("local", "global"):
            parts.append(_Run(layout, i, slot, first=True))
            parts.append(_Run(layout, i, slot, first=False))
    return [*parts, _Head(layout)]
