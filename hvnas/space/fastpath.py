"""Columns of whole populations without building their Programs.

A network is a chain of parts: stem, and per stage a downsample, the first block and the further
blocks of each run, then the head. What a part contributes depends on its own genes, on the state
that it is given, and on channels in and out. Each distinct combination is worked out once
(`templates`), kept in a row of a table, and a population is a handful of gathers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvnas.ops import Column, State
from hvnas.ops.columns import IDENTITY, Reducer
from hvnas.space.parts import Part, make_parts
from hvnas.space.templates import StateClass, Template

if TYPE_CHECKING:
    from hvnas.space.space import Space

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
CHUNK = 4096
IMAGE_CHANNELS = 3
MAX_ENTRIES = 400_000
ORDER: tuple[Reducer, ...] = ("sum", "max", "min", "last")


class FastPath:
    """``FastPath(space, columns)(rows)``: column values of every row. Shape [n, columns].

    Equal to ``evaluate_columns(columns, space.decode(row).lower())`` for each row, up to rounding.
    """

    def __init__(self, space: Space, columns: Sequence[Column]) -> None:
        self.space = space
        order = sorted(range(len(columns)), key=lambda k: ORDER.index(columns[k].reducer))
        self.columns = tuple(columns[k] for k in order)
        self.restore = np.argsort(order)
        self.identity = np.array([IDENTITY[c.reducer] for c in self.columns])
        bounds = np.searchsorted([ORDER.index(c.reducer) for c in self.columns], range(5))
        self.slices = {r: slice(bounds[k], bounds[k + 1]) for k, r in enumerate(ORDER)}
        layout = space.layout
        self.channels = np.array(sorted({IMAGE_CHANNELS, *_all_widths(layout)}))
        self.widths = [c for c in self.channels.tolist() if c != IMAGE_CHANNELS]
        self.templates: dict[object, Template] = {}
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
        self.parts = [_PartTable(self, part) for part in make_parts(layout)]

    def __call__(self, rows: NDArray[Any]) -> Array:
        """Values of canonical rows. Shape [n, columns]."""
        rows = np.asarray(rows)
        chunks = [self._chunk(rows[k : k + CHUNK]) for k in range(0, len(rows), CHUNK)]
        return np.concatenate(chunks) if chunks else np.zeros((0, len(self.columns)))

    def _chunk(self, rows: NDArray[Any]) -> Array:
        layout = self.space.layout
        genes = np.ascontiguousarray(rows.T, dtype=np.int64)
        total = np.broadcast_to(self.identity, (rows.shape[0], len(self.columns))).copy()
        state = self.starts[genes[layout.resolution]]
        channels = np.full(rows.shape[0], IMAGE_CHANNELS)
        for table in self.parts:
            repeats = table.part.repeats(genes)
            here = np.flatnonzero(repeats)
            if not len(here):
                continue
            if len(here) == rows.shape[0]:
                self._combine(total, *table.lookup(genes, state, channels), repeats)
                state, channels = table.out_state, table.out_channels
                continue
            some = total[here]
            self._combine(some, *table.lookup(genes[:, here], state[here], channels[here]), repeats[here])
            total[here] = some
            state, channels = state.copy(), channels.copy()
            state[here], channels[here] = table.out_state, table.out_channels
        return total[:, self.restore]

    def _combine(self, total: Array, values: Array, index: Ints, repeats: Ints) -> None:
        taken = values[index]
        s = self.slices["sum"]
        if (repeats > 1).any():
            taken[:, s] *= repeats[:, None]
        total[:, s] += taken[:, s]
        s = self.slices["max"]
        np.maximum(total[:, s], taken[:, s], out=total[:, s])
        s = self.slices["min"]
        np.minimum(total[:, s], taken[:, s], out=total[:, s])
        s = self.slices["last"]
        if s.start < s.stop:
            total[:, s] = np.where(np.isnan(taken[:, s]), total[:, s], taken[:, s])

    def template(self, part: Part, row: Ints, state: StateClass, first: tuple[int, int]) -> Template:
        """The template of a part; parts of different stages share those that are the same work."""
        equal = first[0] == first[1]
        blocks, widths = part.blocks(row, self.widths)
        key = (tuple(blocks(widths[0])), state, equal)
        if key not in self.templates:
            self.templates[key] = Template(
                self.columns,
                blocks,
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
        self.template_of: dict[int, int] = {}
        self.template_out = np.zeros(64, dtype=np.int64)
        self.base = np.zeros(64, dtype=np.int64)
        self.stride = np.zeros(64, dtype=np.int64)
        self.slots = 0
        self.out_state = self.out_channels = np.zeros(0, dtype=np.int64)
        self._clear()

    def _clear(self) -> None:
        self.entry_of = np.full(max(1024, self.slots), -1, dtype=np.int32)
        self.values = np.zeros((256, len(self.path.columns)))
        self.used = 0

    def lookup(self, genes: Ints, state: Ints, channels_in: Ints) -> tuple[Array, Ints]:
        """The table of values and the row of it that each network reads.

        Leaves the states and channels behind the part in `out_state` and `out_channels`.
        """
        path = self.path
        channels_out = self.part.out_channels(genes)
        if channels_out is None:
            channels_out = channels_in
        static = self.part.key(genes)
        keys = ((state * self.part.span + static) << 1) | (channels_in == channels_out)
        template = self._templates(keys, genes, state, channels_in, channels_out)
        index = path.channel_index
        flat = self.base[template] + index[channels_in] * self.stride[template] + index[channels_out]
        entry = self.entry_of[flat].astype(np.int64)
        if (entry < 0).any():
            entry = self._enter(flat.astype(np.int64), template, channels_in, channels_out)
        self.out_state, self.out_channels = self.template_out[template], channels_out
        return self.values, entry

    def _templates(self, keys: Ints, genes: Ints, state: Ints, channels_in: Ints, channels_out: Ints) -> Ints:
        unique, where, inverse = np.unique(keys, return_index=True, return_inverse=True)
        ids = np.empty(len(unique), dtype=np.int64)
        for k, (key, w) in enumerate(zip(unique.tolist(), where.tolist(), strict=True)):
            if key not in self.template_of:
                pair = int(channels_in[w]), int(channels_out[w])
                self.template_of[key] = self._new_template(genes[:, w], int(state[w]), pair)
            ids[k] = self.template_of[key]
        return ids[inverse]

    def _new_template(self, row: Ints, state: int, pair: tuple[int, int]) -> int:
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
            grown = np.full(2 * self.slots, -1, dtype=np.int32)
            grown[: len(self.entry_of)] = self.entry_of
            self.entry_of = grown
        return t

    def _enter(self, flat: Ints, template: Ints, channels_in: Ints, channels_out: Ints) -> Ints:
        if self.used > MAX_ENTRIES:
            self._clear()
        new, where = np.unique(flat[self.entry_of[flat] < 0], return_index=True)
        missing = np.flatnonzero(self.entry_of[flat] < 0)[where]
        self._reserve(self.used + len(new))
        for rows in _groups(missing, template):
            t = template[rows[0]]
            slot = np.arange(self.used, self.used + len(rows))
            self.values[slot] = self.templates[t].values(channels_in[rows], channels_out[rows])
            self.entry_of[flat[rows]] = slot
            self.used += len(rows)
        return self.entry_of[flat].astype(np.int64)

    def _reserve(self, size: int) -> None:
        if size > len(self.values):
            grown = np.zeros((max(size, 2 * len(self.values)), self.values.shape[1]))
            grown[: self.used] = self.values[: self.used]
            self.values = grown


def _groups(rows: Ints, by: Ints) -> list[Ints]:
    """`rows` in groups of equal `by[row]`."""
    order = rows[np.argsort(by[rows], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(by[order])) + 1)


def _all_widths(layout: Any) -> set[int]:
    spec = layout.spec
    lists = [spec.stem_width, *(s.width for s in spec.stages), *(s.global_width for s in spec.stages)]
    return {int(w) for widths in lists for w in widths if w != "same"}
