"""Encodings, a batch at a time: their types, keys of those evaluated, steps to nearby ones, random ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hvnas.arch import Arch

Rows = NDArray[np.int16]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Keys = NDArray[np.uint64]
Features = Callable[[Rows], Floats]

# "Random architectures" are log-uniform in MACs over this range, that of the papers' networks.
_MACS = (0.1e9, 5e9)

# SplitMix64's increment and multipliers (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
# generators"; the finaliser is Stafford's variant 13).
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_EMPTY = np.uint64(0)
_MAX_LOAD = 0.6
_PART = 1 << 18


def row_keys(rows: Rows) -> Keys:
    """One key per row, never 0; equal rows have equal keys on every machine. Shape [n].

    A multilinear hash of the genes, then a finaliser: two different rows share a key with a chance of
    about 2^-63, so among 10 million rows a clash has a chance of about 1 in 100,000.
    """
    factors = _mix(np.arange(1, rows.shape[1] + 1, dtype=np.uint64) * _INCREMENT) | np.uint64(1)
    keys = _mix(((rows.astype(np.uint64) + np.uint64(1)) * factors).sum(axis=1, dtype=np.uint64))
    keys[keys == _EMPTY] = np.uint64(1)
    return keys


def _mix(x: Keys) -> Keys:
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


class SeenSet:
    """A set of keys that takes whole batches: open addressing in one array, 13 to 27 bytes per key."""

    def __init__(self) -> None:
        self._table = np.zeros(1 << 12, dtype=np.uint64)
        self._count = 0
        self._unsaved: list[Keys] = []

    def __len__(self) -> int:
        return self._count

    def add(self, keys: Keys) -> Bools:
        """Add `keys`; True where a key was not there before (for repeats within the batch: the first)."""
        new = np.zeros(len(keys), dtype=np.bool_)
        _, first = np.unique(keys, return_index=True)
        first.sort()
        self._reserve(len(first))
        inserted = first[self._insert(keys[first])]
        new[inserted] = True
        self._count += len(inserted)
        if len(inserted):
            self._unsaved.append(keys[inserted])
        return new

    def take_unsaved(self) -> Keys:
        """The keys added since the last call, in the order they came."""
        keys = np.concatenate(self._unsaved) if self._unsaved else np.empty(0, dtype=np.uint64)
        self._unsaved = []
        return keys

    def _reserve(self, more: int) -> None:
        size = len(self._table)
        while self._count + more > _MAX_LOAD * size:
            size *= 2
        if size > len(self._table):
            old = self._table
            self._table = np.zeros(size, dtype=np.uint64)
            # A part at a time: what inserting needs beside the keys is several times their size.
            for start in range(0, len(old), _PART):
                part = old[start : start + _PART]
                self._insert(part[part != _EMPTY])

    def _insert(self, keys: Keys) -> Bools:
        """Put distinct keys into the table; True where a key is new."""
        mask = np.uint64(len(self._table) - 1)
        new = np.zeros(len(keys), dtype=np.bool_)
        todo = np.arange(len(keys))
        slots = keys & mask
        while len(todo):
            wanted, places = keys[todo], slots[todo]
            empty = self._table[places] == _EMPTY
            # Where several keys claim one empty slot the last one gets it and the others move on.
            self._table[places[empty]] = wanted[empty]
            settled = self._table[places] == wanted
            new[todo[settled & empty]] = True
            todo = todo[~settled]
            slots[todo] = (slots[todo] + np.uint64(1)) & mask
        return new


def distinct(rows: Rows) -> Rows:
    """The rows without repeats, in the order of their first occurrence."""
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)]


def alternatives(space: SpaceLike, rows: Rows, gene: int) -> Rows:
    """Every row with every other value of one gene, canonical. Shape [n * (cardinality - 1), genes]."""
    return space.canonicalise(_with_other_values(rows, gene, int(space.cardinalities[gene])))


def neighbours(space: SpaceLike, rows: Rows) -> Rows:
    """Every row with every other value of every gene, one at a time, canonical; repeats included."""
    changed = [_with_other_values(rows, gene, int(c)) for gene, c in enumerate(space.cardinalities)]
    return space.canonicalise(np.concatenate(changed))


def _with_other_values(rows: Rows, gene: int, cardinality: int) -> Rows:
    changed = np.repeat(rows, cardinality - 1, axis=0)
    steps = np.tile(np.arange(1, cardinality, dtype=np.int64), len(rows))
    changed[:, gene] = (changed[:, gene] + steps) % cardinality
    return changed


def random_rows(space: SpaceLike, n: int, *, rng: np.random.Generator) -> Rows:
    """`n` members, log-uniform in MACs over the papers' range; of any size where a space hardly reaches it.

    Where the space's own limits leave too few, encodings that may exceed them. Shape [n, genes].
    """
    for macs in (_MACS, None):
        try:
            return space.sample(n, rng=rng, macs=macs)
        except ValueError:
            continue
    drawn = rng.integers(np.asarray(space.cardinalities), size=(n, len(space.genes)))
    return space.canonicalise(drawn.astype(np.int16))


class GeneLike(Protocol):
    """A gene: its name and the ordered list that it indexes."""

    @property
    def name(self) -> str: ...
    @property
    def values(self) -> Sequence[Any]: ...


class SpaceLike(Protocol):
    """The part of `hvnas.space.Space` that strategies use. Rows are canonical encodings, int16 [n, genes]."""

    @property
    def name(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def genes(self) -> Sequence[GeneLike]: ...
    @property
    def cardinalities(self) -> NDArray[Any]: ...
    @property
    def limits(self) -> Mapping[str, float]: ...
    def sample(
        self, n: int, *, rng: np.random.Generator, macs: tuple[float, float] | None = None
    ) -> Rows: ...
    def mutate(self, rows: Rows, *, rng: np.random.Generator, rate: float) -> Rows: ...
    def crossover(self, a: Rows, b: Rows, *, rng: np.random.Generator, canonical: bool = True) -> Rows: ...
    def canonicalise(self, rows: Rows) -> Rows: ...
    def encode(self, arch: Arch) -> Rows: ...
    def decode(self, row: Rows) -> Arch: ...
    def fixed_points(self) -> Sequence[str]: ...
