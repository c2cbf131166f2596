"""The exact number of canonical encodings."""

from __future__ import annotations

from collections import Counter
from functools import cache

from hvnas.space.canonical import Canonicaliser
from hvnas.space.layout import SLOTS
from hvnas.space.stage import ABSENT, CEIL, KEEP, Situation


def count_encodings(canonicaliser: Canonicaliser) -> int:
    """How many rows `canonicaliser` leaves as they are, by dynamic programming over the stages.

    What one stage allows depends on the stages before it only through the size of the map, the kind
    of state, and whether MB3D has appeared (rule 4d_before_3d).
    """
    return _Counter(canonicaliser).total()


class _Counter:
    def __init__(self, canonicaliser: Canonicaliser) -> None:
        self.c = canonicaliser
        self.spec = canonicaliser.layout.spec
        self.stage_ways = cache(self._stage_ways)
        self.groups = cache(self._groups)
        self.runs = cache(self._runs)
        self.tail = cache(self._tail)

    def total(self) -> int:
        total = 0
        for kind in self.c.start_kind.tolist():
            for size in self.c.stem_sizes.flatten().tolist():
                total += sum(self._from_first(size, kind, count) for count in self.spec.counts)
        return total

    def _from_first(self, size: int, kind: int, count: int) -> int:
        """Encodings of all `count` stages, the head and the stem's width behind a stem that leaves `size`."""
        explicit = len(self.c.explicit_stem) or 1
        return sum(
            ways * (1 if match else explicit) * self.tail(1, out, after, seen, count)
            for (out, after, seen, match), ways in self.stage_ways(0, size, kind, False, count == 1).items()
        )

    def _tail(self, i: int, size: int, kind: int, seen: bool, count: int) -> int:
        """Encodings of stages i to count - 1 and of the head."""
        if i == count:
            return sum(head.accepts[kind] for head in self.c.abilities.heads)
        return sum(
            ways * self.tail(i + 1, out, after, now, count)
            for (out, after, now, _), ways in self.stage_ways(i, size, kind, seen, i == count - 1).items()
        )

    def _stage_ways(
        self, i: int, size: int, kind: int, seen: bool, last: bool
    ) -> Counter[tuple[int, int, bool, bool]]:
        """Encodings of stage i by (size, kind and 3D flag it leaves, stem width must match)."""
        result: Counter[tuple[int, int, bool, bool]] = Counter()
        groups = self.groups(i, Situation(kind, last, bool(size % 2), seen))
        for (sizing, after, is_3d, match), ways in groups.items():
            out = size if sizing == KEEP else (size + (sizing == CEIL)) // 2
            result[out, after, seen or is_3d, match] += ways
        return result

    def _groups(self, i: int, situation: Situation) -> Counter[tuple[int, int, bool, bool]]:
        """Encodings of stage i by what its combinations do to the state."""
        rules = self.c.rules[i]
        result: Counter[tuple[int, int, bool, bool]] = Counter()
        for combination in rules.combinations(situation):
            is_3d = combination.global_ != ABSENT and bool(rules.is_3d[combination.global_])
            match = i == 0 and rules.must_match(combination) and self.c.same_stem is not None
            key = (combination.sizing, combination.kind, is_3d, match)
            result[key] += self.runs(i, combination.local, combination.global_)
        return result

    def _runs(self, i: int, local: int, global_: int) -> int:
        """Ways to choose depths, block genes and widths of two types."""
        rules = self.c.rules[i]
        ways = 1
        for slot, type_ in zip(SLOTS, (local, global_), strict=True):
            if type_ != ABSENT:
                ways *= rules.distinct(rules.columns.slots[slot], type_)
        both = ABSENT not in (local, global_)
        widths = sum(
            1 + (len(rules.explicit_widths(global_, width)) if both else 0)
            for width in rules.fits(local, global_)
        )
        return ways * widths
