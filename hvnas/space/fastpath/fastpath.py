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
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvnas.blocks import Block
from hvnas.ops import Column, Reader, State
from hvnas.ops.reader import ORDER, reduce_runs
from hvnas.space.fastpath.compiled import keep_templates, open_compiled, template_key
from hvnas.space.fastpath.parts import Part, make_parts
from hvnas.space.fastpath.templates import MakeBlock, Pair, StateClass, Template, values_of

if TYPE_CHECKING:
    from hvnas.space.layout import Encoded


Array = NDArray[np.float64]
Ints = NDArray[np.int64]
CHUNK = 2048
IMAGE_CHANNELS = 3
MAX_ENTRIES = 300_000
# Fewer blocks are lowered again sooner than a file is written.
WORTH_KEEPING = 500
# Below as many keys a part looks its blocks up in an array, above it in a dictionary.
DENSE = 1 << 20


class Maker(NamedTuple):
    """A block as a function of its width, the widths that it can have, and one that stands for all."""

    make: MakeBlock
    widths: list[int]
    block: Block


class FastPath:
    """``FastPath(space, columns)(rows)``: column values of every row. Shape [n, columns].

    Equal to ``evaluate_columns(columns, space.decode(row).lower())`` for each row, up to rounding.
    """

    def __init__(self, space: Encoded, columns: Sequence[Column]) -> None:
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
        self.compiled = open_compiled(space.spec.hash, self.columns)
        self._forget()

    def _forget(self) -> None:
        self.entries = Entries(self.columns)
        # Entries that have a number but no values yet.
        self.pending: list[tuple[Template, Pair, int]] = []
        self.templates: dict[object, Template] = {}
        # Those that a file can hold, by the key that it holds them under; how many pairs were lowered.
        self.keyed: dict[int, Template] = {}
        self.lowered = 0
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
        networks, entry, often = self.meet(rows)
        self._work_out()
        # By network, and within each in the order of the chain.
        order = np.argsort(networks.astype(np.uint16), kind="stable")
        sizes = np.bincount(networks, minlength=len(rows))
        return self.entries.combine(entry[order], often[order].astype(np.float64), sizes)

    def meet(self, rows: NDArray[Any]) -> tuple[Ints, Ints, Ints]:
        """Number what is new in canonical rows, to be worked out.

        Returns the network, the entry and the count of each part of each network. Shape [m] each.
        """
        genes = np.ascontiguousarray(rows.T, dtype=np.int64)
        state = self.starts[genes[self.space.layout.resolution]]
        channels = np.full(len(rows), self.channel_index[IMAGE_CHANNELS])
        found = []
        for table in self.parts:
            here, often, key = table.part.occurrences(genes)
            if len(here):
                found.append((here, table.lookup(genes, here, key, state, channels), often))
        networks, entry, often = (np.concatenate(each) for each in zip(*found, strict=True))
        return networks, entry, often

    def _work_out(self) -> None:
        """Fill in the entries that were numbered in this pass, all together."""
        if not self.pending:
            return
        wanted: dict[Template, list[Pair]] = {}
        for template, pair, _ in self.pending:
            wanted.setdefault(template, []).append(pair)
        todo = [(t, pair) for t, pairs in wanted.items() for pair in t.unknown(pairs)]
        self.lowered += len(todo)
        values = self.reader.values([t.segment(pair) for t, pair in todo])
        for (t, pair), value in zip(todo, values, strict=True):
            t.known[pair] = value
        found = values_of([(t, pair) for t, pair, _ in self.pending])
        self.entries.fill(np.array([row for _, _, row in self.pending]), found)
        self.pending = []

    def maker(self, part: Part, row: Ints, key: int) -> Maker:
        """Return the block of a part for one value of its key."""
        make, widths = part.block(row, key, self.widths)
        return Maker(make, widths, make(widths[0]))

    def template(self, part: Part, maker: Maker, state: StateClass, first: Pair) -> tuple[Template, int]:
        """Return the template of a part on a state, and the number of the state that it leaves.

        Parts of different stages share those that are the same work, whatever tokens pass by.
        """
        equal = first[0] == first[1]
        # What is alive beside a block counts the tokens that pass it by.
        passed = maker.block.two_branch or self.reader.reads_alive
        given = state if passed else state.without_tokens()
        key = (maker.block, given, equal)
        template = self.templates.get(key)
        if template is None:
            stored_key = template_key(maker.block, given, equal=equal, fixed=part.is_fixed)
            stored = (each.find(stored_key, self.widths) for each in self.compiled)
            template = self.templates[key] = Template(
                self.reader,
                maker.make,
                given,
                channels_in=[IMAGE_CHANNELS] if part.is_stem else self.widths,
                channels_out=maker.widths,
                equal=equal,
                first=first,
                polynomial=not part.is_stem,
                stored=next((each for each in stored if each is not None), None),
            )
            if stored_key is not None:
                self.keyed[stored_key] = template
        left = template.out_state if given is state else template.out_state.with_tokens_of(state)
        return template, self.class_id(left)

    def keep(self) -> bool:
        """Keep what was lowered for later runs over the same space and columns; whether there was enough."""
        if self.lowered < WORTH_KEEPING:
            return False
        self.lowered = 0
        changed = {key: template for key, template in self.keyed.items() if template.changed}
        return keep_templates(self.space.spec.hash, self.columns, changed, self.widths)

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
        self.makers: dict[int, Maker] = {}
        self.template_of = np.full((64, 64), -1, dtype=np.int64)
        self.template_out = np.zeros(64, dtype=np.int64)
        self.base = np.zeros(64, dtype=np.int64)
        self.stride = np.zeros(64, dtype=np.int64)
        self.slots = 0
        self.entry_of = np.full(1024, -1, dtype=np.int64)

    def lookup(self, genes: Ints, here: Ints, key: Ints, state: Ints, channels: Ints) -> Ints:
        """The entry of each occurrence of the part, in the networks `here`, with these keys. Shape [here].

        Moves their `state` and `channels` (by index) behind the part, in place.
        """
        path = self.path
        before, entering = state[here], channels[here]
        out = self.part.out_channels(genes)
        leaving = entering if out is None else path.channel_index[out[here]]
        template = self._templates(genes, here, key, before, entering, leaving)
        flat = self.base[template] + entering * self.stride[template] + leaving
        entry = self.entry_of[flat]
        if entry.min() < 0:
            self._enter(flat, template, entering, leaving)
            entry = self.entry_of[flat]
        state[here], channels[here] = self.template_out[template], leaving
        return entry

    def _templates(
        self, genes: Ints, here: Ints, key: Ints, state: Ints, entering: Ints, leaving: Ints
    ) -> Ints:
        place = 2 * self._numbers(key) + (entering == leaving)
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
            maker = self._maker(genes[:, here[k]], int(key[k]))
            self.template_of[place[k], state[k]] = self._new_template(maker, int(state[k]), pair)
        return np.asarray(self.template_of[place, state])

    def _maker(self, row: Ints, key: int) -> Maker:
        if key not in self.makers:
            self.makers[key] = self.path.maker(self.part, row, key)
        return self.makers[key]

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

    def _new_template(self, maker: Maker, state: int, pair: Pair) -> int:
        path = self.path
        template, left = path.template(self.part, maker, path.classes[state], pair)
        t, n = len(self.templates), len(path.channels)
        self.templates.append(template)
        if t == len(self.base):
            self.template_out, self.base, self.stride = (
                np.resize(a, 2 * t) for a in (self.template_out, self.base, self.stride)
            )
        equal = pair[0] == pair[1]
        self.template_out[t] = left
        self.base[t], self.stride[t] = self.slots, 0 if equal else n
        self.slots += n if equal else n * n
        if self.slots > len(self.entry_of):
            self.entry_of = np.concatenate([self.entry_of, np.full(2 * self.slots, -1, dtype=np.int64)])
        return t

    def _enter(self, flat: Ints, template: Ints, entering: Ints, leaving: Ints) -> None:
        """Number the entries that are missing; what they hold is worked out at the end of the pass."""
        path = self.path
        missing = np.flatnonzero(self.entry_of[flat] < 0)
        _, first = np.unique(flat[missing], return_index=True)
        missing = missing[first]
        rows = path.entries.reserve(len(missing))
        self.entry_of[flat[missing]] = rows
        templates = [self.templates[t] for t in template[missing].tolist()]
        channels_in, channels_out = (path.channels[c[missing]].tolist() for c in (entering, leaving))
        pairs = zip(channels_in, channels_out, strict=True)
        path.pending += zip(templates, pairs, rows.tolist(), strict=True)


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


def _all_widths(layout: Any) -> set[int]:
    spec = layout.spec
    lists = [spec.stem_width, *(s.width for s in spec.stages), *(s.global_width for s in spec.stages)]
    return {int(w) for widths in lists for w in widths if w != "same"}


class Entries:
    """Rows of column values, the columns in the order of their reducers."""

    def __init__(self, columns: Sequence[Column]) -> None:
        bounds = np.searchsorted([ORDER.index(c.reducer) for c in columns], range(5))
        self._split = int(bounds[1])
        self._slices = {
            r: slice(bounds[k] - bounds[1], bounds[k + 1] - bounds[1]) for k, r in enumerate(ORDER) if k
        }
        # Apart, since the sums are taken by a product with a matrix, which wants them in one piece.
        self._sums = np.empty((256, self._split))
        self._others = np.empty((256, len(columns) - self._split))
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def reserve(self, n: int) -> Ints:
        """Append `n` rows, to be filled; their indices, [n]."""
        end = self._used + n
        if end > len(self._sums):
            self._sums, self._others = (_grown(a, self._used, end) for a in (self._sums, self._others))
        index = np.arange(self._used, end)
        self._used = end
        return index

    def fill(self, index: Ints, values: Array) -> None:
        """Put `values` [n, columns], made `exact`, into the rows `index` [n]."""
        values = exact(values)
        self._sums[index] = values[:, : self._split]
        self._others[index] = values[:, self._split :]

    def combine(self, index: Ints, often: Array, sizes: Ints) -> Array:
        """Values of n networks. Shape [n, columns].

        The networks, one after the other, have `sizes` [n] rows each, at least one, of `index` [m]; each row
        counts as often as `often` [m] says.
        """
        n, starts = len(sizes), np.cumsum(sizes) - sizes
        found = np.empty((n, self._split + self._others.shape[1]))
        network = np.repeat(np.arange(n), sizes)
        place = np.arange(len(index)) - starts[network]
        # Networks with fewer rows than others have some row there, no times.
        rows, times = np.zeros((n, sizes.max()), dtype=np.int64), np.zeros((n, 1, sizes.max()))
        rows[network, place], times[network, 0, place] = index, often
        for start in range(0, n, _BLOCK):
            part = slice(start, start + _BLOCK)
            found[part, : self._split] = np.matmul(times[part], self._sums[rows[part]])[:, 0]
        if self._others.shape[1]:
            reduce_runs(self._others[index], starts, self._slices, out=found[:, self._split :])
        return found


# Networks whose rows are summed together: few enough for what is gathered to stay in the nearest cache.
_BLOCK = 64
# Relative; what is nearer to a whole number is one.
_ROUNDING = 1e-10
_UNIT = 2.0**36


def exact(values: Array) -> Array:
    """`values` such that sums of them are the same in every order, and however they came to be known.

    Nearly all are whole numbers but for rounding, and are made so; of the others 36 binary places stay.
    """
    whole = np.rint(values)
    with np.errstate(invalid="ignore"):  # a column to which no op contributed is infinite
        near = np.abs(values - whole) <= _ROUNDING * np.abs(whole)
    return np.where(near, whole, np.rint(values * _UNIT) / _UNIT)


def _grown(array: Array, used: int, end: int) -> Array:
    grown = np.empty((max(end, 2 * len(array)), array.shape[1]))
    grown[:used] = array[:used]
    return grown
