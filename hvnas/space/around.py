"""The restriction of a space that surrounds one of its members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvnas.arch import Arch
from hvnas.blocks.limits import Values
from hvnas.space.layout import Layout, is_profile
from hvnas.space.spec import SpaceSpec, StageSpec

if TYPE_CHECKING:
    from hvnas.space.layout import Encoded

DEPTHS_BELOW = 2
SIZES_BELOW = 1


def around_spec(space: Encoded, arch: Arch, *, also: Sequence[str] = ()) -> SpaceSpec:
    """`space` narrowed to `arch` and what is a little smaller.

    Depths have the member's value and the two below it in the space's list, 0 only where it is the member's;
    widths, expansions, and other numbers the member's and the next below; everything else the member's.
    Genes of blocks have one list for all stages, so limits of parameters and MACs, the member's own, keep
    it the largest. `also` names blocks that runs may consist of besides the member's, where the space offers
    them.
    Raises ValueError where `arch` is not in `space`.
    """
    row = space.encode(arch)
    layout, spec = space.layout, space.spec
    program = arch.with_(classes=layout.head_block(row).out).lower()
    return replace(
        spec,
        name=f"{spec.name} around {arch.name}",
        description=f"{arch.name} and somewhat smaller networks",
        parent=spec.name,
        resolution=_below(spec.resolution, arch.resolution, SIZES_BELOW),
        counts=(len(arch.stages),),
        stems=(spec.stems[row[layout.stem]],),
        stem_width=_below(spec.stem_width, layout.value(row, layout.stem_width), SIZES_BELOW),
        heads=(spec.heads[row[layout.head]],),
        tokens=(layout.value(row, layout.tokens),),
        stages=tuple(_stage(layout, row, i, tuple(also)) for i in range(len(arch.stages))),
        genes={gene: _gene(layout, row, gene, values) for gene, values in spec.genes.items()},
        limits={"params": float(program.params), "macs": float(program.macs)},
    )


def _below(values: Values, value: Any, count: int) -> Values:
    """`value` and the `count` largest of `values` that are smaller, in the order of `values`."""
    if not _is_number(value):
        return (value,)
    smaller = sorted(v for v in values if _is_number(v) and 0 < v < value)
    return tuple(v for v in values if v == value or v in smaller[max(0, len(smaller) - count) :])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _stage(layout: Layout, row: NDArray[np.int16], i: int, also: tuple[str, ...]) -> StageSpec:
    stage, columns = layout.spec.stages[i], layout.stages[i]
    depths, types = {}, {}
    for slot, offered in (("local", stage.local), ("global", stage.global_)):
        run = columns.slots[slot]
        depth, own = layout.value(row, run.depth), layout.value(row, run.type)
        depths[slot] = _below(run.depths, depth, DEPTHS_BELOW)
        types[slot] = tuple(name for name in offered if name == own or (depth and name in also))
    return StageSpec(
        downsample=(layout.value(row, columns.downsample),),
        width=_below(stage.width, layout.value(row, columns.width), SIZES_BELOW),
        local=types["local"],
        local_depth=depths["local"],
        global_=types["global"],
        global_depth=depths["global"],
        global_width=_below(stage.global_width, layout.value(row, columns.global_width), SIZES_BELOW),
    )


def _gene(layout: Layout, row: NDArray[np.int16], gene: str, values: Values) -> Values:
    """The values that the member's runs have, and for each number the next below; one where none reads it."""
    kept: set[Any] = set()
    for stage in layout.stages:
        for run in stage.slots.values():
            if gene in run.genes and gene in run.types[row[run.type]].reads and run.depths[row[run.depth]]:
                value = layout.value(row, run.genes[gene])
                kept |= {value} if is_profile(value) else set(_below(values, value, SIZES_BELOW))
    return tuple(value for value in values if value in kept) or values[:1]
