"""The parts that a network is a chain of, for the fast path."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hvnas.arch import INNER
from hvnas.blocks import Block
from hvnas.blocks.mobileformer import GlobalTokens
from hvnas.space.canonical.traits import traits_of
from hvnas.space.fastpath.templates import MakeBlock
from hvnas.space.layout import Layout, is_profile, per_block
from hvnas.space.spec import SAME, Preset

Ints = NDArray[np.int64]


class Part:
    """One link of the chain. Genes come transposed: ``genes[column]`` is a vector over networks."""

    is_stem = False
    # Whether its block has a width of its own, whatever width it is asked for.
    is_fixed = False

    def __init__(self, layout: Layout, reads: Sequence[int]) -> None:
        self.layout = layout
        self.reads = tuple(reads)
        sizes = [len(layout.genes[c].values) for c in self.reads]
        self.radix = [int(np.prod(sizes[:k], dtype=object)) for k in range(len(sizes))]
        self.span = int(np.prod(sizes, dtype=object))

    def key(self, genes: Ints) -> Ints:
        """Return one number for the values of the genes that the part reads."""
        key = np.zeros(genes.shape[1], dtype=np.int64)
        for column, radix in zip(self.reads, self.radix, strict=True):
            key += genes[column] * radix
        return key

    def repeats(self, genes: Ints) -> Ints:
        """Return how often the part occurs in each network, 0 where it does not."""
        return np.ones(genes.shape[1], dtype=np.int64)

    def occurrences(self, genes: Ints) -> tuple[Ints, Ints, Ints]:
        """Return the networks that have the part, how often each, and the `key` there. Shape [m] each."""
        repeats = self.repeats(genes)
        here = np.flatnonzero(repeats)
        return here, repeats[here], self.key(genes)[here]

    def out_channels(self, genes: Ints) -> Ints | None:
        """Channels behind the part, None where it leaves what it is given."""
        return None

    def block(self, row: Ints, key: int, widths: list[int]) -> tuple[MakeBlock, list[int]]:
        """Return the block with this `key`, of any width, and those of `widths` that it can have."""
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

    def block(self, row: Ints, key: int, widths: list[int]) -> tuple[MakeBlock, list[int]]:
        preset = self.layout.spec.stems[row[self.layout.stem]]
        return preset.make, widths


class _Tokens(Part):
    is_fixed = True

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, [layout.tokens])
        self.present = np.array([tokens is not None for tokens in layout.spec.tokens])

    def repeats(self, genes: Ints) -> Ints:
        return self.present[genes[self.layout.tokens]].astype(np.int64)

    def block(self, row: Ints, key: int, widths: list[int]) -> tuple[MakeBlock, list[int]]:
        count, width = self.layout.value(row, self.layout.tokens)
        block = GlobalTokens(out=width, count=count)
        return (lambda _: block), widths


class _Head(Part):
    is_fixed = True

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, [layout.head])

    def block(self, row: Ints, key: int, widths: list[int]) -> tuple[MakeBlock, list[int]]:
        block = self.layout.head_block(row)
        return (lambda _: block), widths


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

    def block(self, row: Ints, key: int, widths: list[int]) -> tuple[MakeBlock, list[int]]:
        preset = self.layout.spec.downsamples[self.layout.value(row, self.columns.downsample)]
        return preset.make, widths


class _Run(_InStage):
    """Blocks of one run of one stage."""

    def __init__(self, layout: Layout, i: int, slot: str, reads: Sequence[int]) -> None:
        super().__init__(layout, i, reads)
        self.slot, self.run = slot, layout.stages[i].slots[slot]
        self.depths = np.array(self.run.depths)
        own = layout.genes[layout.stages[i].global_width].values
        self.own_width = np.array([0 if w == SAME else w for w in own])

    def depth(self, genes: Ints) -> Ints:
        """Blocks in the run, 0 where there is none."""
        return np.where(self.active(genes), self.depths[genes[self.run.depth]], 0)

    def out_channels(self, genes: Ints) -> Ints:
        width = super().out_channels(genes)
        if self.slot == "local":
            return width
        own = self.own_width[genes[self.columns.global_width]]
        return np.where(own == 0, width, own)

    def widths_of(self, row: Ints, widths: list[int]) -> list[int]:
        """Those of `widths` that the run's type can have."""
        return fitting_widths(self.run.types[row[self.run.type]], tuple(widths))


class _First(_Run):
    """The first block of a run."""

    def __init__(self, layout: Layout, i: int, slot: str) -> None:
        columns = layout.stages[i].slots[slot]
        profiled = {c for c in columns.genes.values() if _varies(layout, c)}
        uniform = [c for c in columns.genes.values() if c not in profiled]
        super().__init__(layout, i, slot, [columns.type, *uniform])
        self.firsts = {column: self._first_values(column) for column in profiled}
        names = layout.spec.stages[i].downsample
        self.is_inner = np.array([layout.spec.downsamples[n].block == INNER for n in names])
        self.local_depths = np.array(layout.stages[i].slots["local"].depths)
        self.span *= 2 * int(np.prod([table.max() + 1 for table in self.firsts.values()], dtype=object))

    def _first_values(self, column: int) -> Ints:
        """Number of the first block's value of a gene. Shape [values, depths]."""
        values = self.layout.genes[column].values
        first = [[per_block(v, d)[0] if d else None for d in self.run.depths] for v in values]
        number = {value: k for k, value in enumerate(dict.fromkeys(v for row in first for v in row))}
        return np.array([[number[value] for value in row] for row in first], dtype=np.int64)

    def _strides(self, genes: Ints) -> NDArray[np.bool_]:
        """Where the block is the first of its stage and strides by itself."""
        inner = self.is_inner[genes[self.columns.downsample]]
        if self.slot == "global":
            inner &= self.local_depths[genes[self.columns.slots["local"].depth]] == 0
        return np.asarray(inner)

    def key(self, genes: Ints) -> Ints:
        key = super().key(genes)
        for column, table in self.firsts.items():
            key = key * (table.max() + 1) + table[genes[column], genes[self.run.depth]]
        return key * 2 + self._strides(genes)

    def repeats(self, genes: Ints) -> Ints:
        return (self.depth(genes) > 0).astype(np.int64)

    def block(self, row: Ints, key: int, widths: list[int]) -> tuple[MakeBlock, list[int]]:
        preset = self.run.types[row[self.run.type]]
        depth = self.run.depths[row[self.run.depth]]
        fields = {g: per_block(self.layout.value(row, self.run.genes[g]), depth)[0] for g in preset.reads}
        if self._strides(row[:, None])[0]:
            fields["stride"] = 2
        return (lambda width: preset.make(width, **fields)), self.widths_of(row, widths)


class _Further(_Run):
    """The blocks behind the first.

    Those that have one value of the gene that may vary from block to block are alike: one block, repeated.
    A network has the part once for each such value; where no gene varies, once.
    """

    def __init__(self, layout: Layout, i: int, slot: str) -> None:
        columns = layout.stages[i].slots[slot]
        self.varying = next((g for g, c in columns.genes.items() if _varies(layout, c)), None)
        own = [c for g, c in columns.genes.items() if g != self.varying]
        super().__init__(layout, i, slot, [columns.type, *own])
        self.values, self.counts_of = self._counts()
        self.span *= len(self.values)

    def _counts(self) -> tuple[list[object], Ints]:
        """The values of the varying gene, and how many further blocks have each.

        Shape [profiles, depths, values], or [depths, 1] where no gene varies.
        """
        if self.varying is None:
            return [None], np.maximum(self.depths - 1, 0)[:, None]
        profiles = self.layout.genes[self.run.genes[self.varying]].values
        values = sorted({value for v in profiles for value in (v if is_profile(v) else (v,))})
        counts = [
            [[per_block(v, d)[1:].count(value) for value in values] for d in self.run.depths]
            for v in profiles
        ]
        return values, np.array(counts)

    def occurrences(self, genes: Ints) -> tuple[Ints, Ints, Ints]:
        depth = genes[self.run.depth]
        if self.varying is None:
            counts = self.counts_of[depth]
        else:
            counts = self.counts_of[genes[self.run.genes[self.varying]], depth]
        counts[~self.active(genes)] = 0
        here, value = np.nonzero(counts)
        return here, counts[here, value], self.key(genes)[here] * len(self.values) + value

    def block(self, row: Ints, key: int, widths: list[int]) -> tuple[MakeBlock, list[int]]:
        preset = self.run.types[row[self.run.type]]
        fields = {g: self.layout.value(row, self.run.genes[g]) for g in preset.reads if g != self.varying}
        if self.varying in preset.reads:
            fields[self.varying] = self.values[key % len(self.values)]
        return (lambda width: preset.make(width, **fields)), self.widths_of(row, widths)


def _varies(layout: Layout, column: int) -> bool:
    """Whether a gene may have other values from block to block."""
    return any(map(is_profile, layout.genes[column].values))


@lru_cache(maxsize=1024)
def fitting_widths(preset: Preset, widths: tuple[int, ...]) -> list[int]:
    """The widths that a preset can have."""
    traits = traits_of(preset)
    return [width for width in widths if traits.fits_width(width)]


def make_parts(layout: Layout) -> list[Part]:
    """Every part in order."""
    parts: list[Part] = [_Stem(layout), _Tokens(layout)]
    for i in range(len(layout.stages)):
        parts.append(_Down(layout, i))
        for slot in ("local", "global"):
            parts += [_First(layout, i, slot), _Further(layout, i, slot)]
    return [*parts, _Head(layout)]
