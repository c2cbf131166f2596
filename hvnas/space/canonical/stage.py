"""What one stage may be: the valid combinations of types and downsample, and the nearest ones to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
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
        self.sizing, self.leaves = cache(self._sizing), cache(self._leaves)
        self.combinations, self._array = cache(self._combinations), cache(self._as_array)
        self._costs = cache(self._costs_of)
        # Combinations by situation and choice, filled in as they are asked for; one table for each set of
        # effects that are not to be had.
        self._tables = cache(self._empty_table)
        self.fits, self.effects = cache(self._fits), cache(self._effects)
        self.fits_stem, self.explicit_widths = cache(self._fits_stem), cache(self._explicit_widths)
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

    @cached_property
    def _possible(self) -> NDArray[np.int64]:
        """Both types and the downsample of what fits by widths, whatever arrives. Shape [n, 3]."""
        found = [
            (local, global_, down)
            for local in self.options("local")
            for global_ in self.options("global")
            if (local, global_) != (ABSENT, ABSENT) and self.fits(local, global_)
            for down in range(len(self.downs))
            if self.fits_stem(local, global_, down)
        ]
        return np.array(found, dtype=np.int64).reshape(-1, 3)

    @cached_property
    def _after(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How each of `_possible` changes the map's size, UNKNOWN where it does not fit, and the kind that it
        leaves of each kind. Shapes [even or odd, n], [kinds, n]."""
        sizing, kinds = [], []
        for local, global_, down in self._possible.tolist():
            first = ("global", global_) if local == ABSENT else ("local", local)
            sizes = [self.sizing(*first, down, odd) for odd in (False, True)]
            sizing.append([UNKNOWN if each is None else each for each in sizes])
            kinds.append([self.leaves(kind, local, global_) for kind in self.kinds_after[down]])
        n = len(self._possible)
        shaped = np.array(sizing, dtype=np.int64).reshape(n, 2), np.array(kinds, dtype=np.int64)
        return shaped[0].T, shaped[1].reshape(n, len(KINDS)).T

    def _as_array(self, situation: Situation) -> NDArray[np.int64]:
        """The valid combinations. Shape [n, 5]."""
        local, global_ = self._possible[:, 0], self._possible[:, 1]
        sizings, kinds = self._after
        sizing, kind = sizings[int(situation.odd)], kinds[situation.kind]
        valid = (sizing != UNKNOWN) & (kind != NOTHING)
        if self.ordered and situation.seen_3d:
            valid &= (local == ABSENT) & self.is_3d[global_]
        if situation.last:
            taken = [any(head.accepts[k] for head in self.abilities.heads) for k in range(len(KINDS))]
            valid &= np.array(taken)[kind]
        else:
            valid &= kind != CLASS
        return np.column_stack([self._possible, kind, sizing])[valid]

    def _combinations(self, situation: Situation) -> tuple[Combination, ...]:
        return tuple(Combination(*each) for each in self._array(situation).tolist())

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
        distinct = np.unique(self._codes(situation)).tolist()
        return frozenset(Effect(code >> 3, code >> 1 & 3, bool(code & 1)) for code in distinct)

    def _codes(self, situation: Situation) -> NDArray[np.int64]:
        """The effect of each valid combination as a number. Shape [n]."""
        found = self._array(situation)
        is_3d = (found[:, 1] != ABSENT) & self.is_3d[found[:, 1]]
        return np.asarray(found[:, 3] << 3 | found[:, 4] << 1 | is_3d)

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
            choices = (situations[unknown], local[unknown], global_[unknown], down[unknown])
            shape = table.shape[:-1]
            asked = np.unravel_index(np.unique(np.ravel_multi_index(choices, shape)), shape)
            for number in np.unique(asked[0]).tolist():
                here = tuple(each[asked[0] == number] for each in asked[1:])
                table[number][here] = self._nearest(Situation.numbered(number), here, banned)
            found = table[situations, local, global_, down]
        return found.astype(np.int64)

    def _nearest(
        self, situation: Situation, choices: tuple[NDArray[np.intp], ...], banned: frozenset[Effect]
    ) -> NDArray[np.int64]:
        """Of n choices in one situation. Shape [n, 5]."""
        valid, costs = self._costs(situation, banned)
        cost = sum(each[choice] for each, choice in zip(costs, choices, strict=True))
        return valid[np.argmin(cost, axis=1)]

    def _costs_of(
        self, situation: Situation, banned: frozenset[Effect]
    ) -> tuple[NDArray[np.int64], tuple[NDArray[np.int64], ...]]:
        """The valid combinations, and how far from them each local and global type and downsample is.

        Shapes [n, 5], [choices, n].
        """
        valid = self._array(situation)
        if banned:
            dead = [effect.kind << 3 | effect.sizing << 1 | effect.is_3d for effect in banned]
            valid = valid[~np.isin(self._codes(situation), dead)]
        assert len(valid), "what reaches a stage can be completed"
        costs = []
        for slot, types in zip(SLOTS, valid[:, :2].T, strict=True):
            wanted = np.array([*range(len(self.types[slot])), ABSENT])[:, None]
            costs.append(2 * (wanted != types) + 4 * ((wanted == ABSENT) != (types == ABSENT)))
        downs = np.arange(len(self.downs))[:, None]
        return valid, (*costs, (downs != valid[:, 2]).astype(np.int64))

    # widths and genes

    @cached_property
    def _fitting(self) -> dict[str, NDArray[np.bool_]]:
        """Which widths each type of a run can have; all in the last row, for none. Shape [types, widths]."""
        return {
            slot: np.array([*([t.fits_width(w) for w in self.spec.width] for t in types), self._all_widths])
            for slot, types in self.types.items()
        }

    @cached_property
    def _all_widths(self) -> list[bool]:
        return [True] * len(self.spec.width)

    @cached_property
    def _behind(self) -> NDArray[np.bool_]:
        """Where a global run of a type can stand behind a local one of a width. Shape [types, widths]."""
        found = [
            [self.same_allowed(w) or bool(self.explicit_widths(t, w)) for w in range(len(self.spec.width))]
            for t in range(len(self.types["global"]))
        ]
        return np.array(found, dtype=np.bool_).reshape(-1, len(self.spec.width))

    def _fits(self, local: int, global_: int) -> tuple[int, ...]:
        """Indices of the widths that fit both types."""
        fitting = self._fitting["local"][local] & self._fitting["global"][global_]
        if ABSENT not in (local, global_):
            fitting = fitting & self._behind[global_]
        return tuple(np.flatnonzero(fitting).tolist())

    @cached_property
    def _stem_widths(self) -> frozenset[int] | None:
        """The widths that may arrive at the first stage; None where the stem can have the stage's own."""
        offered = self.layout.spec.stem_width
        return None if self.i > 0 or SAME in offered else frozenset(offered)

    def _fits_stem(self, local: int, global_: int, down: int) -> bool:
        """Whether some fitting width can arrive, where it is kept."""
        if self._stem_widths is None:
            return bool(self.fits(local, global_))
        return bool(self.widths(Combination(local, global_, down, NOTHING, KEEP)))

    def widths(self, combination: Combination) -> tuple[int, ...]:
        """Indices of the widths that fit both types and, where what arrives must have it, the stem."""
        fitting = self.fits(combination.local, combination.global_)
        if self._stem_widths is None or not self.must_match(combination):
            return fitting
        return tuple(w for w in fitting if self.spec.width[w] in self._stem_widths)

    def _explicit_widths(self, global_: int, width: int) -> list[int]:
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
