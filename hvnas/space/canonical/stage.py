"""What one stage may be: the valid combinations of types and downsample, and the nearest ones to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvnas.arch import INNER
from hvnas.space.canonical.traits import CLASS, KINDS, NOTHING, DownTraits, Traits
from hvnas.space.layout import SLOTS, Layout, SlotColumns, per_block
from hvnas.space.spec import SAME

ABSENT = -1
UNKNOWN = -2
KEEP, CEIL, FLOOR = range(3)  # how a downsample changes the size of the map


def side_after(side: int, sizing: int) -> int:
    """The side of a map behind a downsample that changes it so."""
    return side if sizing == KEEP else (side + (sizing == CEIL)) // 2


class Situation(NamedTuple):
    """What decides which combinations are valid, besides the combination."""

    kind: int
    last: bool
    odd: bool
    seen_3d: bool

    @classmethod
    def numbered(cls, number: int) -> Situation:
        """The situation of a number that `situation_numbers` gives."""
        return cls(number >> 3, bool(number >> 2 & 1), bool(number >> 1 & 1), bool(number & 1))


def situation_numbers(
    kind: NDArray[np.int64],
    last: NDArray[np.bool_],
    odd: NDArray[np.int64],
    seen_3d: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Each row's situation as a number. Shape [n]."""
    return np.asarray(((kind * 2 + last) * 2 + odd) * 2 + seen_3d)


class Combination(NamedTuple):
    """Types of the two runs (`ABSENT`: none) and the downsample, by index, and what they leave."""

    local: int
    global_: int
    down: int
    kind: int
    sizing: int


class Effect(NamedTuple):
    """What a combination does to the state, of what the stages behind it depend on."""

    kind: int
    sizing: int
    is_3d: bool


@dataclass(frozen=True)
class Abilities:
    """Traits of every preset of a space, by name."""

    blocks: Mapping[str, Traits]
    downs: Mapping[str, DownTraits]
    heads: tuple[Traits, ...]


class StageRules:
    """The valid combinations of stage `i` of a space."""

    def __init__(self, layout: Layout, i: int, abilities: Abilities) -> None:
        self.layout, self.i, self.abilities = layout, i, abilities
        self.columns, self.spec = layout.stages[i], layout.spec.stages[i]
        self.types = {
            slot: [abilities.blocks[p.name] for p in self.columns.slots[slot].types] for slot in SLOTS
        }
        self.downs = [abilities.downs[name] for name in self.spec.downsample]
        self.is_3d = np.array([t.block.type == "mb3d" for t in self.types["global"]])
        self.ordered = "4d_before_3d" in layout.spec.rules
        self.growing = "growing_widths" in layout.spec.rules
        self.global_widths = layout.genes[self.columns.global_width].values
        self.kinds_after = [[down.kind_after(kind) for kind in range(len(KINDS))] for down in self.downs]
        self._heads_take = {k for k in range(len(KINDS)) if any(head.accepts[k] for head in abilities.heads)}
        self.sizing, self.leaves = cache(self._sizing), cache(self._leaves)
        self.sizings = cache(self._sizings)
        self.combinations = cache(self._combinations)
        self._array = cache(self._as_array)
        # Combinations by situation and choice, filled in as they are asked for; one table for each set of
        # effects that are not to be had.
        self._tables = cache(self._empty_table)
        self.fits, self.effects = cache(self._fits), cache(self._effects)
        self.fits_stem = cache(self._fits_stem)
        self._ways: dict[tuple[int, int], int] = {}

    def first(self, local: int, global_: int) -> Traits:
        """Traits of the first block of the stage."""
        return self.types["global"][global_] if local == ABSENT else self.types["local"][local]

    def _empty_table(self, banned: frozenset[Effect]) -> NDArray[np.int16]:
        shape = (8 * len(KINDS), len(self.types["local"]) + 1, len(self.types["global"]) + 1, len(self.downs))
        return np.full((*shape, 5), UNKNOWN, dtype=np.int16)

    def options(self, slot: str) -> list[int]:
        """Indices of the types that a run may have, `ABSENT` where it may be empty."""
        depths = self.columns.slots[slot].depths
        return ([ABSENT] if 0 in depths else []) + (list(range(len(self.types[slot]))) if any(depths) else [])

    def _combinations(self, situation: Situation) -> tuple[Combination, ...]:
        found = []
        arrive = [kinds_of[situation.kind] for kinds_of in self.kinds_after]
        for local, global_ in self._pairs:
            if self.ordered and situation.seen_3d and not (local == ABSENT and self.is_3d[global_]):
                continue
            left = {kind: self.leaves(kind, local, global_) for kind in set(arrive)}
            if not any(self._may_leave(kind, situation) for kind in left.values()):
                continue
            slot, type_ = ("global", global_) if local == ABSENT else ("local", local)
            sizings = self.sizings(slot, type_, situation.odd)
            for down, (arriving, sizing) in enumerate(zip(arrive, sizings, strict=True)):
                kind = left[arriving]
                if sizing is None or not self._may_leave(kind, situation):
                    continue
                if self.fits_stem(local, global_, down):
                    found.append(Combination(local, global_, down, kind, sizing))
        return tuple(found)

    @cached_property
    def _pairs(self) -> list[tuple[int, int]]:
        """The types of both runs that some width fits."""
        pairs = product(self.options("local"), self.options("global"))
        return [pair for pair in pairs if pair != (ABSENT, ABSENT) and self.fits(*pair)]

    def _may_leave(self, kind: int, situation: Situation) -> bool:
        """Whether the next stage, or a head behind the last one, takes this kind of state."""
        if kind == NOTHING or (kind == CLASS and not situation.last):
            return False
        return not situation.last or kind in self._heads_take

    def blocked_by_order(self, situation: Situation) -> bool:
        """Whether MB3D blocks came before and the stage, where the rule wants such only, may have none."""
        only_3d = ABSENT in self.options("local") and any(
            t != ABSENT and self.is_3d[t] for t in self.options("global")
        )
        return self.ordered and situation.seen_3d and not only_3d

    def effect(self, combination: Combination) -> Effect:
        """What a combination does to the state."""
        is_3d = combination.global_ != ABSENT and bool(self.is_3d[combination.global_])
        return Effect(combination.kind, combination.sizing, is_3d)

    def _effects(self, situation: Situation) -> frozenset[Effect]:
        """Of all valid combinations."""
        return frozenset(map(self.effect, self.combinations(situation)))

    def _leaves(self, kind: int, local: int, global_: int) -> int:
        """The kind of state behind both runs, NOTHING where one refuses what it gets."""
        for slot, type_ in zip(SLOTS, (local, global_), strict=True):
            if type_ != ABSENT and kind != NOTHING:
                kind = self._after_run(self.types[slot][type_], kind)
        return kind

    @staticmethod
    def _after_run(traits: Traits, kind: int) -> int:
        once = traits.kinds[kind]
        return once if once != NOTHING and traits.kinds[once] == once else NOTHING

    def _sizings(self, slot: str, type_: int, odd: bool) -> list[int | None]:
        """Those of each downsample."""
        return [self.sizing(slot, type_, down, odd) for down in range(len(self.downs))]

    def _sizing(self, slot: str, type_: int, down: int, odd: bool) -> int | None:
        """How a downsample and the first block change the map's size, None where they do not fit."""
        traits, first = self.downs[down], self.types[slot][type_]
        if self.i > 0 and traits.keeps_width and not (traits.kind == "none" and first.changes_width):
            return None
        from_odd, from_even = traits.out_size(15, first), traits.out_size(16, first)
        if (from_odd if odd else from_even) is None:
            return None
        if from_even == 16:
            return KEEP
        return CEIL if from_odd == 8 else FLOOR

    def nearest(
        self,
        situations: NDArray[np.int64],
        local: NDArray[np.int64],
        global_: NDArray[np.int64],
        down: NDArray[np.int64],
        *,
        banned: frozenset[Effect] = frozenset(),
    ) -> NDArray[np.int64]:
        """The valid combination nearest to each choice, itself where it is valid. Shape [n, 5].

        Types one past the last mean that the run is absent. `situations` are numbers. Combinations with a
        `banned` effect are not valid.
        """
        table = self._tables(banned)
        found = table[situations, local, global_, down]
        unknown = found[:, 2] == UNKNOWN
        if unknown.any():
            asked = np.stack([situations, local, global_, down], axis=1)[unknown]
            for situation, *choice in np.unique(asked, axis=0).tolist():
                table[situation, *choice] = self._nearest(Situation.numbered(situation), choice, banned)
            found = table[situations, local, global_, down]
        return found.astype(np.int64)

    def _nearest(
        self, situation: Situation, choice: list[int], banned: frozenset[Effect]
    ) -> NDArray[np.int64]:
        valid = self._array(situation, banned)
        absent = [len(self.types["local"]), len(self.types["global"]), UNKNOWN]
        wanted = np.array([ABSENT if c == a else c for c, a in zip(choice, absent, strict=True)])
        differs = wanted != valid[:, :3]
        presence = (wanted[:2] == ABSENT) != (valid[:, :2] == ABSENT)
        cost = 2 * differs[:, :2].sum(1) + differs[:, 2] + 4 * presence.sum(1)
        return np.asarray(valid[cost.argmin()])

    def _as_array(self, situation: Situation, banned: frozenset[Effect]) -> NDArray[np.int64]:
        valid = [c for c in self.combinations(situation) if not banned or self.effect(c) not in banned]
        assert valid, "what reaches a stage can be completed"
        return np.array(valid, dtype=np.int64)

    # widths and genes

    def _fits(self, local: int, global_: int) -> tuple[int, ...]:
        """Indices of the widths that fit both types."""
        pairs = zip(SLOTS, (local, global_), strict=True)
        present = [self.types[slot][t] for slot, t in pairs if t != ABSENT]
        both = ABSENT not in (local, global_)
        return tuple(
            w
            for w, width in enumerate(self.spec.width)
            if all(t.fits_width(width) for t in present)
            and (not both or self.same_allowed(w) or self.explicit_widths(global_, w))
        )

    @cached_property
    def _stem_widths(self) -> frozenset[int] | None:
        """The widths that may arrive at the first stage; None where the stem can have the stage's own."""
        offered = self.layout.spec.stem_width
        return None if self.i > 0 or SAME in offered else frozenset(offered)

    def _fits_stem(self, local: int, global_: int, down: int) -> bool:
        """Whether some fitting width can arrive, where it is kept."""
        return bool(self.widths(Combination(local, global_, down, NOTHING, KEEP)))

    def widths(self, combination: Combination) -> tuple[int, ...]:
        """Indices of the widths that fit both types and, where what arrives must have it, the stem."""
        fitting = self.fits(combination.local, combination.global_)
        if self._stem_widths is None or not self.must_match(combination):
            return fitting
        return tuple(w for w in fitting if self.spec.width[w] in self._stem_widths)

    def explicit_widths(self, global_: int, width: int) -> list[int]:
        """Indices into `global_widths` that mean another width than `width` and fit the type.

        Where widths must grow, none below the stage's.
        """
        traits = self.types["global"][global_]
        if not traits.changes_width:
            return []
        own = self.spec.width[width]
        return [
            i
            for i, v in enumerate(self.global_widths)
            if v not in (SAME, own) and traits.fits_width(v) and not (self.growing and v < own)
        ]

    def same_allowed(self, width: int) -> bool:
        """Whether a global run behind a local one may have the stage's width."""
        return SAME in self.spec.global_width or self.spec.width[width] in self.spec.global_width

    def _distinct(self, slot: SlotColumns, type_: int) -> int:
        total = 0
        for depth in slot.depths:
            ways = 1
            for gene in slot.types[type_].reads:
                values = self.layout.genes[slot.genes[gene]].values
                ways *= len({per_block(value, depth) for value in values})
            total += ways if depth else 0
        return total

    def distinct(self, slot: SlotColumns, type_: int) -> int:
        """Ways to choose the depth and the genes of a run of this type."""
        key = (slot.type, type_)
        if key not in self._ways:
            self._ways[key] = self._distinct(slot, type_)
        return self._ways[key]

    def must_match(self, combination: Combination) -> bool:
        """Whether what arrives must have this stage's width."""
        down = self.downs[combination.down]
        if down.kind == "none":
            return not self.first(combination.local, combination.global_).changes_width
        return down.kind != INNER and down.keeps_width


def gene_tables(layout: Layout, slot: SlotColumns) -> dict[str, NDArray[np.int64]]:
    """Canonical index per gene. Shape [types, depths, values]; 0 where the type does not read it."""
    tables = {}
    for gene, column in slot.genes.items():
        values = layout.genes[column].values
        table = np.zeros((len(slot.types), len(slot.depths), len(values)), dtype=np.int64)
        for d, depth in enumerate(slot.depths):
            first: dict[Any, int] = {}
            canonical = [first.setdefault(per_block(v, depth), k) for k, v in enumerate(values)]
            for t, preset in enumerate(slot.types):
                if gene in preset.reads and depth:
                    table[t, d] = canonical
        tables[gene] = table
    return tables
