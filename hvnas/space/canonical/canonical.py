"""Canonical encodings, vectorised: one row per architecture, whatever indices come in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas.blocks import lower_block
from hvnas.ops import State
from hvnas.space.canonical.stage import (
    ABSENT,
    CEIL,
    FLOOR,
    Abilities,
    Effect,
    StageRules,
    gene_tables,
    situation_numbers,
)
from hvnas.space.canonical.traits import IDLE, KINDS, MAP, DownTraits, traits_of
from hvnas.space.feasible import Arriving, Feasibility, why_nothing
from hvnas.space.layout import SLOTS, Layout
from hvnas.space.spec import SAME

Rows = NDArray[np.int16]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Canonicaliser:
    """Tables for one space, and the pass over the stages that applies them.

    A row is canonical when every gene that has no say is 0 and the network it names can be built:
    blocks take what arrives, widths fit, the downsample fits the first block and the map's size.
    Anything else is moved to the nearest row that is.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        spec = layout.spec
        self.abilities = Abilities(
            {name: traits_of(preset) for name, preset in spec.blocks.items()},
            {name: DownTraits(preset) for name, preset in spec.downsamples.items()},
            tuple(traits_of(preset) for preset in spec.heads),
        )
        self.cardinalities = np.array([len(gene.values) for gene in layout.genes], dtype=np.int64)
        self.stem_sizes = self._stem_sizes()
        self.rules = self._rules()
        tables = {rules: _StageTables(layout, rules) for rules in dict.fromkeys(self.rules)}
        self.stages = tuple(_StagePass(layout, tables[rules], i) for i, rules in enumerate(self.rules))
        self.start_kind = np.array([MAP if tokens is None else IDLE for tokens in spec.tokens])
        self.explicit_stem = np.flatnonzero([w != SAME for w in spec.stem_width])
        self.same_stem = spec.stem_width.index(SAME) if SAME in spec.stem_width else None
        self.head_fix = self._head_fix()
        sizes, kinds = np.unique(self.stem_sizes).tolist(), sorted(set(self.start_kind.tolist()))
        starts = [Arriving(size, kind, False) for kind in kinds for size in sizes]
        self.feasibility = Feasibility(self.rules, starts, spec.counts)
        if self.feasibility.empty:
            raise ValueError(why_nothing(self.feasibility))
        self.start_fix = self._start_fix()
        if self.feasibility.has_holes:
            for stage in self.stages:
                stage.feasibility = self.feasibility

    def start_alive(self, tokens: int, count: int, stem: int, resolution: int) -> bool:
        """Whether a network can begin with these values, by index."""
        start = Arriving(int(self.stem_sizes[stem, resolution]), int(self.start_kind[tokens]), False)
        return self.feasibility.alive(0, self.layout.spec.counts[count], start)

    def _start_fix(self) -> Ints | None:
        """The nearest beginning that can be completed; None where all can.

        Shape [tokens, counts, stems, resolutions, 4].
        """
        shape = (len(self.start_kind), len(self.layout.spec.counts), *self.stem_sizes.shape)
        places = np.array(list(np.ndindex(shape)))
        alive = np.array([self.start_alive(*place) for place in places.tolist()])
        if alive.all():
            return None
        good = places[alive]
        away = np.abs(places[:, None] - good[None])
        # What is said of tokens, stages and stem counts for more than the resolution.
        cost = ((away > 0) * np.array([8, 8, 4, 1]) + away / (1 + np.array(shape))).sum(2)
        return np.asarray(good[cost.argmin(1)].reshape(*shape, 4))

    def _stem_sizes(self) -> Ints:
        """Map size behind each stem at each resolution. Shape [stems, resolutions]."""
        sizes = []
        for preset in self.layout.spec.stems:
            block = traits_of(preset).block
            states = [lower_block(block, State(map=(3, r, r))).state for r in self.layout.spec.resolution]
            sizes.append([(state.map or (1,))[-1] for state in states])
        return np.array(sizes, dtype=np.int64)

    def _rules(self) -> tuple[StageRules, ...]:
        """The rules of each stage; stages behind the first that offer the same share them."""
        shared: dict[object, StageRules] = {}
        for i, stage in enumerate(self.layout.spec.stages):
            key = (i == 0, stage)
            if key not in shared:
                shared[key] = StageRules(self.layout, i, self.abilities)
        return tuple(shared[i == 0, stage] for i, stage in enumerate(self.layout.spec.stages))

    def _head_fix(self) -> Ints:
        """The head to use for each kind of state. Shape [kinds, heads]."""
        heads = self.abilities.heads
        table = np.zeros((len(KINDS), len(heads)), dtype=np.int64)
        for kind in range(len(KINDS)):
            good = [h for h, head in enumerate(heads) if head.accepts[kind]]
            table[kind] = [h if h in good else (good[0] if good else 0) for h in range(len(heads))]
        return table

    def __call__(self, rows: NDArray[Any]) -> Rows:
        """Canonical rows. Shape [n, genes], whole numbers of any size in, int16 out."""
        # From here on transposed, genes first: the passes go gene by gene.
        rows = np.array(np.asarray(rows).T, dtype=np.int64, order="C")
        np.clip(rows, 0, self.cardinalities[:, None] - 1, out=rows)
        layout = self.layout
        if self.start_fix is not None:
            first = [layout.tokens, layout.count, layout.stem, layout.resolution]
            rows[first] = self.start_fix[tuple(rows[first])].T
        counts = np.array(layout.spec.counts)[rows[layout.count]]
        size = self.stem_sizes[rows[layout.stem], rows[layout.resolution]]
        kind = self.start_kind[rows[layout.tokens]]
        seen_3d = np.zeros(rows.shape[1], dtype=bool)
        floor = np.zeros(rows.shape[1], dtype=np.int64)
        for stage in self.stages:
            size, kind, seen_3d = stage(rows, counts, size, kind, seen_3d, floor)
            floor = stage.final_width
        rows[layout.head] = self.head_fix[kind, rows[layout.head]]
        self._stem_width(rows)
        return np.ascontiguousarray(rows.T, dtype=np.int16)

    def _stem_width(self, rows: Ints) -> None:
        column = self.layout.stem_width
        same = self.stages[0].must_match
        widths = np.array([w if w != SAME else 0 for w in self.layout.spec.stem_width])
        if self.same_stem is not None:
            rows[column, same] = self.same_stem
        elif same.any():
            kept = np.array(self.layout.spec.stages[0].width)[rows[self.layout.stages[0].width, same]]
            rows[column, same] = (widths[None] == kept[:, None]).argmax(1)
        if not len(self.explicit_stem):
            return
        wrong = ~same & (widths[rows[column]] == 0)
        if wrong.any():
            first = self.layout.stages[0].width
            target = np.array(self.layout.spec.stages[0].width)[rows[first, wrong]] / 2
            explicit = widths[self.explicit_stem]
            nearest = np.abs(explicit[None] - target[:, None]).argmin(1)
            rows[column, wrong] = self.explicit_stem[nearest]


class _StageTables:
    """What the rules say of every choice of a stage."""

    def __init__(self, layout: Layout, rules: StageRules) -> None:
        self.rules = rules
        slots = {slot: rules.columns.slots[slot] for slot in SLOTS}
        self.depths = {slot: np.array(slots[slot].depths) for slot in SLOTS}
        self.n_types = {slot: len(rules.types[slot]) for slot in SLOTS}
        self.genes = {slot: gene_tables(layout, slots[slot]) for slot in SLOTS}
        self.width_fix = self._width_fix()
        self.stem_fix = self._stem_fix()
        self.width_up = self._width_up()
        self.global_width_fix = self._global_width_fix()
        self.no_down = np.array([down.kind == "none" for down in rules.downs])
        self.keeps = {
            "down": np.array([down.kind == "block" and down.keeps_width for down in rules.downs]),
            # The last is for a run that is absent.
            **{s: np.array([*(not t.changes_width for t in rules.types[s]), False]) for s in SLOTS},
        }
        self.widths = np.array(rules.spec.width)
        self.own_widths = np.array([0, *rules.global_widths[1:]])

    def _width_fix(self) -> Ints:
        """Nearest fitting width. Shape [local types + 1, global types + 1, widths]; last index: absent."""
        widths = np.array(self.rules.spec.width)
        shape = (self.n_types["local"] + 1, self.n_types["global"] + 1, len(widths))
        table = np.zeros(shape, dtype=np.int64)
        for a in range(shape[0]):
            for b in range(shape[1]):
                local = a if a < self.n_types["local"] else ABSENT
                global_ = b if b < self.n_types["global"] else ABSENT
                good = np.array(self.rules.fits(local, global_) or range(len(widths)))
                table[a, b] = good[np.abs(widths[good][None] - widths[:, None]).argmin(1)]
        return table

    def _stem_fix(self) -> Ints | None:
        """As `width_fix` among the widths that the stem can have; None where it can have the stage's own."""
        offered = self.rules.layout.spec.stem_width
        if SAME in offered:
            return None
        widths, table = np.array(self.rules.spec.width), self.width_fix.copy()
        for place in np.ndindex(table.shape[:2]):
            good = np.unique([w for w in self.width_fix[place] if widths[w] in offered])
            if len(good):
                table[place] = good[np.abs(widths[good][None] - widths[:, None]).argmin(1)]
        return table

    def _width_up(self) -> Ints:
        """The first fitting width from each on, the last fitting one where there is none."""
        table = self.width_fix.copy()
        for place in np.ndindex(table.shape[:2]):
            good = np.unique(self.width_fix[place])
            after = np.searchsorted(good, np.arange(table.shape[2]))
            table[place] = good[np.minimum(after, len(good) - 1)]
        return table

    def _global_width_fix(self) -> Ints:
        """Canonical global width index. Shape [global types, widths, global widths]."""
        rules = self.rules
        widths, own = rules.spec.width, np.array([0, *rules.global_widths[1:]])
        table = np.zeros((self.n_types["global"], len(widths), len(own)), dtype=np.int64)
        for b in range(table.shape[0]):
            for w in range(table.shape[1]):
                explicit = np.array(rules.explicit_widths(b, w), dtype=np.int64)
                if len(explicit) and not rules.same_allowed(w):
                    wanted = np.where(own > 0, own, widths[w])
                    table[b, w] = explicit[np.abs(own[explicit][None] - wanted[:, None]).argmin(1)]
                table[b, w, explicit] = explicit
        return table


class _StagePass:
    """Applies the rules of one stage to rows, which come transposed: ``rows[column]`` is a gene of all."""

    def __init__(self, layout: Layout, tables: _StageTables, i: int) -> None:
        self.i, self.tables, self.rules, self.columns = i, tables, tables.rules, layout.stages[i]
        self.slots = {slot: self.columns.slots[slot] for slot in SLOTS}
        # Where what arrives at the first stage must already have its width.
        self.must_match = np.zeros(0, dtype=bool)
        # Set where some choices cannot be completed.
        self.feasibility: Feasibility | None = None
        self.final_width = np.zeros(0, dtype=np.int64)
        self.growing = "growing_widths" in layout.spec.rules

    def __call__(
        self, rows: Ints, counts: Ints, size: Ints, kind: Ints, seen_3d: Mask, floor: Ints
    ) -> tuple[Ints, Ints, Mask]:
        """Make this stage's genes canonical in place; size, kind and 3D flag behind the stage.

        `floor` is the width of the stage before; `final_width` is left at this one's.
        """
        active = counts > self.i
        rows[self.columns.all[0] : self.columns.all[-1] + 1, ~active] = 0
        chosen = self._combine(rows, active, counts, size, kind, seen_3d)
        self._presence(rows, active, chosen)
        for slot in SLOTS:
            self._fix_genes(rows, slot)
        if self.i == 0:
            self.must_match = self._must_match(chosen)
        self._fix_widths(rows, active, chosen, floor)
        sizing, halved = chosen[:, 4], size // 2
        out = np.where(sizing == CEIL, (size + 1) // 2, np.where(sizing == FLOOR, halved, size))
        is_3d = self.rules.is_3d[np.maximum(chosen[:, 1], 0)] & (chosen[:, 1] != ABSENT)
        return np.where(active, out, size), np.where(active, chosen[:, 3], kind), seen_3d | (is_3d & active)

    def _banned(
        self, active: Mask, counts: Ints, size: Ints, kind: Ints, seen_3d: Mask
    ) -> Iterator[tuple[frozenset[Effect], Mask]]:
        """The active rows by the effects that nothing can follow."""
        if self.feasibility is None:
            yield frozenset(), active
            return
        states = np.stack([counts, size, kind, seen_3d], axis=1)
        distinct, place = np.unique(states[active], axis=0, return_inverse=True)
        groups: dict[frozenset[Effect], list[int]] = {}
        for number, (count, side, kind_, seen) in enumerate(distinct.tolist()):
            arriving = Arriving(side, kind_, bool(seen))
            groups.setdefault(self.feasibility.dead_ends(self.i, count, arriving), []).append(number)
        for banned, numbers in groups.items():
            here = active.copy()
            here[active] = np.isin(place.reshape(-1), numbers)
            yield banned, here

    def _combine(self, rows: Ints, active: Mask, counts: Ints, size: Ints, kind: Ints, seen_3d: Mask) -> Ints:
        """The valid combination of types and downsample nearest to each row's. Shape [n, 5]."""
        wanted, last = [], counts == self.i + 1
        for slot in SLOTS:
            columns = self.slots[slot]
            absent = self.tables.depths[slot][rows[columns.depth]] == 0
            wanted.append(np.where(absent, self.tables.n_types[slot], rows[columns.type]))
        down = rows[self.columns.downsample]
        chosen = np.zeros((rows.shape[1], 5), dtype=np.int64)
        numbers = situation_numbers(kind, last, size % 2, seen_3d)
        for banned, here in self._banned(active, counts, size, kind, seen_3d):
            chosen[here] = self.rules.nearest(
                numbers[here], wanted[0][here], wanted[1][here], down[here], banned=banned
            )
        rows[self.columns.downsample, active] = chosen[active, 2]
        return chosen

    def _presence(self, rows: Ints, active: Mask, chosen: Ints) -> None:
        for slot, type_ in zip(SLOTS, (chosen[:, 0], chosen[:, 1]), strict=True):
            columns, depths = self.slots[slot], self.tables.depths[slot]
            present = active & (type_ != ABSENT)
            rows[columns.type] = np.where(present, type_, 0)
            empty = depths[rows[columns.depth]] == 0
            if depths.any():
                rows[columns.depth, present & empty] = np.flatnonzero(depths)[0]
            if not depths.all():
                rows[columns.depth, active & ~present] = depths.argmin()

    def _fix_genes(self, rows: Ints, slot: str) -> None:
        columns = self.slots[slot]
        for gene, table in self.tables.genes[slot].items():
            column = columns.genes[gene]
            rows[column] = table[rows[columns.type], rows[columns.depth], rows[column]]

    def _fix_widths(self, rows: Ints, active: Mask, chosen: Ints, floor: Ints) -> None:
        local, global_ = chosen[:, 0], chosen[:, 1]
        lt = np.where(local == ABSENT, self.tables.n_types["local"], local)
        gt = np.where(global_ == ABSENT, self.tables.n_types["global"], global_)
        wanted = rows[self.columns.width]
        if self.growing:
            wanted = np.maximum(wanted, np.searchsorted(self.tables.widths, floor))
            wanted = np.minimum(wanted, len(self.tables.widths) - 1)
        width = self.tables.width_fix[lt, gt, wanted]
        if self.growing:
            width = self._at_least(lt, gt, width, floor)
        if self.i == 0 and self.tables.stem_fix is not None:
            kept = self.must_match
            width[kept] = self.tables.stem_fix[lt[kept], gt[kept], width[kept]]
        rows[self.columns.width] = np.where(active, width, 0)
        both = active & (local != ABSENT) & (global_ != ABSENT)
        column = self.columns.global_width
        own = self.tables.global_width_fix[np.maximum(global_, 0), rows[self.columns.width], rows[column]]
        rows[column] = np.where(both, own, 0)
        final = np.where(
            self.tables.own_widths[rows[column]] > 0,
            self.tables.own_widths[rows[column]],
            self.tables.widths[width],
        )
        self.final_width = np.where(active, final, floor)

    def _at_least(self, lt: Ints, gt: Ints, width: Ints, floor: Ints) -> Ints:
        """The next fitting width that is not below `floor`, where there is one."""
        for _ in range(len(self.tables.widths)):
            low = (self.tables.widths[width] < floor) & (width + 1 < len(self.tables.widths))
            if not low.any():
                return width
            following = np.minimum(width[low] + 1, len(self.tables.widths) - 1)
            up = self.tables.width_up[lt[low], gt[low], following]
            width = width.copy()
            width[low] = up
        return width

    def _must_match(self, chosen: Ints) -> Mask:
        """Where what arrives must already have this stage's width."""
        down, local = chosen[:, 2], chosen[:, 0]
        first = np.where(
            local != ABSENT, self.tables.keeps["local"][local], self.tables.keeps["global"][chosen[:, 1]]
        )
        return self.tables.keeps["down"][down] | (self.tables.no_down[down] & first)
