"""Which architectures were evaluated: a set of 64-bit keys of canonical rows."""

from __future__ import annotations

import numpy as np

from hvnas.search.seams import Bools, Keys, Rows

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
