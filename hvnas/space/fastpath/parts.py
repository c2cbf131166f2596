"""The parts that a network is a chain of, for the fast path, and the tables of what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hvnas._cache import Arrays
from hvnas.arch import INNER
from hvnas.blocks import Block
from hvnas.blocks.mobileformer import GlobalTokens
from hvnas.space.canonical.traits import traits_of
from hvnas.space.fastpath.templates import MakeBlock
from hvnas.space.layout import Layout, is_profile, per_block
from hvnas.space.spec import SAME, Preset

Ints = NDArray[np.int64]
_EXACT = 2**53  # whole numbers up to here are exact as floats


class Lookup(NamedTuple):
    """A number, or several, for each combination of the values of some genes.

    The combinations are numbered with the last gene fastest. Shape of `table`: [combinations] or
    [combinations, numbers].
    """

    genes: tuple[int, ...]
    sizes: tuple[int, ...]
    table: Ints

    @classmethod
    def of(cls, genes: Sequence[int], table: ArrayLike) -> Lookup:
        """Of a table with a dimension for each gene, and perhaps one more."""
        array = np.asarray(table, dtype=np.int64)
        sizes = array.shape[: len(genes)]
        return cls(tuple(genes), sizes, array.reshape(-1, *array.shape[len(genes) :]))

    @property
    def radix(self) -> list[int]:
        """What the index of each gene counts in the number of a combination."""
        return [int(np.prod(self.sizes[k + 1 :], dtype=object)) for k in range(len(self.sizes))]

    def at(self, row: Any) -> Any:
        """What the table holds for one network."""
        return self.table[sum(int(row[g]) * w for g, w in zip(self.genes, self.radix, strict=True))]


class Codes:
    """Numbers for combinations of genes, all of them for all networks by one product of matrices."""

    def __init__(self, genes: int) -> None:
        self._genes = genes
        self._place: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        self._weights: NDArray[Any] | None = None

    def add(self, genes: Sequence[int], radix: Sequence[int]) -> int:
        """The place of the numbers in which each of `genes` counts as `radix` says."""
        return self._place.setdefault((tuple(genes), tuple(radix)), len(self._place))

    def close(self, cardinalities: NDArray[np.int64]) -> None:
        """Make the matrix, once all are added. `cardinalities` are those of all genes."""
        weights = np.zeros((len(self._place), self._genes), dtype=object)
        for (genes, radix), place in self._place.items():
            weights[place, list(genes)] = radix
        exact = all(int(most) < _EXACT for most in weights @ (cardinalities - 1).astype(object))
        self._weights = weights.astype(np.float64 if exact else np.int64)

    def __call__(self, rows: NDArray[Any]) -> Ints:
        """The numbers of networks, rows [n, genes]. Shape [numbers, n]."""
        assert self._weights is not None
        found = self._weights @ rows.T.astype(self._weights.dtype)
        return found.astype(np.int64, copy=False)


class Matches:
    """What is known of the templates of a part, an array for each, by their numbers; number 0 is none.

    `place` and `state` are where the table of the part has the number; `out` is the state behind, `stored`
    the place in the library, -1 for none, `key` that in files, 0 for none. The entry for channels i in and o
    out, by index, is at ``base + i * stride + o``; where there is no room for it yet both are 0.
    """

    def __init__(self) -> None:
        self._put(np.zeros((7, 64), dtype=np.int64))
        self.count = 1

    def _put(self, table: Ints) -> None:
        self._table = table
        self.place, self.state, self.out, self.stored, self.key, self.base, self.stride = table

    def add(self, place: Ints, state: Ints, out: Ints, stored: Ints, key: Ints) -> Ints:
        """Append n templates; their numbers. Shape [n] each."""
        end = self.count + len(place)
        if end > self._table.shape[1]:
            more = np.zeros((7, max(end, 2 * self._table.shape[1])), dtype=np.int64)
            more[:, : self.count] = self._table[:, : self.count]
            self._put(more)
        self._table[:5, self.count : end] = place, state, out, stored, key
        numbers = np.arange(self.count, end)
        self.count = end
        return numbers

    def named(self) -> NamedMatches:
        """Those that files can hold."""
        here = np.flatnonzero(self.key)
        return NamedMatches(self.place[here], self.state[here], self.out[here], self.key[here])


class NamedMatches(NamedTuple):
    """Those of `Matches` that have a key in files, an array for each of what is known of them."""

    place: Ints
    state: Ints
    out: Ints
    key: Ints


class SparseRows(NamedTuple):
    """Rows of numbers of which few are unusual, as files hold them.

    Row k has ``values[code[start[k]:start[k + 1]]]`` at `place`, as indices.
    """

    start: NDArray[np.integer]
    place: NDArray[np.integer]
    code: NDArray[np.integer]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, arrays: Arrays, name: str) -> SparseRows:
        """Those stored under a name."""
        return cls(*(arrays[f"{name}.{field}"] for field in cls._fields))  # type: ignore[arg-type]

    @classmethod
    def packed(cls, rows: Sequence[NDArray[np.float64]], usual: NDArray[np.float64]) -> SparseRows:
        """Of dense rows, all that is not as in `usual`."""
        places, values = [], []
        for row in rows:
            place = np.flatnonzero((row != usual) & ~(np.isnan(row) & np.isnan(usual)))
            places.append(place.astype(np.uint16))
            values.append(row[place])
        start = np.cumsum([0, *map(len, places)]).astype(np.int32)
        joined = np.concatenate([np.empty(0), *values])
        distinct, code = np.unique(joined, return_inverse=True)
        place = np.concatenate([np.empty(0, dtype=np.uint16), *places])
        kind = np.uint16 if len(distinct) < 1 << 16 else np.uint32
        return cls(start, place, code.astype(kind), distinct)

    def stored(self, name: str) -> Arrays:
        """The reverse of `of`."""
        return {f"{name}.{field}": np.asarray(getattr(self, field)) for field in self._fields}

    def row(self, k: int, into: NDArray[np.float64]) -> NDArray[np.float64]:
        """Row k put into `into`."""
        part = slice(int(self.start[k]), int(self.start[k + 1]))
        into[self.place[part]] = self.values[self.code[part]]
        return into

    def numbers(self, rows: Ints) -> tuple[Ints, Ints, NDArray[np.float64]]:
        """The numbers of `rows` [m], one row after the other: whose each is, its place, itself."""
        owner, index = ranges(self.start[rows], self.start[rows + 1])
        return owner, self.place[index].astype(np.int64), self.values[self.code[index]]

    def spread(self, rows: Ints, usual: NDArray[np.float64]) -> NDArray[np.float64]:
        """`rows` [m], each put into a copy of `usual` [k]. Shape [m, k]."""
        found = np.tile(usual, (len(rows), 1))
        owner, place, values = self.numbers(rows)
        found[owner, place] = values
        return found


def ranges(starts: NDArray[Any], ends: NDArray[Any]) -> tuple[Ints, Ints]:
    """The whole numbers from each start up to its end, one range after the other, and the range of each."""
    lengths = ends.astype(np.int64) - starts
    owner = np.repeat(np.arange(len(lengths)), lengths)
    before = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) + (starts - before)[owner]


class Part:
    """One link of the chain."""

    is_stem = False
    # Whether its block has a width of its own, whatever width it is asked for.
    is_fixed = False
    # How often each network has the part, 0 where it does not; None: once everywhere. Where several numbers
    # belong to a combination, the part occurs once for each, and the key there counts them.
    repeats: Lookup | None = None
    # Channels behind the part; None where it leaves what it is given.
    out: Lookup | None = None

    def __init__(self, layout: Layout, reads: Sequence[int], *, unit: int = 1) -> None:
        """`reads` are the genes that its key numbers, in steps of `unit`."""
        self.layout = layout
        self.reads = tuple(reads)
        sizes = [len(layout.genes[c].values) for c in self.reads]
        self.radix = [unit * int(np.prod(sizes[:k], dtype=object)) for k in range(len(sizes))]
        # Beyond every key.
        self.span = unit * int(np.prod(sizes, dtype=object))
        # What further combinations of genes add to the key.
        self.extras: list[Lookup] = []

    def add_to_key(self, genes: Sequence[int], table: Ints) -> Lookup:
        """Let the numbers in `table`, a dimension for each gene, count in the key."""
        lookup = Lookup.of(genes, table)
        self.extras.append(lookup._replace(table=lookup.table * self.span))
        self.span *= int(table.max()) + 1
        return lookup

    def block(self, row: Ints, key: int, widths: list[int]) -> tuple[MakeBlock, list[int]]:
        """Return the block with this `key`, of any width, and those of `widths` that it can have."""
        raise NotImplementedError


class _Stem(Part):
    is_stem = True

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, [layout.stem])
        first = np.array(layout.spec.stages[0].width)
        own = np.array([0 if w == SAME else w for w in layout.spec.stem_width])[:, None]
        self.out = Lookup.of([layout.stem_width, layout.stages[0].width], np.where(own == 0, first, own))

    def block(self, row: Ints, key: int, widths: list[int]) -> tuple[MakeBlock, list[int]]:
        preset = self.layout.spec.stems[row[self.layout.stem]]
        return preset.make, widths


class _Tokens(Part):
    is_fixed = True

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, [layout.tokens])
        self.repeats = Lookup.of([layout.tokens], [tokens is not None for tokens in layout.spec.tokens])

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
    def __init__(self, layout: Layout, i: int, reads: Sequence[int], *, unit: int = 1) -> None:
        super().__init__(layout, reads, unit=unit)
        self.i, self.columns = i, layout.stages[i]
        # Whether the stage is there, by the index of their count.
        self.active = np.array(layout.spec.counts) > i
        self.widths = np.array(layout.spec.stages[i].width)


class _Down(_InStage):
    def __init__(self, layout: Layout, i: int) -> None:
        super().__init__(layout, i, [layout.stages[i].downsample])
        names = layout.spec.stages[i].downsample
        is_block = np.array([isinstance(layout.spec.downsamples[n].block, Block) for n in names])
        self.repeats = Lookup.of([layout.count, self.columns.downsample], self.active[:, None] & is_block)
        self.out = Lookup.of([self.columns.width], self.widths)

    def block(self, row: Ints, key: int, widths: list[int]) -> tuple[MakeBlock, list[int]]:
        preset = self.layout.spec.downsamples[self.layout.value(row, self.columns.downsample)]
        return preset.make, widths


class _Run(_InStage):
    """Blocks of one run of one stage."""

    def __init__(self, layout: Layout, i: int, slot: str, reads: Sequence[int], *, unit: int = 1) -> None:
        super().__init__(layout, i, reads, unit=unit)
        self.slot, self.run = slot, layout.stages[i].slots[slot]
        self.depths = np.array(self.run.depths)
        if slot == "local":
            self.out = Lookup.of([self.columns.width], self.widths)
            return
        own = [0 if w == SAME else w for w in layout.genes[self.columns.global_width].values]
        table = np.where(np.array(own) == 0, self.widths[:, None], own)
        self.out = Lookup.of([self.columns.width, self.columns.global_width], table)

    def widths_of(self, row: Ints, widths: list[int]) -> list[int]:
        """Those of `widths` that the run's type can have."""
        return fitting_widths(self.run.types[row[self.run.type]], tuple(widths))


class _First(_Run):
    """The first block of a run."""

    def __init__(self, layout: Layout, i: int, slot: str) -> None:
        columns = layout.stages[i].slots[slot]
        profiled = [c for c in columns.genes.values() if _varies(layout, c)]
        uniform = [c for c in columns.genes.values() if c not in profiled]
        super().__init__(layout, i, slot, [columns.type, *uniform])
        present = self.active[:, None] & (self.depths > 0)
        self.repeats = Lookup.of([layout.count, self.run.depth], present)
        for column in profiled:
            self.add_to_key([column, self.run.depth], self._first_values(column))
        # Where the block is the first of its stage and strides by itself.
        names = layout.spec.stages[i].downsample
        inner = np.array([layout.spec.downsamples[n].block == INNER for n in names])
        local = layout.stages[i].slots["local"]
        alone = np.array(local.depths) == 0
        if slot == "global":
            self.strides = self.add_to_key([self.columns.downsample, local.depth], inner[:, None] & alone)
        else:
            self.strides = self.add_to_key([self.columns.downsample], inner)

    def _first_values(self, column: int) -> Ints:
        """Number of the first block's value of a gene. Shape [values, depths]."""
        values = self.layout.genes[column].values
        first = [[per_block(v, d)[0] if d else None for d in self.run.depths] for v in values]
        number = {value: k for k, value in enumerate(dict.fromkeys(v for row in first for v in row))}
        return np.array([[number[value] for value in row] for row in first], dtype=np.int64)

    def block(self, row: Ints, key: int, widths: list[int]) -> tuple[MakeBlock, list[int]]:
        preset = self.run.types[row[self.run.type]]
        depth = self.run.depths[row[self.run.depth]]
        fields = {g: per_block(self.layout.value(row, self.run.genes[g]), depth)[0] for g in preset.reads}
        if self.strides.at(row):
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
        self.values = self._values(layout, columns.genes)
        super().__init__(layout, i, slot, [columns.type, *own], unit=len(self.values))
        genes, counts = self._counts()
        counts = np.where(self.active.reshape(-1, *[1] * counts.ndim), counts, 0)
        self.repeats = Lookup.of([layout.count, *genes], counts)

    def _values(self, layout: Layout, genes: Any) -> list[Any]:
        """The values of the varying gene."""
        if self.varying is None:
            return [None]
        profiles = layout.genes[genes[self.varying]].values
        return sorted({value for v in profiles for value in (v if is_profile(v) else (v,))})

    def _counts(self) -> tuple[list[int], Ints]:
        """How many further blocks have each of `values`, and the genes that decide it.

        Shape [profiles, depths, values], or [depths, 1] where no gene varies.
        """
        if self.varying is None:
            return [self.run.depth], np.maximum(self.depths - 1, 0)[:, None]
        column = self.run.genes[self.varying]
        counts = [
            [[per_block(v, d)[1:].count(value) for value in self.values] for d in self.run.depths]
            for v in self.layout.genes[column].values
        ]
        return [column, self.run.depth], np.array(counts)

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


def all_widths(layout: Layout) -> set[int]:
    """Every width that some part of a network can have."""
    spec = layout.spec
    lists = [spec.stem_width, *(s.width for s in spec.stages), *(s.global_width for s in spec.stages)]
    return {int(w) for widths in lists for w in widths if w != "same"}
