"""Rows made equal: width or depth scaled until params, MACs or latency agree with the base's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, product
from math import exp, gcd, log
from typing import Any

from hvnas.arch import Arch
from hvnas.arch.arch import WIDTHS, transformed

# What counts as equal, as a share of the base's.
TOLERANCE = 0.05
# A row that is further off is not scaled at all: what it would be scaled to is another kind of network.
FAR = 0.25
# Multiples that widths keep, the finest first: what a block divides by (head dimension, groups) stays.
STEPS = (8, 16, 32, 64, 128)
# No width is scaled further.
NARROWEST, WIDEST = 0.2, 4.0
HALVINGS = 12
# A run is made longer or shorter by up to so many sixths of its depth, a block at least each.
SIXTHS = 3
MOST_RUNS = 2  # whose depths are changed in one network

Measure = Callable[[Arch], Mapping[str, float]]


@dataclass(frozen=True)
class Match:
    """A network as near to the target as scaling brings it.

    `did` says what was scaled, empty where nothing was; `off` is each quantity's share above the target's.
    `nearest` is what scaling comes to at best where that is too far to be shown.
    """

    arch: Arch
    did: str
    off: Mapping[str, float]
    nearest: Mapping[str, float] | None = None

    @property
    def ok(self) -> bool:
        """Whether every quantity agrees within the tolerance."""
        return all(abs(share) <= TOLERANCE for share in self.off.values())

    @property
    def worst(self) -> float:
        """The largest deviation, as the logarithm of a ratio."""
        return max(abs(log(1 + share)) for share in self.off.values())


def match(arch: Arch, target: Mapping[str, float], *, measure: Measure, scale: Sequence[str]) -> Match:
    """`arch` with as little scaled as makes it agree with `target`, quantities by name.

    With ``width`` in `scale` one factor multiplies all channels inside the network, found by bisection;
    with ``depth`` runs become longer or shorter, the fewest blocks first. Where nothing agrees within the
    tolerance the nearest is returned, and where that is further than FAR the network as it is.
    """
    best = first = _matched(arch, arch, target, measure)
    if best.ok:
        return best
    for deeper in _depths(arch) if "depth" in scale else [arch]:
        for found in _widths(arch, deeper, target, measure) if "width" in scale else [deeper]:
            candidate = _try(arch, found, target, measure)
            if candidate is not None and candidate.worst < best.worst:
                best = candidate
        if best.ok:
            break
    return best if best.worst <= log(1 + FAR) else replace(first, nearest=best.off)


def _try(arch: Arch, found: Arch, target: Mapping[str, float], measure: Measure) -> Match | None:
    try:
        return _matched(arch, found, target, measure)
    except ValueError:  # it cannot be built
        return None


def _matched(arch: Arch, found: Arch, target: Mapping[str, float], measure: Measure) -> Match:
    values = measure(found)
    off = {name: values[name] / wanted - 1 for name, wanted in target.items()}
    return Match(found, difference(arch, found), off)


def _depths(arch: Arch) -> Iterator[Arch]:
    """The network with other depths, those with the fewest blocks changed first."""
    depths = [run.depth for stage in arch.stages for _, run in stage.runs]
    changes = set(_changes(depths))
    for change in sorted(changes, key=lambda c: (sum(map(abs, c)), c)):
        wanted = [depth + more for depth, more in zip(depths, change, strict=True)]
        if min(wanted) >= 1:
            labels = [f"stages.{i}.{name}" for i, stage in enumerate(arch.stages) for name, _ in stage.runs]
            yield transformed(
                arch, values=_same, depths=partial(_looked_up, dict(zip(labels, wanted, strict=True)))
            )


def _changes(depths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Blocks more or fewer in each run."""
    for size in range(min(MOST_RUNS, len(depths)) + 1):
        for chosen in combinations(range(len(depths)), size):
            for sixths in product(range(-SIXTHS, SIXTHS + 1), repeat=size):
                change = [0] * len(depths)
                for i, k in zip(chosen, sixths, strict=True):
                    change[i] = k * max(1, round(depths[i] / 6))
                yield tuple(change)


def _looked_up(depths: Mapping[str, int], label: str, depth: int) -> int:
    return depths[label]


def _same(name: str, value: Any) -> Any:
    return value


def _widths(original: Arch, arch: Arch, target: Mapping[str, float], measure: Measure) -> Iterator[Arch]:
    """Networks around the width factor at which the quantities agree on average."""
    for step in STEPS:
        try:
            yield from _bisected(original, arch, target, measure, step)
            return
        except ValueError:  # widths of this step cannot be built
            continue


def _bisected(
    original: Arch, arch: Arch, target: Mapping[str, float], measure: Measure, step: int
) -> Iterator[Arch]:
    low, high = log(NARROWEST), log(WIDEST)
    tried = []
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = widened(arch, exp(middle), step=step)
        off = _matched(original, found, target, measure).off
        tried.append(found)
        if sum(log(1 + share) for share in off.values()) > 0:
            high = middle
        else:
            low = middle
    yield from dict.fromkeys(tried)


def widened(arch: Arch, factor: float, *, step: int) -> Arch:
    """`arch` with every number of channels times `factor`, at multiples of `step` where it was at them."""

    def value(name: str, own: Any) -> Any:
        if name not in WIDTHS or not isinstance(own, int) or isinstance(own, bool) or own == 0:
            return own
        unit = gcd(own, step)
        return max(1, round(own * factor / unit)) * unit

    return transformed(arch, values=value, depths=lambda _, depth: depth)


def difference(before: Arch, after: Arch) -> str:
    """What was scaled, in words; empty where nothing was."""
    said = []
    if (was := _shape(before, "width")) != (now := _shape(after, "width")):
        said.append(f"widths {_listed(was)} to {_listed(now)}")
    if (was := _shape(before, "depth")) != (now := _shape(after, "depth")):
        said.append(f"depths {_listed(was)} to {_listed(now)}")
    return ", ".join(said)


def _shape(arch: Arch, name: str) -> list[int]:
    return [getattr(run, name) for stage in arch.stages for _, run in stage.runs]


def _listed(values: Sequence[int]) -> str:
    return "-".join(map(str, values))
