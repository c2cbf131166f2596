"""Which choices of a space can be completed to a network, and why others cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

from hvnas.space.canonical.stage import ABSENT, Effect, Situation, StageRules, side_after
from hvnas.space.canonical.traits import IDLE, KINDS, MAP
from hvnas.space.layout import SLOTS, Layout


class Arriving(NamedTuple):
    """What a stage is given: the side of the map, the kind of state, and whether MB3D blocks came before."""

    size: int
    kind: int
    seen_3d: bool

    def situation(self, *, last: bool) -> Situation:
        """The situation that this is for a stage."""
        return Situation(self.kind, last, bool(self.size % 2), self.seen_3d)

    def after(self, effect: Effect) -> Arriving:
        """What a combination with this effect leaves."""
        size = side_after(self.size, effect.sizing)
        return Arriving(size, effect.kind, self.seen_3d or effect.is_3d)


class Feasibility:
    """Whether what arrives at a stage can be completed by the stages behind it."""

    def __init__(
        self, rules: Sequence[StageRules], starts: Sequence[Arriving], counts: Sequence[int]
    ) -> None:
        self.rules, self.starts, self.counts = rules, starts, counts
        self.alive = cache(self._alive)
        self.dead_ends = cache(self._dead_ends)

    def _alive(self, i: int, count: int, arriving: Arriving) -> bool:
        """Whether stages `i` to ``count - 1`` and the head can be chosen for what arrives."""
        if arriving.size < 1:
            return False
        if i == count:
            return True
        return any(
            self.alive(i + 1, count, arriving.after(effect)) for effect in self._effects(i, count, arriving)
        )

    def _effects(self, i: int, count: int, arriving: Arriving) -> frozenset[Effect]:
        return self.rules[i].effects(arriving.situation(last=i == count - 1))

    def _dead_ends(self, i: int, count: int, arriving: Arriving) -> frozenset[Effect]:
        """The effects of stage `i` behind which nothing can follow."""
        effects = self._effects(i, count, arriving)
        return frozenset(e for e in effects if not self.alive(i + 1, count, arriving.after(e)))

    def reached(self) -> Iterator[tuple[int, int, Arriving]]:
        """Every (stage, number of stages, what arrives) on the way from a start that can be completed."""
        for count in self.counts:
            level = {start for start in self.starts if self.alive(0, count, start)}
            for i in range(count):
                yield from ((i, count, arriving) for arriving in level)
                level = {
                    arriving.after(effect)
                    for arriving in level
                    for effect in self._effects(i, count, arriving) - self.dead_ends(i, count, arriving)
                }

    @property
    def empty(self) -> bool:
        """Whether nothing can be built."""
        return not any(self.alive(0, count, start) for count in self.counts for start in self.starts)

    @property
    def has_holes(self) -> bool:
        """Whether some choice on the way leads nowhere."""
        return any(self.dead_ends(*place) for place in self.reached())


def why_nothing(feasibility: Feasibility) -> str:
    """The field at fault, and the remedy, of a space in which no network can be built."""
    starts, counts = feasibility.starts, feasibility.counts
    maps = [Arriving(start.size, MAP, False) for start in starts]
    if all(start.kind == IDLE for start in starts) and any(
        feasibility.alive(0, count, start) for count in counts for start in maps
    ):
        return (
            "tokens: no stage offers a block that reads global tokens, or no head takes them; "
            "write tokens: [null], or add such a block"
        )
    count = min(counts)
    level = set(maps if any(start.kind == MAP for start in starts) else starts)
    for i in range(count):
        following = {
            arriving.after(effect)
            for arriving in level
            for effect in feasibility.rules[i].effects(arriving.situation(last=i == count - 1))
        }
        following = {arriving for arriving in following if arriving.size >= 1}
        if not following:
            return _why_stage(feasibility.rules[i], level, last=i == count - 1)
        level = following
    raise AssertionError("a network can be built")


def _why_stage(rules: StageRules, level: set[Arriving], *, last: bool) -> str:
    """What of stage `rules.i` refuses everything that arrives."""
    at = f"stages.{rules.i}"
    if not any(any(rules.columns.slots[slot].depths) for slot in SLOTS):
        return f"{at}.local_depth, {at}.global_depth: hold 0 only; give one of them a depth > 0"
    situations = {arriving.situation(last=last) for arriving in level}
    pairs = [
        (a, b) for a in rules.options("local") for b in rules.options("global") if (a, b) != (ABSENT, ABSENT)
    ]
    if not any(rules.fits(*pair) for pair in pairs):
        return f"{at}.width: no width fits its blocks; add one that they can have"
    if not any(rules.fits_stem(*pair, down) for pair in pairs for down in range(len(rules.downs))):
        return (
            f"{at}.width: its blocks keep the width that they are given, and stem_width offers none of "
            f"{', '.join(map(str, rules.spec.width))}; add one of these, or 'same', to stem_width"
        )
    kinds = sorted({KINDS[s.kind] for s in situations})
    taken = any(
        rules.leaves(after, *pair) >= 0
        for pair in pairs
        for s in situations
        for after in [kinds_of[s.kind] for kinds_of in rules.kinds_after]
        if after >= 0
    )
    if not taken:
        shown = "global tokens" if {"pair", "idle"} & set(kinds) else " or ".join(kinds)
        return (
            f"{at}.local, {at}.global: none of its blocks takes what arrives ({shown}); offer one that does"
        )
    if all(rules.blocked_by_order(s) for s in situations):
        return f"{at}.global: offers no mb3d behind stages that end in it (rule 4d_before_3d); add mb3d"
    sized = any(
        rules.sizing("global" if a == ABSENT else "local", b if a == ABSENT else a, down, s.odd) is not None
        for a, b in pairs
        for down in range(len(rules.downs))
        for s in situations
    )
    if not sized or not last:
        sides = ", ".join(str(arriving.size) for arriving in sorted(level)[:4])
        return (
            f"{at}.downsample: none of {', '.join(rules.spec.downsample)} fits its first block and maps of "
            f"side {sides}; add one that does, or another resolution"
        )
    return "heads: none takes what the last stage leaves; add one that does"


def unused(
    layout: Layout, feasibility: Feasibility, start_alive: Callable[[int, int, int, int], bool]
) -> dict[str, tuple[str, ...]]:
    """Values that no network of the space has, by field.

    `start_alive` tells whether tokens, number of stages, stem and resolution, by index, can begin a network.
    """
    spec = layout.spec
    fields = {
        "tokens": [str(tokens) for tokens in spec.tokens],
        "counts": list(map(str, spec.counts)),
        "stems": [stem.name for stem in spec.stems],
        "resolution": list(map(str, spec.resolution)),
    }
    used: dict[str, set[int]] = {field: set() for field in fields}
    for place in product(*(range(len(values)) for values in fields.values())):
        if start_alive(*place):
            for field, index in zip(fields, place, strict=True):
                used[field].add(index)
    for i, stage in enumerate(spec.stages):
        lists = {"downsample": stage.downsample, "width": tuple(map(str, stage.width))}
        lists |= {"local": stage.local} if any(stage.local_depth) else {}
        lists |= {"global": stage.global_} if any(stage.global_depth) else {}
        for key, values in lists.items():
            fields[f"stages.{i}.{key}"] = list(values)
            used[f"stages.{i}.{key}"] = set()
    for i, down, local, global_, widths in _choices(feasibility):
        choice = {"downsample": (down,), "width": widths, "local": (local,), "global": (global_,)}
        for key, indices in choice.items():
            used.get(f"stages.{i}.{key}", set()).update(indices)
    return {
        field: left
        for field, values in fields.items()
        if (left := tuple(value for k, value in enumerate(values) if k not in used[field]))
    }


def _choices(feasibility: Feasibility) -> Iterator[tuple[int, int, int, int, tuple[int, ...]]]:
    """What some network of the space has: stage, downsample, both types and the widths that go with them."""
    # Many maps arrive in one situation, and combinations hang on the situation alone.
    alive: dict[tuple[int, Situation], set[Effect]] = {}
    for i, count, arriving in feasibility.reached():
        situation = arriving.situation(last=i == count - 1)
        able = feasibility.rules[i].effects(situation) - feasibility.dead_ends(i, count, arriving)
        alive.setdefault((i, situation), set()).update(able)
    found: dict[tuple[int, int, int, int], tuple[int, ...]] = {}
    for (i, situation), effects in alive.items():
        rules = feasibility.rules[i]
        for combination in rules.combinations(situation):
            choice = (i, combination.down, combination.local, combination.global_)
            if choice not in found and rules.effect(combination) in effects:
                found[choice] = rules.widths(combination)
    return ((*choice, widths) for choice, widths in found.items())
