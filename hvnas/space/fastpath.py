"""Columns of whole populations without building their Programs.

A network is a chain of parts: stem, and per stage a downsample, the first block and the further
blocks of each run, then the head. What a part contributes depends on its own genes, on the state
that it is given, and on channels in and out. Each distinct combination is worked out once
(`templates`) and kept in a row of a table; a population is rows of indices into that table.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvnas.ops import Column, Reader, State
from hvnas.ops.reader import ORDER
from hvnas.space.entries import Entries
from hvnas.space.parts import Part, make_parts
from hvnas.space.templates import Pair, StateClass, Template

if TYPE_CHECKING:
    from hvnas.space.space import Space

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
CHUNK = 2048
IMAGE_CHANNELS = 3
MAX_ENTRIES = 300_000
# Below as many keys a part looks its blocks up in an array, above it in a dictionary.
DENSE = 1 << 20


class FastPath:
    """``FastPath(space, columns)(rows)``: column values of every row. Shape [n, columns].

    Equal to ``evaluate_columns(columns, space.decode(row).lower())`` for each row, up to rounding.
    """

    def __init__(self, space: Space, columns: Sequence[Column]) -> None:
        self.space, self.asked = space, tuple(columns)
        order = sorted(range(len(columns)), key=lambda k: ORDER.index(columns[k].reducer))
        self.columns = tuple(columns[k] for k in order)
        self.restore = np.argsort(order)
        self.reader = Reader(self.columns)
        layout = space.layout
        self.channels = np.array(sorted({IMAGE_CHANNELS, *_all_widths(layout)}))
        self.widths = [c for c in self.channels.tolist() if c != IMAGE_CHANNELS]
        self.channel_index = np.zeros(self.channels[-1] + 1, dtype=np.int64)
        self.channel_index[self.channels] = np.arange(len(self.channels))
        self.classes: list[StateClass] = []
        self.class_ids: dict[StateClass, int] = {}
        self.starts = np.array(
            [
                self.class_id(StateClass.split(State(map=(IMAGE_CHANNELS, r, r)))[0])
                for r in layout.spec.resolution
            ]
        )
        self._forget()

    def _forget(self) -> None:
        self.entries = Entries(self.columns)
        self.templates: dict[object, Template] = {}
        self.parts = [_PartTable(self, part) for part in make_parts(self.space.layout)]

    def __call__(self, rows: NDArray[Any]) -> Array:
        """Values of canonical rows. Shape [n, columns]."""
        rows = np.asarray(rows)
        found = np.empty((len(rows), len(self.columns)))
        with _uncollected():
            for start in range(0, len(rows), CHUNK):
                if len(self.entries) > MAX_ENTRIES:
                    self._forget()
                found[start : start + CHUNK] = self._chunk(rows[start : start + CHUNK])
        return found[:, self.restore]

    def _chunk(self, rows: NDArray[Any]) -> Array:
        layout = self.space.layout
        genes = np.ascontiguousarray(rows.T, dtype=np.int64)
        entry = np.zeros((len(rows), len(self.parts)), dtype=np.int64)
        often = np.zeros((len(rows), len(self.parts)))
        state = self.starts[genes[layout.resolution]]
        channels = np.full(len(rows), self.channel_index[IMAGE_CHANNELS])
        for p, table in enumerate(self.parts):
            repeats = table.part.repeats(genes)
            here = np.flatnonzero(repeats)
            if len(here):
                entry[here, p] = table.lookup(genes, here, state, channels)
                often[:, p] = repeats
        return self.entries.combine(entry, often)

    def template(self, part: Part, row: Ints, state: StateClass, first: Pair) -> Template:
        """The template of a part; parts of different stages share those that are the same work."""
        equal = first[0] == first[1]
        block, widths = part.block(row, self.widths)
        key = (block(widths[0]), state, equal)
        if key not in self.templates:
            self.templates[key] = Template(
                self.reader,
                block,
                state,
                channels_in=[IMAGE_CHANNELS] if part.is_stem else self.widths,
                channels_out=widths,
                equal=equal,
                first=first,
                polynomial=not part.is_stem,
            )
        return self.templates[key]

    def class_id(self, state: StateClass) -> int:
        """Number of a state class, given out in order of appearance."""
        if state not in self.class_ids:
            self.class_ids[state] = len(self.classes)
            self.classes.append(state)
        return self.class_ids[state]


class _PartTable:
    """The distinct combinations of one part that have been seen, and their values."""

    def __init__(self, path: FastPath, part: Part) -> None:
        self.path, self.part = path, part
        self.templates: list[Template] = []
        dense = part.span <= DENSE
        self.number_of = np.full(part.span if dense else 0, -1, dtype=np.int64)
        self.numbers: dict[int, int] = {}
        self.template_of = np.full((64, 64), -1, dtype=np.int64)
        self.template_out = np.zeros(64, dtype=np.int64)
        self.base = np.zeros(64, dtype=np.int64)
        self.stride = np.zeros(64, dtype=np.int64)
        self.slots = 0
        self.entry_of = np.full(1024, -1, dtype=np.int64)

    def lookup(self, genes: Ints, here: Ints, state: Ints, channels: Ints) -> Ints:
        """The entry of each network that has the part, those at `here`. Shape [here].

        Moves their `state` and `channels` (by index) behind the part, in place.
        """
        path = self.path
        before, entering = state[here], channels[here]
        out = self.part.out_channels(genes)
        leaving = entering if out is None else path.channel_index[out[here]]
        template = self._templates(genes, here, before, entering, leaving)
        flat = self.base[template] + entering * self.stride[template] + leaving
        entry = self.entry_of[flat]
        if entry.min() < 0:
            self._enter(flat, template, entering, leaving)
            entry = self.entry_of[flat]
        state[here], channels[here] = self.template_out[template], leaving
        return entry

    def _templates(self, genes: Ints, here: Ints, state: Ints, entering: Ints, leaving: Ints) -> Ints:
        number = self._numbers(self.part.key(genes)[here])
        place = 2 * number + (entering == leaving)
        rows, columns = self.template_of.shape
        if (more := int(place.max())) >= rows or len(self.path.classes) > columns:
            grown = np.full((2 * max(rows, more), 2 * max(columns, len(self.path.classes))), -1)
            grown[:rows, :columns] = self.template_of
            self.template_of = grown
        found = self.template_of[place, state]
        if found.min() >= 0:
            return np.asarray(found)
        missing = np.flatnonzero(found < 0)
        _, first = np.unique(place[missing] * len(self.path.classes) + state[missing], return_index=True)
        for k in missing[np.sort(first)].tolist():
            pair = int(self.path.channels[entering[k]]), int(self.path.channels[leaving[k]])
            self.template_of[place[k], state[k]] = self._new_template(genes[:, here[k]], int(state[k]), pair)
        return np.asarray(self.template_of[place, state])

    def _numbers(self, keys: Ints) -> Ints:
        """The keys numbered in order of appearance."""
        if len(self.number_of):
            number = self.number_of[keys]
            if number.min() >= 0:
                return np.asarray(number)
        unique, inverse = np.unique(keys, return_inverse=True)
        found = np.array([self.numbers.setdefault(key, len(self.numbers)) for key in unique.tolist()])
        if len(self.number_of):
            self.number_of[unique] = found
        return np.asarray(found[inverse])

    def _new_template(self, row: Ints, state: int, pair: Pair) -> int:
        path = self.path
        template = path.template(self.part, row, path.classes[state], pair)
        t, n = len(self.templates), len(path.channels)
        self.templates.append(template)
        if t == len(self.base):
            self.template_out, self.base, self.stride = (
                np.resize(a, 2 * t) for a in (self.template_out, self.base, self.stride)
            )
        equal = pair[0] == pair[1]
        self.template_out[t] = path.class_id(template.out_state)
        self.base[t], self.stride[t] = self.slots, 0 if equal else n
        self.slots += n if equal else n * n
        if self.slots > len(self.entry_of):
            self.entry_of = np.concatenate([self.entry_of, np.full(2 * self.slots, -1, dtype=np.int64)])
        return t

    def _enter(self, flat: Ints, template: Ints, entering: Ints, leaving: Ints) -> None:
        """Work out the entries that are missing, of all templates together."""
        missing = np.flatnonzero(self.entry_of[flat] < 0)
        _, first = np.unique(flat[missing], return_index=True)
        missing = missing[first]
        pairs = np.stack(
            [self.path.channels[entering[missing]], self.path.channels[leaving[missing]]], axis=1
        )
        groups = [(self.templates[template[missing[at[0]]]], at) for at in _groups(template[missing])]
        todo = [(t, pair) for t, at in groups for pair in t.unknown(map(tuple, pairs[at].tolist()))]
        values = self.path.reader.values([t.segment(pair) for t, pair in todo])
        for (t, pair), value in zip(todo, values, strict=True):
            t.known[pair] = value
        for t, at in groups:
            self.entry_of[flat[missing[at]]] = self.path.entries.add(t.values(pairs[at]))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector of cycles: lowering makes many small objects and no cycles."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _groups(by: Ints) -> list[Ints]:
    """Indices in groups of equal values."""
    order = np.argsort(by, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(by[order])) + 1)


def _all_widths(layout: Any) -> set[int]:
    spec = layout.spec
    lists = [spec.stem_width, *(s.width for s in spec.stages), *(s.global_width for s in spec.stages)]
    return {int(w) for widths in lists for w in widths if w != "same"}
