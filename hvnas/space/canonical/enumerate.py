"""Every canonical row of a space by its number: what `hvnas.space.canonical.counting` counts, listed.

A row is a stem with tokens and a number of stages, then one choice per stage, then a head and, where the
first stage leaves it free, the stem's width. Given what a stage depends on of those before it, the stages
behind it can be completed in a known number of ways; so the number of a row is split, stage by stage, into
which choice (the quotient) and which completion (the remainder), for whole batches of numbers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvnas.space.canonical.canonical import Canonicaliser, Ints, Rows
from hvnas.space.canonical.stage import ABSENT, Combination, Situation, gene_tables, side_after
from hvnas.space.layout import SLOTS, SlotColumns

if TYPE_CHECKING:
    from hvnas.space.space import Space


_FREE = -1


class _Before(NamedTuple):
    """What a stage depends on of the stages before it; as in `hvnas.space.canonical.counting`.

    `stem` is the index of the stem's width where the first stage decides it, else `_FREE`.
    """

    size: int
    kind: int
    seen_3d: bool
    floor: int
    stem: int


@dataclass(frozen=True)
class _Choices:
    """Choices of some columns that leave the same state. `values` is [n, columns]."""

    after: _Before
    columns: tuple[int, ...]
    values: Ints


class Enumeration:
    """The canonical rows of `space` in order: ``len(...)`` of them, limits on size not considered.

    The choices of every stage are kept as arrays, so this is for spaces of some ten million rows at most.
    """

    def __init__(self, space: Space) -> None:
        self._genes = len(space.genes)
        self._c = Canonicaliser(space.layout)
        self._layout = space.layout
        self._growing = "growing_widths" in space.spec.rules
        self._ways = cache(self._count_ways)
        self._stage = cache(self._stage_choices)

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def rows(self, numbers: NDArray[np.integer]) -> Rows:
        """The rows with these numbers, 0 to ``len(self) - 1``. Shape [n, genes]."""
        numbers = np.asarray(numbers, dtype=np.int64)
        rows = np.zeros((len(numbers), self._genes), dtype=np.int64)
        places = np.searchsorted(self._bounds, numbers, side="right") - 1
        for place in np.unique(places).tolist():
            here = np.flatnonzero(places == place)
            start = self._starts[place]
            rows[np.ix_(here, np.array(start.columns))] = start.values[0]
            rest = numbers[here] - self._bounds[place]
            self._complete(rows, here, rest, 0, start.after, self._count_of(start))
        return rows.astype(np.int16)

    def _complete(self, rows: Ints, at: Ints, numbers: Ints, i: int, before: _Before, count: int) -> None:
        """Fill stages i to count - 1, head and stem's width of the rows at `at` in place."""
        if i == count:
            end = self._end(before.kind, before.stem)
            rows[np.ix_(at, np.array(end.columns))] = end.values[numbers]
            return
        groups = self._stage(i, before, count)
        ways = [self._ways(i + 1, group.after, count) for group in groups]
        bounds = np.cumsum([0, *(len(g.values) * w for g, w in zip(groups, ways, strict=True))])
        places = np.searchsorted(bounds, numbers, side="right") - 1
        for place in np.unique(places).tolist():
            group, here = groups[place], places == place
            picked, rest = np.divmod(numbers[here] - bounds[place], ways[place])
            rows[np.ix_(at[here], np.array(group.columns))] = group.values[picked]
            self._complete(rows, at[here], rest, i + 1, group.after, count)

    def _count_of(self, start: _Choices) -> int:
        """Number of stages of a start."""
        return int(self._layout.spec.counts[start.values[0][1]])

    # how many ways there are

    @cached_property
    def _bounds(self) -> Ints:
        """The number of the first row of each start, and the end."""
        ways = [self._ways(0, start.after, self._count_of(start)) for start in self._starts]
        return np.cumsum([0, *ways])

    def _count_ways(self, i: int, before: _Before, count: int) -> int:
        """Ways to complete a row from stage i on."""
        if i == count:
            return len(self._end(before.kind, before.stem).values)
        return sum(
            len(group.values) * self._ways(i + 1, group.after, count)
            for group in self._stage(i, before, count)
        )

    # what there is to choose

    @cached_property
    def _starts(self) -> tuple[_Choices, ...]:
        """Every choice of tokens, number of stages, stem and resolution, one row each."""
        layout, c = self._layout, self._c
        columns = (layout.tokens, layout.count, layout.stem, layout.resolution)
        tokens = range(len(layout.spec.tokens))
        lists = (tokens, *(range(len(layout.genes[column].values)) for column in columns[1:]))
        found = []
        for values in product(*lists):
            size = int(c.stem_sizes[values[2], values[3]])
            before = _Before(size, int(c.start_kind[values[0]]), False, 0, _FREE)
            found.append(_Choices(before, columns, np.array([values])))
        return tuple(found)

    def _end(self, kind: int, stem: int) -> _Choices:
        """Heads behind a state of this kind, and widths of the stem."""
        heads = [h for h, head in enumerate(self._c.abilities.heads) if head.accepts[kind]]
        free = self._c.explicit_stem.tolist()
        same = self._c.same_stem
        widths = [stem] if stem != _FREE else free or ([] if same is None else [same])
        columns = (self._layout.head, self._layout.stem_width)
        return _Choices(_Before(0, kind, False, 0, stem), columns, _products(heads, widths))

    def _stage_choices(self, i: int, before: _Before, count: int) -> tuple[_Choices, ...]:
        """Choices for stage i of `count`, by what they leave."""
        rules = self._c.rules[i]
        situation = Situation(before.kind, i == count - 1, bool(before.size % 2), before.seen_3d)
        values: dict[_Before, list[Ints]] = {}
        for combination in rules.combinations(situation):
            for (final, stem), widths in self._widths(i, combination, before).items():
                after = self._after(i, before, combination, final, stem)
                if after.size < 1:
                    continue
                values.setdefault(after, []).append(self._products_of(i, combination, widths))
        columns = self._layout.stages[i].all
        return tuple(_Choices(after, columns, np.concatenate(parts)) for after, parts in values.items())

    def _after(self, i: int, before: _Before, combination: Combination, final: int, stem: int) -> _Before:
        rules = self._c.rules[i]
        is_3d = combination.global_ != ABSENT and bool(rules.is_3d[combination.global_])
        size = side_after(before.size, combination.sizing)
        return _Before(size, combination.kind, before.seen_3d or is_3d, final, stem)

    def _widths(
        self, i: int, combination: Combination, before: _Before
    ) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """(width, global width) indices of two types by the width that they leave and that of the stem.

        The width that they leave is 0 where it is free.
        """
        rules = self._c.rules[i]
        listed, own = rules.spec.width, rules.global_widths
        local, global_ = combination.local, combination.global_
        fitting = rules.widths(combination)
        found: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for w in [w for w in fitting if listed[w] >= before.floor] or fitting[-1:]:
            stem = self._stem(i, combination, listed[w]) if i == 0 else before.stem
            both = ABSENT not in (local, global_)
            if not both or rules.same_allowed(w):
                found.setdefault((listed[w] if self._growing else 0, stem), []).append((w, 0))
            for g in rules.explicit_widths(global_, w) if both else ():
                found.setdefault((int(own[g]) if self._growing else 0, stem), []).append((w, g))
        return found

    def _stem(self, i: int, combination: Combination, width: int) -> int:
        """The index of the stem's width where the first stage decides it."""
        if not self._c.rules[i].must_match(combination):
            return _FREE
        same = self._c.same_stem
        return self._layout.spec.stem_width.index(width) if same is None else same

    def _products_of(self, i: int, combination: Combination, widths: list[tuple[int, int]]) -> Ints:
        """Rows of the stage's columns for one combination of types. Shape [n, columns of the stage]."""
        columns = self._layout.stages[i]
        parts = [np.array(widths)]
        places = [columns.width, columns.global_width]
        for slot, type_ in zip(SLOTS, (combination.local, combination.global_), strict=True):
            where, values = self._run(columns.slots[slot], type_)
            places += where
            parts.append(values)
        picked = _products(*(range(len(part)) for part in parts))
        rows = np.zeros((len(picked), len(columns.all)), dtype=np.int64)
        offset = columns.all[0]
        rows[:, columns.downsample - offset] = combination.down
        filled = np.concatenate([part[picked[:, p]] for p, part in enumerate(parts)], axis=1)
        rows[:, np.array(places) - offset] = filled
        return rows

    def _run(self, slot: SlotColumns, type_: int) -> tuple[list[int], Ints]:
        """Columns of a run, and every choice of them for a type. Shape [n, columns]."""
        tables = gene_tables(self._layout, slot)
        columns = [slot.type, slot.depth, *(slot.genes[gene] for gene in tables)]
        if type_ == ABSENT:
            row = np.zeros((1, len(columns)), dtype=np.int64)
            row[0, 1] = slot.depths.index(0)
            return columns, row
        choices = []
        for d, depth in enumerate(slot.depths):
            if depth:
                own = [np.unique(table[type_, d]) for table in tables.values()]
                choices.append(_products([type_], [d], *own))
        return columns, np.concatenate(choices)


def _products(*lists: object) -> Ints:
    """The Cartesian product, the last list fastest. Shape [n, lists]."""
    grids = np.meshgrid(*(np.asarray(values, dtype=np.int64) for values in lists), indexing="ij")
    return np.stack([grid.reshape(-1) for grid in grids], axis=1)
