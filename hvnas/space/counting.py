"""The exact number of canonical encodings."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import NamedTuple

from hvnas.space.canonical import Canonicaliser
from hvnas.space.layout import SLOTS
from hvnas.space.spec import SAME
from hvnas.space.stage import ABSENT, CEIL, KEEP, Situation


def count_encodings(canonicaliser: Canonicaliser) -> int:
    """How many rows `canonicaliser` leaves as they are, by dynamic programming over the stages."""
    return _Counter(canonicaliser).total()


class _Before(NamedTuple):
    """What a stage depends on of the stages before it.

    `floor` is the width of the stage before where widths must grow, else 0.
    """

    size: int
    kind: int
    seen_3d: bool
    floor: int


class _Counter:
    def __init__(self, canonicaliser: Canonicaliser) -> None:
        self.c = canonicaliser
        self.spec = canonicaliser.layout.spec
        self.growing = "growing_widths" in self.spec.rules
        self.groups = cache(self._groups)
        self.widths = cache(self._widths)
        self.tail = cache(self._tail)

    def total(self) -> int:
        total = 0
        kinds = self.c.start_kind.tolist() if self.c.takes_tokens else self.c.start_kind[:1].tolist()
        for kind in kinds:
            for size in self.c.stem_sizes.flatten().tolist():
                before = _Before(size, kind, False, 0)
                total += sum(self._from_first(before, count) for count in self.spec.counts)
        return total

    def _from_first(self, before: _Before, count: int) -> int:
        """Encodings of all `count` stages, the head and the stem's width."""
        explicit = len(self.c.explicit_stem) or 1
        return sum(
            ways * (1 if match else explicit) * self.tail(1, after, count)
            for (after, match), ways in self._stage(0, before, count == 1).items()
        )

    def _tail(self, i: int, before: _Before, count: int) -> int:
        """Encodings of stages i to count - 1 and of the head."""
        if i == count:
            return sum(head.accepts[before.kind] for head in self.c.abilities.heads)
        ways_by_after: Counter[_Before] = Counter()
        for (after, _), ways in self._stage(i, before, i == count - 1).items():
            ways_by_after[after] += ways
        return sum(ways * self.tail(i + 1, after, count) for after, ways in ways_by_after.items())

    def _stage(self, i: int, before: _Before, last: bool) -> Counter[tuple[_Before, bool]]:
        """Encodings of stage i by what it leaves and whether the stem's width must match."""
        result: Counter[tuple[_Before, bool]] = Counter()
        situation = Situation(before.kind, last, bool(before.size % 2), before.seen_3d)
        groups = self.groups(min(i, 1) if self._shared(i) else i, situation, before.floor)
        for (sizing, kind, is_3d, match, width), ways in groups.items():
            size = before.size if sizing == KEEP else (before.size + (sizing == CEIL)) // 2
            result[_Before(size, kind, before.seen_3d or is_3d, width), match] += ways
        return result

    def _shared(self, i: int) -> bool:
        return i > 0 and self.c.rules[i] is self.c.rules[1]

    def _groups(self, i: int, situation: Situation, floor: int) -> Counter[tuple[int, int, bool, bool, int]]:
        """Encodings of stage i by what its combinations do to the state, and the width they leave."""
        rules = self.c.rules[i]
        result: Counter[tuple[int, int, bool, bool, int]] = Counter()
        for combination in rules.combinations(situation):
            is_3d = combination.global_ != ABSENT and bool(rules.is_3d[combination.global_])
            match = i == 0 and rules.must_match(combination) and self.c.same_stem is not None
            ways = self._depths(i, combination.local, combination.global_)
            for width, choices in self.widths(i, combination.local, combination.global_, floor).items():
                key = (combination.sizing, combination.kind, is_3d, match, width)
                result[key] += ways * choices
        return result

    def _depths(self, i: int, local: int, global_: int) -> int:
        """Ways to choose depths and block genes of two types."""
        rules = self.c.rules[i]
        ways = 1
        for slot, type_ in zip(SLOTS, (local, global_), strict=True):
            if type_ != ABSENT:
                ways *= rules.distinct(rules.columns.slots[slot], type_)
        return ways

    def _widths(self, i: int, local: int, global_: int, floor: int) -> Counter[int]:
        """Ways to choose the widths of two types, by the width that they leave (0 where it is free)."""
        rules = self.c.rules[i]
        listed, own = rules.spec.width, rules.spec.global_width
        fitting = rules.fits(local, global_)
        allowed = [w for w in fitting if listed[w] >= floor] or list(fitting[-1:])
        result: Counter[int] = Counter()
        for w in allowed:
            result[listed[w] if self.growing else 0] += 1
            if ABSENT in (local, global_):
                continue
            for g in rules.explicit_widths(global_, w):
                assert own[g] != SAME
                if not self.growing:
                    result[0] += 1
                elif own[g] > listed[w]:
                    result[own[g]] += 1
        return result
