"""The exact number of canonical encodings."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from hvnas.space.canonical import ABSENT, Canonicaliser
from hvnas.space.layout import SLOTS, SlotColumns, per_block


def count_encodings(canonicaliser: Canonicaliser) -> int:
    """How many rows `canonicaliser` leaves as they are, by dynamic programming over the stages.

    What one stage allows depends on the stages before it only through the size of the map and
    through whether tokens have appeared (rule 4d_before_3d).
    """
    return _Counter(canonicaliser).total()


class _Counter:
    def __init__(self, canonicaliser: Canonicaliser) -> None:
        self.c = canonicaliser
        self.spec = canonicaliser.layout.spec
        self.stage_ways = lru_cache(maxsize=None)(self._stage_ways)
        self.runs = lru_cache(maxsize=None)(self._runs)
        self.tail = lru_cache(maxsize=None)(self._tail)

    def total(self) -> int:
        per_start = 0
        for stem in range(len(self.spec.stems)):
            for resolution in range(len(self.spec.resolution)):
                size = int(self.c.stem_sizes[stem, resolution])
                per_start += sum(self._from_first(size, count) for count in self.spec.counts)
        return per_start * len(self.spec.heads)

    def _from_first(self, size: int, count: int) -> int:
        """Encodings of all `count` stages and of the stem's width, behind a stem that leaves `size`."""
        explicit = len(self.c.explicit_stem) or 1
        return sum(
            ways * (1 if match else explicit) * self.tail(1, out, seen, count)
            for (out, seen, match), ways in self.stage_ways(0, size, False).items()
        )

    def _tail(self, i: int, size: int, seen: bool, count: int) -> int:
        """Encodings of stages i to count - 1."""
        if i == count:
            return 1
        totals: Counter[tuple[int, bool]] = Counter()
        for (out, now, _), ways in self.stage_ways(i, size, seen).items():
            totals[out, now] += ways
        return sum(ways * self.tail(i + 1, out, now, count) for (out, now), ways in totals.items())

    def _stage_ways(self, i: int, size: int, seen: bool) -> Counter[tuple[int, bool, bool]]:
        """Encodings of stage i by (size it leaves, tokens seen, stem width must match)."""
        stage = self.c.stages[i]
        result: Counter[tuple[int, bool, bool]] = Counter()
        local_types = [ABSENT, *range(len(stage.types["local"]))]
        global_types = [ABSENT, *range(len(stage.types["global"]))]
        for local in local_types:
            for global_ in global_types:
                if not self._allowed(i, local, global_, seen):
                    continue
                ways = self.runs(i, local, global_)
                slot, first = ("local", local) if local != ABSENT else ("global", global_)
                now = seen or (global_ != ABSENT and bool(stage.is_3d[global_]))
                keeps = not stage.types[slot][first].changes_width
                for down, out in stage.down_options(slot, first, size).items():
                    none = self.c.downs[stage.spec.downsample[down]].kind == "none"
                    match = i == 0 and none and keeps and self.c.same_stem is not None
                    result[out, now, match] += ways
        return result

    def _allowed(self, i: int, local: int, global_: int, seen: bool) -> bool:
        stage = self.c.stages[i]
        if local == ABSENT and (global_ == ABSENT or 0 not in stage.local.depths):
            return False
        if global_ == ABSENT and 0 not in stage.global_.depths:
            return False
        if stage.rule_order and seen:
            return local == ABSENT and bool(stage.is_3d[global_])
        return True

    def _runs(self, i: int, local: int, global_: int) -> int:
        """Ways to choose depths, block genes and widths of two types."""
        stage = self.c.stages[i]
        ways = 1
        for slot, type_ in zip(SLOTS, (local, global_), strict=True):
            if type_ != ABSENT:
                ways *= self._slot_ways(stage.columns.slots[slot], type_)
        widths = 0
        for width in stage.fits(local, global_):
            both = local != ABSENT and global_ != ABSENT
            widths += 1 + (len(stage.explicit_widths(global_, width)) if both else 0)
        return ways * widths

    def _slot_ways(self, slot: SlotColumns, type_: int) -> int:
        total = 0
        for depth in slot.depths:
            ways = 1
            for gene in slot.types[type_].reads:
                values = self.c.layout.genes[slot.genes[gene]].values
                ways *= len({per_block(value, depth) for value in values})
            total += ways if depth else 0
        return total
