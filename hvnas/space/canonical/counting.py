"""The exact number of canonical encodings."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import NamedTuple

from hvnas.space.canonical.canonical import Canonicaliser
from hvnas.space.canonical.stage import ABSENT, Situation, side_after
from hvnas.space.layout import SLOTS


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


# Widths that a pair of types can have, each with the widths that it can leave.
_Choices = tuple[tuple[int, tuple[int, ...]], ...]


class _Counter:
    def __init__(self, canonicaliser: Canonicaliser) -> None:
        self.c = canonicaliser
        self.spec = canonicaliser.layout.spec
        self.growing = "growing_widths" in self.spec.rules
        self.groups = cache(self._groups)
        self.effects, self.choices = cache(self._effects), cache(self._choices)
        self.depths, self.widths = cache(self._depths), cache(self._widths)
        self.tail = cache(self._tail)
        self.alike = all(self._shared(i) for i in range(1, len(self.c.rules)))

    def total(self) -> int:
        total = 0
        for kind in self.c.start_kind.tolist():
            for size, ways in Counter(self.c.stem_sizes.flatten().tolist()).items():
                before = _Before(size, kind, False, 0)
                total += ways * sum(self._from_first(before, count) for count in self.spec.counts)
        return total

    def _from_first(self, before: _Before, count: int) -> int:
        """Encodings of all `count` stages, the head and the stem's width."""
        explicit = len(self.c.explicit_stem) or 1
        return sum(
            ways * (1 if match else explicit) * self._rest(1, after, count)
            for (after, match), ways in self._stage(0, before, count == 1).items()
        )

    def _tail(self, i: int, before: _Before, count: int) -> int:
        """Encodings of stages i to count - 1 and of the head."""
        if i == count:
            return sum(head.accepts[before.kind] for head in self.c.abilities.heads)
        ways_by_after: Counter[_Before] = Counter()
        for (after, _), ways in self._stage(i, before, i == count - 1).items():
            ways_by_after[after] += ways
        return sum(ways * self._rest(i + 1, after, count) for after, ways in ways_by_after.items())

    def _rest(self, i: int, before: _Before, count: int) -> int:
        """As `_tail`; where all stages behind the first offer the same, it matters only how many are left."""
        later = len(self.c.rules) - count if self.alike else 0
        return self.tail(i + later, before, count + later)

    def _stage(self, i: int, before: _Before, last: bool) -> Counter[tuple[_Before, bool]]:
        """Encodings of stage i by what it leaves and whether the stem's width must match."""
        result: Counter[tuple[_Before, bool]] = Counter()
        situation = Situation(before.kind, last, bool(before.size % 2), before.seen_3d)
        groups = self.groups(min(i, 1) if self._shared(i) else i, situation, before.floor)
        for (sizing, kind, is_3d, match, width), ways in groups.items():
            size = side_after(before.size, sizing)
            if size >= 1:
                result[_Before(size, kind, before.seen_3d or is_3d, width), match] += ways
        return result

    def _shared(self, i: int) -> bool:
        return i > 0 and self.c.rules[i] is self.c.rules[1]

    def _groups(self, i: int, situation: Situation, floor: int) -> Counter[tuple[int, int, bool, bool, int]]:
        """Encodings of stage i by what its combinations do to the state, and the width they leave."""
        result: Counter[tuple[int, int, bool, bool, int]] = Counter()
        for (sizing, kind, is_3d, match, choices), ways in self.effects(i, situation).items():
            for width, ways_of_width in self.widths(choices, floor).items():
                result[sizing, kind, is_3d, match, width] += ways * ways_of_width
        return result

    def _effects(self, i: int, situation: Situation) -> Counter[tuple[int, int, bool, bool, _Choices]]:
        """The same but for the widths: by what decides which widths there are."""
        rules = self.c.rules[i]
        result: Counter[tuple[int, int, bool, bool, _Choices]] = Counter()
        for combination in rules.combinations(situation):
            local, global_ = combination.local, combination.global_
            is_3d = global_ != ABSENT and bool(rules.is_3d[global_])
            match = i == 0 and rules.must_match(combination)
            choices = self.choices(i, local, global_, rules.widths(combination))
            key = (combination.sizing, combination.kind, is_3d, match, choices)
            result[key] += self.depths(i, local, global_)
        return result

    def _choices(self, i: int, local: int, global_: int, fitting: tuple[int, ...]) -> _Choices:
        """The widths of two types, each with the number of ways to choose an own width of the global run."""
        rules = self.c.rules[i]
        listed, own = rules.spec.width, rules.global_widths
        if ABSENT in (local, global_):
            return tuple((listed[w], (listed[w],)) for w in fitting)
        return tuple(
            (
                listed[w],
                (
                    *([listed[w]] if rules.same_allowed(w) else []),
                    *(int(own[g]) for g in rules.explicit_widths(global_, w)),
                ),
            )
            for w in fitting
        )

    def _depths(self, i: int, local: int, global_: int) -> int:
        """Ways to choose depths and block genes of two types."""
        rules = self.c.rules[i]
        ways = 1
        for slot, type_ in zip(SLOTS, (local, global_), strict=True):
            if type_ != ABSENT:
                ways *= rules.distinct(rules.columns.slots[slot], type_)
        return ways

    def _widths(self, choices: _Choices, floor: int) -> Counter[int]:
        """Ways to choose the widths, by the width that they leave (0 where it is free)."""
        allowed = [choice for choice in choices if choice[0] >= floor] or choices[-1:]
        result: Counter[int] = Counter()
        for _, finals in allowed:
            for final in finals:
                result[final if self.growing else 0] += 1
        return result
