"""Members of a space of a stated size, drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from hvnas.arch import Arch
from hvnas.space import Space

Size = Callable[[Arch], float]

AT_ONCE = 64
MOST = 20_000


def draws(space: Space, *, rng: np.random.Generator, fit: Callable[[Arch], Arch]) -> Iterator[Arch]:
    """Different members, their genes drawn uniformly, each as `fit` makes it; at most 20,000 draws."""
    seen: set[str] = set()
    for _ in range(MOST // AT_ONCE):
        for row in space.sample(AT_ONCE, rng=rng):
            arch = fit(space.decode(row))
            if arch.hash not in seen:
                seen.add(arch.hash)
                yield arch


def in_bins(
    archs: Iterator[Arch],
    centres: tuple[float, ...],
    *,
    size: Size,
    share: float,
    each: int,
) -> list[list[Arch]]:
    """The first `each` networks whose `size` is within `share` of each centre.

    Raises ValueError where the draws do not hold as many.
    """
    found: list[list[Arch]] = [[] for _ in centres]
    for arch in archs:
        value = size(arch)
        for members, centre in zip(found, centres, strict=True):
            if len(members) < each and abs(value / centre - 1) <= share:
                members.append(arch)
                break
        if all(len(members) == each for members in found):
            return found
    counts = ", ".join(f"{len(m)} at {c:g}" for m, c in zip(found, centres, strict=True))
    raise ValueError(
        f"random members are too rare: {counts} found of {each} each; move the centres or ask for fewer"
    )


def quantile_centres(archs: Iterator[Arch], count: int, *, size: Size) -> tuple[float, ...]:
    """Sizes that split random members into `count` equal parts, the middle of each part; of 256 draws."""
    sizes = [size(arch) for _, arch in zip(range(256), archs, strict=False)]
    return tuple(float(q) for q in np.quantile(sizes, (np.arange(count) + 0.5) / count))
