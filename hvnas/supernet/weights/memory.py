"""What a supernet's weights need, before they are allocated."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from hvnas.space import Space
from hvnas.supernet.weights.slots import SlotPlan
from hvnas.supernet.weights.variants import Key, places_of

BYTES = 4  # of a float32
MEMORY_SHARE = 0.6
MIB = 2**20


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes of a supernet's weights and statistics in float32, and where they go.

    `parts` has the bytes of each place (``stages.2.local.0``), `genes` names the genes whose largest values
    make the run that needs the most what it is. Training with AdamW holds
    four numbers for each weight instead of one (`training`).
    """

    parts: Mapping[str, int]
    genes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of all parts."""
        return sum(self.parts.values())

    @property
    def params(self) -> int:
        """Numbers in all parts."""
        return self.bytes // BYTES

    @property
    def training(self) -> int:
        """Bytes with gradients and AdamW's two moments."""
        return 4 * self.bytes

    def __str__(self) -> str:
        return (
            f"weights {self.bytes / MIB:,.1f} MiB ({self.training / MIB:,.1f} MiB while training); "
            f"largest genes: {', '.join(self.genes)}"
        )


Plans = dict[Key, SlotPlan]


def plan(space: Space, *, classes: int | None = None, resolution: int | None = None) -> Plans:
    """The slots of a supernet of `space` by place and branch, nothing allocated."""
    places = places_of(space, classes=classes, resolution=resolution)
    return {key: SlotPlan(variants) for key, variants in places.variants.items()}


def memory(space: Space, *, classes: int | None = None, resolution: int | None = None) -> MemoryNeed:
    """Return what the weights of `Supernet(space, classes=…, resolution=…)` need; allocates nothing."""
    return need_of(space, plan(space, classes=classes, resolution=resolution))


def need_of(space: Space, plans: Plans) -> MemoryNeed:
    """What planned slots need."""
    parts: dict[str, int] = {}
    for (place, _), slot in plans.items():
        parts[place] = parts.get(place, 0) + BYTES * slot.elements
    return MemoryNeed(parts, _largest_genes(space, parts))


def _largest_genes(space: Space, parts: Mapping[str, int]) -> tuple[str, ...]:
    """The genes of the run that needs the most, with their largest values."""
    runs: dict[str, int] = {}
    for place, size in parts.items():
        run = place.rpartition(".")[0] if place[-1].isdigit() else place
        runs[run] = runs.get(run, 0) + size
    return tuple(
        f"{gene.name} ({_shown(gene.values)})"
        for run in sorted(runs, key=runs.__getitem__, reverse=True)[:1]
        for gene in space.genes
        if len(gene.values) > 1 and gene.name in (run, _stage_of(run) + ".width", *_genes_of(space, run))
    )


def _stage_of(run: str) -> str:
    return ".".join(run.split(".")[:2])


def _genes_of(space: Space, run: str) -> list[str]:
    return [gene.name for gene in space.genes if gene.name.startswith(f"{run}.")]


def _shown(values: tuple[object, ...]) -> str:
    numbers = [n for v in values for n in (v if isinstance(v, tuple) else (v,)) if isinstance(n, int | float)]
    return f"up to {max(numbers)}" if numbers else f"{len(values)} types"


def check_fits(space: Space, need: MemoryNeed, *, share: float) -> None:
    """Raise ValueError where the weights need more than `share` of this machine's memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need.bytes > share * total:
        raise ValueError(
            f"the supernet of {space.name} needs {need.bytes / MIB:,.0f} MiB for its weights, more than "
            f"{share:.0%} of this machine's {total / MIB:,.0f} MiB; narrow its largest genes: "
            f"{', '.join(need.genes)}"
        )
