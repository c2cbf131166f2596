"""Columns of whole populations without building their Programs.

A network is a chain of parts: stem, and per stage a downsample, the first block and the further
blocks of each run, then the head. What a part contributes depends on its own genes, on the state
that it is given, and on channels in and out. Each distinct combination is worked out once
(`templates`), or read from a file (`compiled`), and kept in a row of a table; a population is rows of
indices into that table.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvnas.ops import Column, Reader, State
from hvnas.ops.reader import ORDER
from hvnas.space.fastpath.compiled import (
    Library,
    PartTables,
    keep_templates,
    open_compiled,
    template_key,
)
from hvnas.space.fastpath.parts import Codes, Lookup, Matches, NamedMatches, Part, all_widths, make_parts
from hvnas.space.fastpath.templates import (
    Entries,
    Link,
    Maker,
    Pair,
    StateClass,
    Stored,
    Template,
    values_of,
)

if TYPE_CHECKING:
    from hvnas.space.layout import Encoded


Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Numbers = NDArray[np.int32]
CHUNK = 2048
IMAGE_CHANNELS = 3
MAX_ENTRIES = 300_000
# Fewer blocks are lowered, and fewer parts matched with their templates, again sooner than a file is written.
WORTH_KEEPING = 500
WORTH_MATCHING = 4000
# Below as many keys a part looks its blocks up in an array, above it in a dictionary.
DENSE = 1 << 20


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
        self.channels = np.array(sorted({IMAGE_CHANNELS, *all_widths(layout)}))
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
        self.library = Library(open_compiled(space.spec.hash, self.columns), self.widths)
        self._forget()

    def _forget(self) -> None:
        self.entries = Entries(self.columns)
        # Entries that have a number but no values yet: those to be lowered, and those that may be in files.
        self.pending: list[tuple[Template, Pair, int]] = []
        self.stored: list[_Entered] = []
        self.links: dict[object, Link] = {}
        # Templates that a file can hold, by the key that it holds them under; how many pairs were lowered.
        self.keyed: dict[int, Template] = {}
        self.lowered = 0
        self.codes = Codes(len(self.space.layout.genes))
        self.parts = [_PartTable(self, part) for part in make_parts(self.space.layout)]
        self.codes.close(np.array([len(gene.values) for gene in self.space.layout.genes]))
        self._read_parts()

    def _read_parts(self) -> None:
        """Take over what the library knows of this space's parts."""
        known = self.library.parts(self.space.spec.hash)
        if known is None:
            return
        number = np.array([self.class_id(state) for state in known.states()])
        keys = known.names.astype(np.uint64)
        places = self.library.places(keys)
        start = key_start = 0
        for table, key_end, end in zip(self.parts, known.key_end.tolist(), known.end.tolist(), strict=True):
            part = slice(start, end)
            name = known.name[part]
            table.restore(
                known.keys[key_start:key_end].astype(np.int64),
                place=known.place[part].astype(np.int64),
                state=number[known.state[part]],
                out=number[known.out[part]],
                stored=places[name],
                key=keys.view(np.int64)[name],
            )
            start, key_start = end, key_end

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

    def meet(self, rows: NDArray[Any]) -> tuple[Ints, Numbers, Ints]:
        """Number what is new in canonical rows, to be worked out.

        Returns the network, the entry and the count of each part of each network. Shape [m] each.
        """
        codes = self.codes(rows)
        state = self.starts[rows[:, self.space.layout.resolution]]
        channels = np.full(len(rows), self.channel_index[IMAGE_CHANNELS])
        found = []
        for table in self.parts:
            here, often, key = table.occurrences(codes)
            if len(here):
                found.append((here, table.lookup(rows, codes, here, key, state, channels), often))
        self._read_stored()
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

    def _read_stored(self) -> None:
        """Fill in what files know of the entries of this pass; what they do not is to be lowered."""
        if not self.stored:
            return
        places = np.concatenate([each.table.templates.stored[each.template] for each in self.stored])
        channels = [np.concatenate(each) for each in zip(*(e.channels for e in self.stored), strict=True)]
        pairs = self.channels[np.stack(channels, axis=1)]
        entries = np.concatenate([each.entries for each in self.stored])
        ready = self.library.knows(places, pairs)
        if ready.any():
            self.entries.fill(entries[ready], self.library.values(places[ready], pairs[ready]))
        start = 0
        for each in self.stored if not ready.all() else ():
            end = start + len(each.entries)
            for k in np.flatnonzero(~ready[start:end]).tolist():
                pair = int(pairs[start + k, 0]), int(pairs[start + k, 1])
                self.pending.append((each.table.lowered(each, k, pair), pair, int(each.entries[k])))
            start = end
        self.stored = []

    def maker(self, part: Part, row: NDArray[Any], key: int) -> Maker:
        """Return the block of a part for one value of its key."""
        make, widths = part.block(row, key, self.widths)
        return Maker(make, widths, make(widths[0]))

    def link(self, part: Part, maker: Maker, state: StateClass, first: Pair) -> tuple[Link, int]:
        """Return the template of a part on a state, and the number of the state that it leaves.

        Parts of different stages share those that are the same work, whatever tokens pass by.
        """
        equal, given = first[0] == first[1], self._given(maker, state)
        key = (maker.block, given, equal)
        link = self.links.get(key)
        if link is None:
            stored_key = template_key(maker.block, given, equal=equal, fixed=part.is_fixed)
            place = self.library.place(stored_key)
            if place < 0:
                template = self._new_template(part, maker, given, first, None)
                link = Link(stored_key, place, template.out_state, template)
                self._note(link)
            else:
                file, k = self.library.file_of(place)
                link = Link(stored_key, place, file.out_state(k))
            self.links[key] = link
        left = link.out_state if given is state else link.out_state.with_tokens_of(state)
        return link, self.class_id(left)

    def template(self, part: Part, maker: Maker, state: StateClass, first: Pair) -> Template:
        """Return the template of a part on a state itself, to lower what no file has."""
        link, _ = self.link(part, maker, state, first)
        if link.template is None:
            file, k = self.library.file_of(link.place)
            link.template = self._new_template(part, maker, self._given(maker, state), first, file.stored(k))
            self._note(link)
        return link.template

    def _given(self, maker: Maker, state: StateClass) -> StateClass:
        # What is alive beside a block counts the tokens that pass it by.
        passed = maker.block.two_branch or self.reader.reads_alive
        return state if passed else state.without_tokens()

    def _note(self, link: Link) -> None:
        if link.key is not None and link.template is not None:
            self.keyed[link.key] = link.template

    def _new_template(
        self, part: Part, maker: Maker, given: StateClass, first: Pair, stored: Stored | None
    ) -> Template:
        return Template(
            self.reader,
            maker.make,
            given,
            channels_in=[IMAGE_CHANNELS] if part.is_stem else self.widths,
            channels_out=maker.widths,
            equal=first[0] == first[1],
            first=first,
            polynomial=not part.is_stem,
            stored=stored,
        )

    def keep(self) -> bool:
        """Keep what was worked out for later runs over the same space and columns; whether it was enough."""
        matched = sum(table.matched for table in self.parts)
        if self.lowered < WORTH_KEEPING and matched < WORTH_MATCHING:
            return False
        self.lowered = 0
        for table in self.parts:
            table.matched = 0
        changed = {key: template for key, template in self.keyed.items() if template.changed}
        return keep_templates(self.space.spec.hash, self.columns, changed, self.widths, self.part_tables())

    def part_tables(self) -> PartTables:
        """Which template each part has, as far as it is known."""
        found = [table.known() for table in self.parts]
        names, name = np.unique(np.concatenate([each.key for _, each in found]), return_inverse=True)
        return PartTables(
            classes=PartTables.numbers(self.classes),
            keys=np.concatenate([keys for keys, _ in found]),
            key_end=np.cumsum([len(keys) for keys, _ in found]),
            place=np.concatenate([each.place for _, each in found]).astype(np.int32),
            state=np.concatenate([each.state for _, each in found]).astype(np.int32),
            out=np.concatenate([each.out for _, each in found]).astype(np.int32),
            name=name.astype(np.int32),
            end=np.cumsum([len(each.key) for _, each in found]),
            names=names.view(np.uint64),
        )

    def class_id(self, state: StateClass) -> int:
        """Number of a state class, given out in order of appearance."""
        if state not in self.class_ids:
            self.class_ids[state] = len(self.classes)
            self.classes.append(state)
        return self.class_ids[state]


class _Entered(NamedTuple):
    """New entries of a part: their templates, channels in and out by index, and where they were met.

    `rows` [n, genes] are networks, `key` [n] what the part has there.
    """

    table: _PartTable
    template: Ints
    channels: tuple[Ints, Ints]
    entries: Ints
    rows: NDArray[Any]
    key: Ints


class _PartTable:
    """The distinct combinations of one part that have been seen, and their entries."""

    def __init__(self, path: FastPath, part: Part) -> None:
        self.path, self.part = path, part
        codes = path.codes
        self.key_code = codes.add(part.reads, part.radix)
        self.extras = [(codes.add(each.genes, each.radix), each.table) for each in part.extras]
        self.repeats = _coded(codes, part.repeats)
        self.out = _coded(codes, part.out)
        if self.out is not None:
            self.out = self.out[0], path.channel_index[self.out[1]]
        # Keys are numbered from 1; 0 is one that was not met.
        self.number_of = np.zeros(part.span if part.span <= DENSE else 0, dtype=np.int64)
        self.numbers: dict[int, int] = {}
        self.makers: dict[int, Maker] = {}
        self.templates = Matches()
        self.template_of = np.zeros((64, 64), dtype=np.int64)
        # In front there is room for every template that has none of its own.
        self.slots = len(path.channels)
        self.entry_of = np.full(1024, -1, dtype=np.int32)
        # Templates found since the table was read or kept.
        self.matched = 0

    def occurrences(self, codes: Ints) -> tuple[Ints, Ints, Ints]:
        """Return the networks that have the part, how often each, and its key there. Shape [m] each."""
        if self.repeats is None:
            n = codes.shape[1]
            return np.arange(n), np.ones(n, dtype=np.int64), codes[self.key_code]
        code, table = self.repeats
        repeats = table.take(codes[code], axis=0)
        where = repeats.nonzero()
        here, often = where[0], repeats[where]
        key = codes[self.key_code].take(here)
        if len(where) > 1:
            key += where[1]
        for extra, added in self.extras:
            key += added.take(codes[extra].take(here))
        return here, often, key

    def lookup(
        self, rows: NDArray[Any], codes: Ints, here: Ints, key: Ints, state: Ints, channels: Ints
    ) -> Numbers:
        """The entry of each occurrence of the part, in the networks `here`, with these keys. Shape [here].

        Moves their `state` and `channels` (by index) behind the part, in place.
        """
        given, entering = state.take(here), channels.take(here)
        leaving = entering if self.out is None else self.out[1].take(codes[self.out[0]].take(here))
        if len(self.path.classes) > self.template_of.shape[1]:
            self._make_room(0, len(self.path.classes))
        place = 2 * self._numbers(key) + (entering == leaving)
        template = self.template_of[place, given]
        entry = self._entries(template, entering, leaving)
        if entry.min() < 0:
            template = self._met(rows, here, key, given, entering, leaving)
            entry = self._entries(template, entering, leaving)
        state[here], channels[here] = self.templates.out.take(template), leaving
        return entry

    def _entries(self, template: Ints, entering: Ints, leaving: Ints) -> Numbers:
        """The entries, -1 for those that are not there. Shape [n]."""
        known = self.templates
        found = self.entry_of.take(
            known.base.take(template) + entering * known.stride.take(template) + leaving
        )
        return np.asarray(found)

    def _met(
        self, rows: NDArray[Any], here: Ints, key: Ints, given: Ints, entering: Ints, leaving: Ints
    ) -> Ints:
        """Number what is new among occurrences of the part; the templates of all. Shape [here]."""
        place = 2 * self._number(key) + (entering == leaving)
        template = self.template_of[place, given]
        missing = np.flatnonzero(template == 0)
        if len(missing):
            code = place[missing] * len(self.path.classes) + given[missing]
            _, first = np.unique(code, return_index=True)
            for k in missing[np.sort(first)].tolist():
                pair = self._pair(int(entering[k]), int(leaving[k]))
                maker = self._maker(rows[here[k]], int(key[k]))
                self._match(int(place[k]), int(given[k]), maker, pair)
            template = self.template_of[place, given]
        self._place(template)
        self._enter(rows, here, key, template, entering, leaving)
        return template

    def _pair(self, entering: int, leaving: int) -> Pair:
        return int(self.path.channels[entering]), int(self.path.channels[leaving])

    def _maker(self, row: NDArray[Any], key: int) -> Maker:
        if key not in self.makers:
            self.makers[key] = self.path.maker(self.part, row, key)
        return self.makers[key]

    def _numbers(self, keys: Ints) -> Ints:
        """The numbers of the keys, 0 for those that have none. Shape [n]."""
        if len(self.number_of):
            return self.number_of.take(keys)
        unique, inverse = np.unique(keys, return_inverse=True)
        return np.array([self.numbers.get(key, 0) for key in unique.tolist()])[inverse]

    def _number(self, keys: Ints) -> Ints:
        """The numbers of the keys, given out in order of appearance. Shape [n]."""
        for key in np.unique(keys[self._numbers(keys) == 0]).tolist():
            self.numbers[key] = len(self.numbers) + 1
            if len(self.number_of):
                self.number_of[key] = len(self.numbers)
        self._make_room(2 * len(self.numbers) + 2, 0)
        return self._numbers(keys)

    def _make_room(self, rows: int, columns: int) -> None:
        """Let `template_of` have as many rows and columns, or more."""
        have, wide = self.template_of.shape
        if rows <= have and columns <= wide:
            return
        shape = (2 * rows if rows > have else have, 2 * columns if columns > wide else wide)
        grown = np.zeros(shape, dtype=np.int64)
        grown[:have, :wide] = self.template_of
        self.template_of = grown

    def _match(self, place: int, state: int, maker: Maker, pair: Pair) -> None:
        """Find the template for a key and a state."""
        link, left = self.path.link(self.part, maker, self.path.classes[state], pair)
        key = np.array([link.key or 0], dtype=np.uint64).view(np.int64)
        at, given, out, stored = (np.array([each]) for each in (place, state, left, link.place))
        self.template_of[place, state] = self.templates.add(at, given, out, stored, key)[0]
        self.matched += 1

    def _place(self, template: Ints) -> None:
        """Give room for entries to those templates that have none."""
        known, n = self.templates, len(self.path.channels)
        new = np.unique(template[known.base.take(template) == 0])
        equal = known.place[new] % 2 == 1
        sizes = np.where(equal, n, n * n)
        known.base[new] = self.slots + np.cumsum(sizes) - sizes
        known.stride[new] = np.where(equal, 0, n)
        self.slots += int(sizes.sum())
        if self.slots > len(self.entry_of):
            more = np.full(2 * self.slots - len(self.entry_of), -1, dtype=np.int32)
            self.entry_of = np.concatenate([self.entry_of, more])

    def _enter(
        self, rows: NDArray[Any], here: Ints, key: Ints, template: Ints, entering: Ints, leaving: Ints
    ) -> None:
        """Number the entries that are missing; what they hold is worked out at the end of the pass."""
        path, known = self.path, self.templates
        flat = known.base[template] + entering * known.stride[template] + leaving
        missing = np.flatnonzero(self.entry_of[flat] < 0)
        _, first = np.unique(flat[missing], return_index=True)
        missing = missing[first]
        entries = path.entries.reserve(len(missing))
        self.entry_of[flat[missing]] = entries
        channels = entering[missing], leaving[missing]
        path.stored.append(
            _Entered(self, template[missing], channels, entries, rows[here[missing]], key[missing])
        )

    def lowered(self, entered: _Entered, k: int, pair: Pair) -> Template:
        """The template itself of one of the entries."""
        maker = self._maker(entered.rows[k], int(entered.key[k]))
        state = self.path.classes[self.templates.state[entered.template[k]]]
        return self.path.template(self.part, maker, state, pair)

    def known(self) -> tuple[Ints, NamedMatches]:
        """What `restore` takes: the keys by number, and the templates that files can hold."""
        return np.array(list(self.numbers), dtype=np.int64), self.templates.named()

    def restore(self, keys: Ints, *, place: Ints, state: Ints, out: Ints, stored: Ints, key: Ints) -> None:
        """Take over what was known before anything is met. Shapes [numbers]; [n] each."""
        self.numbers = {key: k for k, key in enumerate(keys.tolist(), 1)}
        if len(self.number_of):
            self.number_of[keys] = np.arange(1, len(keys) + 1)
        self._make_room(2 * len(keys) + 2, len(self.path.classes))
        there = stored >= 0
        place, state, out, stored, key = (each[there] for each in (place, state, out, stored, key))
        self.template_of[place, state] = self.templates.add(place, state, out, stored, key)


def _coded(codes: Codes, lookup: Lookup | None) -> tuple[int, Ints] | None:
    return None if lookup is None else (codes.add(lookup.genes, lookup.radix), lookup.table)


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
